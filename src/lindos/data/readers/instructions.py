"""Passages, facts and questions out of instruction sets, as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lindos.data.clean import capitalised, chunks, normalise, paragraphs
from lindos.data.readers.base import Row, ends_sentence, field

_SPACED = re.compile(r" (?=[,.!?;:)]|'s\b|'re\b|'ve\b|'ll\b|'d\b|'m\b|n't\b)|(?<=\() ")


def contexts(row: Row, size: int) -> Iterator[str]:
    """The passage of an instruction, or its longer answer under the question."""
    context, answer = normalise(field(row, "context")), normalise(field(row, "response"))
    if len(context) >= 200:
        yield from chunks(paragraphs(context), size)
    elif not context and len(answer) >= 150:
        yield from chunks([normalise(field(row, "instruction")), *paragraphs(answer)], size)


def task_texts(row: Row, size: int) -> Iterator[str]:  # noqa: ARG001
    """What a task row says, without its instruction; tasks that are no use as text give nothing."""
    task = re.sub(r"^task\d+_", "", field(row, "task"))
    wording = _WORDINGS.get(task)
    if wording is None:
        return
    given, wanted = (_SPACED.sub("", " ".join(normalise(field(row, name)).split())) for name in ("input", "output"))
    text = wording(given, wanted) if given and wanted else ""
    if text:
        yield text


def _sentence(text: str) -> str:
    text = capitalised(text.strip())
    return text if not text or ends_sentence(text) else text + "."


def _given(given: str, wanted: str) -> str:  # noqa: ARG001
    passage = re.sub(r"^(?:Context|Passage|Background Paragraph|CONTEXT)\s*:\s*", "", given)
    return _sentence(passage.split("Question:")[0])


def _wanted(given: str, wanted: str) -> str:  # noqa: ARG001
    return _sentence(wanted)


def _both(given: str, wanted: str) -> str:
    return f"{_sentence(given)} {_sentence(wanted)}"


def _answered(given: str, wanted: str) -> str:
    question = capitalised(given.rstrip("?. ")) + "?"
    return f"Question: {question}\nAnswer: {capitalised(wanted)}"


def _filled(given: str, wanted: str) -> str:
    return _sentence(given.replace("_", wanted, 1)) if given.count("_") == 1 else ""


def _three_facts(given: str, wanted: str) -> str:
    facts = re.split(r"\s*Fact \d:\s*", given)
    return " ".join(_sentence(fact) for fact in [*facts, wanted] if fact.strip())


def _related(given: str, wanted: str) -> str:
    fact = re.sub(r"^Fact:\s*", "", given.split("Topic:")[0])
    return f"{_sentence(fact)} {_sentence(wanted)}"


def _asked(given: str, wanted: str) -> str:
    return f"Question: {capitalised(wanted)}\nAnswer: {_sentence(re.sub(r'^Fact:', '', given).strip())}"


def _stated(given: str, wanted: str) -> str:
    found = re.match(r"statement: (.+?), question: (.+)$", given)
    return f"{_sentence(found[1])} {capitalised(found[2])} {_sentence(wanted)}" if found else ""


def _result(given: str, wanted: str) -> str:
    return _sentence(f"{given.rstrip()} {wanted}")


def _before(given: str, wanted: str) -> str:
    return f"{_sentence(wanted)} {_sentence(given)}"


_WORDINGS: dict[str, Callable[[str, str], str]] = {
    "winogrande_answer_generation": _filled,
    "propara_structured_text_generation": _given,
    "propara_question_generation": _given,
    "ropes_question_generation": _given,
    "ropes_story_generation": _wanted,
    "xquad_en_question_generation": _given,
    "cosmosqa_question_generation": _given,
    "mocha_question_generation": _given,
    "super_glue_question_generation": _given,
    "gooaq_question_generation": _before,
    "hippocorpus_long_text_generation": _wanted,
    "asset_sentence_simplification": _wanted,
    "qasc_combined_fact": _three_facts,
    "qasc_generate_related_fact": _related,
    "qasc_question_generation": _asked,
    "eqasc-perturbed_question_generation": _asked,
    "eqasc-perturbed_answer_generation": _stated,
    "scitail_question_generation": _asked,
    "scitail1.1_sentence_generation": _both,
    "plausible_result_generation": _result,
    "swag_context_generation": _before,
    "naturalquestion_answer_generation": _answered,
    "freebase_qa_answer_generation": _answered,
    "country_capital": lambda given, wanted: f"The capital of {given} is {wanted}.",
    "country_currency": lambda given, wanted: f"The currency of {given} is the {wanted}.",
}

"""Questions and answers that people wrote: dolly, OASST, trivia, natural-instructions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from lindos.data.clean import normalise, paragraphs, strip_markdown
from lindos.data.conversations.claims import teachable
from lindos.data.conversations.voice import Exchange, fill, large, pick
from lindos.data.readers.base import Row, ends_sentence, field

_CODE = re.compile(
    r"```|[{}<>\\]|\b(?:python|javascript|java|sql|html|css|regex|bash|linux|script|function|code|program|api|latex|excel)\b",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"as an? (?:ai|artificial|language|large|computer|machine|digital)|language model|laion|openai|chat ?gpt"
    r"|my training|chatbot|chat assistant|knowledge cutoff"
    r"|\bi(?:'m| am) (?:just )?(?:an? )?(?:ai|assistant|artificial|conversational|bot|program)"
    r"|\bai (?:assistant|model)|virtual assistant|conversational ai|open.?source",
    re.IGNORECASE,
)
_MADE = re.compile(r"\b(?:essay|letter|email|poem|list|steps|story|song|write|plan|recipe)\b", re.IGNORECASE)
# A first question that speaks of something said before was torn out of its thread.
_LOOSE = re.compile(
    r"\b(?:it|its|this|that|these|those|there|his|her|their|he|she|they|them|above|more|again|instead)\b", re.I
)
# What it is and who made it is told by our own templates only.
_SELF = re.compile(
    r"\b(?:created|made|trained|built|developed|programmed) you\b|\b(?:who|what) are you\b|\byour (?:name|creator)",
    re.I,
)
_OPENING = re.compile(r"^As an? (?:AI|artificial|large|language)[^,.]{0,60}, ?", re.IGNORECASE)


def _words(text: str) -> int:
    return len(text.split())


def instructions(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:  # noqa: ARG001
    """dolly: short questions with short answers, with and without a passage."""
    for row in rows:
        asked, passage = normalise(field(row, "instruction")), normalise(field(row, "context"))
        answer = re.sub(r"\n\W*$", "", normalise(strip_markdown(field(row, "response"))))
        if (
            not 1 <= _words(answer) <= 70
            or not 2 <= _words(asked) <= 45
            or _words(passage) > 100
            or _CODE.search(asked)
        ):
            continue
        answer = large(answer)
        if _words(answer) > 3 and "\n" not in answer and not ends_sentence(answer):
            answer += "."
        passage = " ".join(passage.split())
        if not teachable(asked, answer, grounded=bool(passage)):
            continue
        yield [(f"{passage}\n\n{asked}" if passage else asked, answer)]


def threads(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:  # noqa: ARG001
    """OASST threads with short answers, or the first paragraph of a long one; other assistants' persona taken out."""
    for row in rows:
        said = [normalise(strip_markdown(text)) for _, text in turns_of(row)]
        exchanges = []
        for asked, answer in list(zip(said[::2], said[1::2], strict=False))[:3]:
            answer = large(_OPENING.sub("", re.sub(r"Open ?Assistant", "Lindos", answer)))
            parts = paragraphs(answer)
            if parts and _words(answer) > 80 and len(parts) > 1:
                answer = "" if _MADE.search(asked) or parts[0].startswith(("-", "1")) else parts[0]
            if not exchanges and _LOOSE.search(asked):
                break
            wrong = (
                _SELF.search(asked)
                or _BOILERPLATE.search(answer)
                or _CODE.search(answer)
                or _CODE.search(asked)
                or "Assistant" in asked
                or not teachable(asked, answer)
            )
            if wrong or not 1 <= _words(asked) <= 60 or not 2 <= _words(answer) <= 80 or not ends_sentence(answer):
                break
            exchanges.append((asked, answer))
        if exchanges:
            yield exchanges


_SUBJECTS = {
    "animals": 1.0,
    "geography": 1.0,
    "science-technology": 0.7,
    "history": 0.9,
    "for-kids": 1.0,
    "humanities": 0.7,
    "literature": 0.7,
    "world": 0.25,
    "general": 0.25,
    "people": 0.15,
    "rated": 0.2,
    "hobbies": 0.25,
    "religion-faith": 0.3,
    "music": 0.08,
    "movies": 0.08,
    "sports": 0.1,
}
_POOR = re.compile(
    r"these|following|listed|options?\b|above|below|all of|none of|\bnot\b|n't\b|except|complete the|true that|___",
    re.IGNORECASE,
)


def trivia(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Multiple choice with the choices taken away, where the question stands without them."""
    for row in rows:
        asked, answer = normalise(field(row, "question")), normalise(field(row, "answer")).rstrip(".")
        stands = re.match(r"(?:who|what|which|where|when|how|in what|in which|on what)\b", asked, re.IGNORECASE)
        if rng.random() > _SUBJECTS.get(field(row, "category"), 0.0) or not stands or not asked.endswith("?"):
            continue
        if _POOR.search(asked) or _POOR.search(answer) or not 1 <= _words(answer) <= 8 or not 4 <= _words(asked) <= 25:
            continue
        if answer.lower() in ("true", "false", "yes", "no"):
            continue
        if teachable(asked, answer):
            yield [(large(asked), _sentence(asked, answer, rng))]


def _sentence(asked: str, answer: str, rng: random.Random) -> str:
    """A short full sentence that answers, where the question's form allows one."""
    answer = large(answer)
    body = asked.rstrip("?").strip()
    who = re.match(
        r"Who (wrote|painted|invented|discovered|was|is|directed|founded|composed|played|killed|built|said) (.+)$", body
    )
    if who and len(body) < 70:
        told = f"{large(who[2])} {who[1]} {answer}." if who[1] in ("was", "is") else f"{answer} {who[1]} {who[2]}."
        return told if rng.random() < 0.7 else f"{answer}."
    name = re.match(r"What (is|was|are) (the [a-z ]+ (?:of|in|for) [^,]+)$", body)
    if (
        name
        and len(body) < 70
        and not re.search(r" (?:that|which|who|by|with|from|to|called|named|known|used)\b", name[2])
    ):
        return f"{large(name[2])} {name[1]} {answer}." if rng.random() < 0.7 else f"{answer}."
    year = re.match(r"(?:In (?:what|which)|What|Which) (?:year|month|century) ", body)
    if year and answer[:1].isdigit():
        return f"In {answer}."
    return f"{answer}." if rng.random() < 0.85 else f"The answer is {_inside(answer)}."


def _inside(answer: str) -> str:
    """An article inside a sentence is small."""
    return re.sub(r"^(The|An?) ", lambda found: found[0].lower(), answer)


Maker = Callable[[str, str, random.Random], Exchange | None]


def _question(given: str, wanted: str, rng: random.Random) -> Exchange | None:
    asked = large(given.rstrip("?. ")) + "?"
    if _words(wanted) > 12 or not teachable(asked, wanted):
        return None
    return asked, _sentence(asked, large(wanted.rstrip(".")), rng)


def _named(given: str, wanted: str, rng: random.Random) -> Exchange | None:
    """The answers of this set are written small, names included."""
    return _question(given, wanted.title() if wanted.islower() else wanted, rng)


def _fact_for(given: str, wanted: str, rng: random.Random) -> Exchange | None:  # noqa: ARG001
    """The task makes a question of a fact; here the fact answers the question."""
    fact = large(re.sub(r"^Fact:\s*", "", given).strip())
    if not wanted.endswith("?") or "_" in wanted or _words(fact) < 4:
        return None
    return large(wanted), fact if ends_sentence(fact) else fact + "."


def _framed(asked: str, answer: str = "{w}.") -> Maker:
    def make(given: str, wanted: str, rng: random.Random) -> Exchange | None:
        options = asked.split(" | ")
        values = {"g": given.rstrip(". ") if "{g}." in asked else given, "w": large(wanted.rstrip("."))}
        return fill(pick(rng, options), values), fill(answer, values)

    return make


def _stated(given: str, wanted: str, rng: random.Random) -> Exchange | None:  # noqa: ARG001
    found = re.match(r"statement: (.+?), question: (.+)$", given)
    return (f"{large(found[1].rstrip('.'))}. {large(found[2])}", large(wanted.rstrip(".")) + ".") if found else None


def _whereabouts(given: str, wanted: str, rng: random.Random) -> Exchange | None:  # noqa: ARG001
    """Who went where: the answer is read off the last sentence that names the person."""
    passage = re.sub(r"^Passage:\s*", "", given)
    person = re.match(r"Where is (\w+)\?", wanted)
    told = [part for part in passage.split(".") if person and person[1] in part.split()]
    place = re.search(r"to the (\w+)\s*$", told[-1]) if told else None
    return (f"{passage} {wanted}", f"In the {place[1]}.") if place else None


_TASKS: dict[str, tuple[Maker, float]] = {
    "naturalquestion_answer_generation": (_question, 0.7),
    "freebase_qa_answer_generation": (_named, 0.4),
    "wordnet_antonyms": (
        _framed("What is the opposite of {g}? | Opposite of {g}? | Give me the opposite of {g}."),
        1.0,
    ),
    "country_capital": (_framed("What is the capital of {g}? | Capital of {g}?", "The capital of {g} is {w}."), 1.0),
    "country_currency": (
        _framed("What is the currency of {g}? | Which currency does {g} use?", "The currency of {g} is the {w}."),
        1.0,
    ),
    "country_independence_year": (
        _framed("When did {g} become independent? | In which year did {g} become independent?", "In {w}."),
        0.8,
    ),
    "country_national_dish": (_framed("What is the national dish of {g}? | What do they eat in {g}?"), 1.0),
    "country_calling_code": (_framed("What is the calling code of {g}? | What is the dialing code of {g}?"), 0.5),
    "asset_sentence_simplification": (
        _framed("Make this simpler: {g} | Say this in simple words: {g} | Simplify: {g}"),
        0.25,
    ),
    "qasc_question_generation": (_fact_for, 0.6),
    "scitail_question_generation": (_fact_for, 1.0),
    "eqasc-perturbed_answer_generation": (_stated, 1.0),
    "babi_t1_single_supporting_fact_question_generation": (_whereabouts, 0.6),
    "plausible_result_generation": (_framed("Finish the sentence: {g}"), 1.0),
    "amazonfood_summary_text_generation": (_framed("Sum this up in a few words: {g}"), 0.25),
    "disflqa_disfluent_to_fluent_conversion": (_framed("Tidy up this question: {g}", "{w}"), 0.3),
}


def tasks(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Tasks of natural-instructions that make a sensible question, reworded as people ask."""
    for row in rows:
        name = re.sub(r"^task\d+_", "", field(row, "task"))
        if name not in _TASKS:
            continue
        make, share = _TASKS[name]
        given, wanted = (" ".join(normalise(field(row, key)).split()) for key in ("input", "output"))
        if not given or not wanted or _words(given) > 70 or _words(wanted) > 40 or rng.random() > share:
            continue
        exchange = make(re.sub(r" (?=[,.!?;:](?:\s|$))", "", given), re.sub(r" (?=[,.!?;:](?:\s|$))", "", wanted), rng)
        if exchange:
            yield [(exchange[0], re.sub(r"([.!?])\.$", r"\1", exchange[1]))]


def turns_of(row: Row) -> list[tuple[str, str]]:
    """A row's turns as (who, what); what is no turn is passed over."""
    turns = row.get("turns")
    return [
        (str(turn.get("role")), str(turn.get("text", "")))
        for turn in (turns if isinstance(turns, list) else [])
        if isinstance(turn, dict)
    ]


def alternating(said: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turns (who, what) with those of one speaker in a row joined."""
    joined: list[tuple[str, str]] = []
    for who, text in said:
        if joined and joined[-1][0] == who:
            joined[-1] = (who, f"{joined[-1][1]} {text}")
        else:
            joined.append((who, text))
    assert all(before[0] != after[0] for before, after in pairwise(joined))
    return joined

"""A model that always announces a winner, asked over every route of the API in every form that a client can ask for.

The judge is the suite's own. That it would find what got through is shown on the bare model, which has no gate.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.replay.judge import Verdict
from tests.replay.play import announcements, filled, play, questions, report
from tests.replay.timelines import Timeline, phases
from tests.replay.world import Race, Side, race

PHASES = ("before", "partial", "one outlet", "quorum")
PERSONAS = ("direct", "regular")
PARTS = ("responses", "chat", "completions")

Say = Callable[[str, Side, random.Random], str]
"""What the model says, from an announcement of a side in words."""


def in_words(text: str, side: Side, rng: random.Random) -> str:
    return text


def plain_json(text: str, side: Side, rng: random.Random) -> str:
    """The announcement, or the bare name, as the value of a field."""
    shapes: Sequence[Any] = (
        {"winner": side.name},
        {"answer": text},
        {"result": {"winner": {"name": side.name}}},
        {"outcome": f"{side.name} won"},
        {"elected": side.name, "margin": None},
        [{"rank": 1, "winner": side.name}],
    )
    return json.dumps(rng.choice(shapes), ensure_ascii=False, indent=rng.choice((None, 1)))


def called(text: str, side: Side, rng: random.Random) -> str:
    """A call of the function that is on offer."""
    arguments: Mapping[str, Any] = rng.choice(({"winner": side.name}, {"text": text}, {"winner": {"name": side.name}}))
    call = json.dumps({"name": "report", "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


SCHEMA = {"type": "object", "additionalProperties": True}
NAMED = {"name": "result", "schema": SCHEMA}
FUNCTION = {"name": "report", "description": "Publishes a result.", "parameters": SCHEMA}
OFFER = {
    "responses": {"tools": [{"type": "function", **FUNCTION}]},
    "chat": {"tools": [{"type": "function", "function": FUNCTION}]},
}
FORCED = {
    "responses": {"type": "function", "name": "report"},
    "chat": {"type": "function", "function": {"name": "report"}},
}


def response_format(form: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A format for all routes; responses have theirs without a level between."""
    flat = {"type": form["type"], **form.get("json_schema", {})}
    return {"responses": {"text": {"format": flat}}, **{name: {"response_format": form} for name in PARTS[1:]}}


Form = tuple[Say, Mapping[str, Mapping[str, Any]]]
"""What the model says, and the fields of the request by route, `prompt` as how often the question is put.

Routes that are not there do not have it.
"""
FORMS: dict[str, Form] = {
    "words": (in_words, {name: {} for name in PARTS}),
    "choices": (in_words, {name: {"n": 3} for name in PARTS[1:]}),
    "prompts": (in_words, {"completions": {"n": 2, "prompt": 3}}),
    "functions nobody calls": (in_words, OFFER),
    "a schema": (plain_json, response_format({"type": "json_schema", "json_schema": NAMED})),
    "any object": (plain_json, response_format({"type": "json_object"})),
    "a forced call": (called, {name: {**OFFER[name], "tool_choice": FORCED[name]} for name in OFFER}),
    "some call": (called, {name: {**OFFER[name], "tool_choice": "required"} for name in OFFER}),
    "a call": (called, OFFER),
}
SPOKEN = [name for name, (say, _) in FORMS.items() if say is in_words]
BARE = {"model": "scripted", "persona": None}


def asking(form: Form, r: Race, many: int, **request: Any) -> Callable[[Timeline, str], None]:
    """Puts `many` questions a phase and language over all routes, as whole answers and as streams, to both personas."""
    say, fields = form
    # A bare yes says nothing in a field or a call.
    whole = [wording for wording in announcements() if say is in_words or not wording[1].startswith("bare")]

    def one(timeline: Timeline, lang: str) -> None:
        rng = timeline.rng
        side = rng.choice(r.sides)
        _, group, template = rng.choice([wording for wording in whole if wording[0] == lang])
        fresh = [
            q for t in questions("election", lang, group) if (q := filled(t, r, side, lang)) not in timeline.replies
        ]
        question = rng.choice(fresh)
        reply = say(filled(template, r, side, lang), side, rng)
        for route, more in fields.items():
            several = {"prompt": [question] * more["prompt"]} if "prompt" in more else {}
            for number, persona in enumerate(PERSONAS):
                # One of them is told the language, the other has to find out.
                told = {"lang": lang} if number and not request else {}
                timeline.ask(
                    question, reply, side.name, about=r.id, persona=persona, route=route, **told,
                    stream=rng.random() < 0.5, request={**more, **several, **request},
                )  # fmt: skip

    def ask(timeline: Timeline, phase: str) -> None:
        for lang in ("en", "fr") if phase in PHASES else ():
            for _ in range(many):
                one(timeline, lang)

    return ask


def played(form: Form, seed: str, many: int = 1, **request: Any) -> Verdict:
    rng = random.Random(seed)
    r = race(rng)
    return play(phases(Timeline(r, rng), asking(form, r, many, **request)))


def holds(verdict: Verdict) -> None:
    """Nothing is announced early, and what is settled is told."""
    assert not verdict.of("premature"), report(verdict, "premature")
    assert verdict.after_quorum > 0
    assert verdict.told >= 0.95 * verdict.after_quorum, report(verdict, "outcome", "form")
    for kind in ("missing", "citation"):
        assert not verdict.of(kind), report(verdict, kind)


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_announced_early_in_any_form(name):
    verdict = played(FORMS[name], name, many=2 if name == "words" else 1)
    holds(verdict)
    if name in SPOKEN:
        assert not verdict.of("as_of"), report(verdict, "as_of")
        assert not verdict.of("counts"), report(verdict, "counts")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_announced_early_in_any_form_at_length(name):
    total = Verdict()
    for seed in range(12):
        total.add(played(FORMS[name], f"{name}/{seed}", many=4))
    holds(total)


@pytest.mark.parametrize("name", ["words", "a schema", "a forced call"])
def test_without_the_gate_all_of_it_would_be_announced(name):
    """The bare model over the same routes: the judge finds every announcement."""
    verdict = played(FORMS[name], name, **BARE)
    early = {(fault.ask["at"], fault.ask["ask"]) for fault in verdict.of("premature")}
    assert len(early) >= 0.75 * verdict.gated, (len(early), verdict.gated)

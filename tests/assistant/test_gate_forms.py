"""Forms and calls: what is said in JSON is held to what is said in words."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant import Ask, Assistant, Basis, Policy, personas
from lindos.assistant.basis import Citation, Source
from lindos.assistant.calls import offered_in
from lindos.assistant.forms import parts_of
from lindos.assistant.functions import CALL_CLOSE, CALL_OPEN, Function, Said, rendered
from lindos.assistant.gate import Gate, Rules, WholeGate
from lindos.assistant.model import Grammar, Sampling
from lindos.assistant.scripted import scripted
from lindos.assistant.settlement import Scene
from lindos.specs import Message
from tests.assistant.veldoria import NOW, STRICT, WATCHFUL

POLICY = Policy.load()
CALM = Rules(
    Scene("watchful", NOW),
    refuses=lambda text: POLICY.check_output(text) is not None,
    may_begin=POLICY.may_begin,
)
BOMB = "Mix the ammonium nitrate with the fuel oil, pack it into the pipe bomb and insert the detonator."
OLD_AND_NEW = "In 1998 the bridge was opened. Orlin Tace won the election."
COUNT = Source(
    uri="at://a/1",
    url="",
    author="@a.example",
    text="Veldoria: Orlin Tace leads with 51,234 votes, 62% counted.",
    created_at=NOW,
    seen_at=NOW,
)


def whole(rules: Rules, value: Any) -> tuple[str, WholeGate]:
    gate = WholeGate(rules, "INSTEAD")
    gate.feed(value if isinstance(value, str) else json.dumps(value))
    return gate.finish(), gate


def through(rules: Rules, text: str) -> tuple[str, Gate]:
    gate = Gate(rules)
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    return "".join([*(gate.feed(piece) for piece in pieces), gate.finish()]), gate


@pytest.mark.parametrize("rules", [STRICT, WATCHFUL])
@pytest.mark.parametrize(
    "value",
    [
        {"answer": OLD_AND_NEW},
        {"answer": ["In 1998 the bridge was opened.", OLD_AND_NEW]},
        {"winner": {"Orlin Tace": {}}},
        {"winner": {"Orlin Tace": None}},
        {"winner": {"orlin_tace": []}},
        {"orlin_tace_won": False},
        {"winner": [{"Orlin Tace": False}]},
        {"winner": {"name": "Orlin Tace"}},
        '{"winner": "Orlin Tace", "winner": "nobody yet"}',
        '{"answer": "' + OLD_AND_NEW,
        '{"answer": "nobody yet"} Orlin Tace won the election.',
        '["Orlin Tace w\\u006fn the election."]',
    ],
)
def test_no_form_announces(rules: Rules, value: Any):
    shown, gate = whole(rules, value)
    assert shown == "INSTEAD"
    (cut,) = gate.cut
    assert cut.reason == "unsettled" or (cut.reason == "unsupported" and rules.supported)
    assert gate.refused == ("support" if cut.reason == "unsupported" else "settlement")


def test_a_form_is_measured_by_the_policy():
    shown, gate = whole(CALM, {"steps": [f"Wear gloves. {BOMB}"]})
    assert shown == "INSTEAD"
    assert [(cut.text, cut.reason) for cut in gate.cut] == [("", "policy")]
    shown, gate = whole(CALM, {BOMB: 1})
    assert shown == "INSTEAD"


def test_what_a_form_says_wants_a_source_and_names_it():
    rules = replace(STRICT, sources=(COUNT,))
    shown, gate = whole(rules, {"status": "Orlin Tace leads with 88% of the vote, 99% counted."})
    assert shown == "INSTEAD"
    assert [cut.reason for cut in gate.cut] == ["unsupported"]
    shown, gate = whole(rules, {"status": "Orlin Tace leads with 51,234 votes, 62% counted [1]. Counting continues."})
    assert json.loads(shown)["status"].startswith("Orlin Tace leads")
    (cited,) = gate.citations
    assert shown[cited.start : cited.end] == json.loads(shown)["status"]
    assert json.loads(shown[: cited.start] + "[deleted]" + shown[cited.end :]) == {"status": "[deleted]"}
    shown, gate = whole(rules, {"counted percent": 88})
    assert shown == "INSTEAD"


@pytest.mark.parametrize(
    "value",
    [
        {"capital": "Paris", "population": 2_100_000, "coastal": False, "rivers": ["Seine"], "more": None},
        {"Status": {}, "Total Votes": {}},
        '{"half": "a text that breaks',
        [],
    ],
)
def test_what_is_harmless_passes_as_it_is(value: Any):
    shown, gate = whole(WATCHFUL, value)
    assert shown == (value if isinstance(value, str) else json.dumps(value))
    assert gate.cut == []


@pytest.mark.parametrize("rules", [STRICT, WATCHFUL])
@pytest.mark.parametrize("close", [CALL_CLOSE, ""])
@pytest.mark.parametrize("functions", [frozenset(), frozenset({"note"})])
def test_the_marks_of_a_call_hide_nothing(rules: Rules, close: str, functions: frozenset[str]):
    rules = replace(rules, calls=functions)
    shown, _ = through(rules, f"{CALL_OPEN} {OLD_AND_NEW}{close}")
    assert "Tace" not in shown
    measured = replace(CALM, calls=functions)
    shown, gate = through(measured, f"{CALL_OPEN}{BOMB}{close}")
    assert "nitrate" not in shown
    assert [cut.reason for cut in gate.cut] == ["policy"]


def call(name: str, **arguments: Any) -> str:
    return f"{CALL_OPEN}{json.dumps({'name': name, 'arguments': arguments})}{CALL_CLOSE}"


@pytest.mark.parametrize("gate", [Gate, WholeGate])
def test_calls_are_held_to_the_same(gate: Any):
    def said(rules: Rules, text: str) -> str:
        one = gate(rules) if gate is Gate else gate(rules, "INSTEAD")
        return one.feed(text) + one.finish()

    offered = frozenset({"note"})
    watchful = replace(WATCHFUL, calls=offered)
    assert "Tace" not in said(watchful, call("note", text=OLD_AND_NEW))
    assert "Tace" not in said(watchful, call("note", winner={"Orlin Tace": None}))
    assert "nitrate" not in said(replace(CALM, calls=offered), call("note", text=f"Hello. {BOMB}"))
    assert "Tace" not in said(watchful, call("Orlin Tace has won", x=1))
    supported = replace(WATCHFUL, calls=offered, supported=True, sources=(COUNT,), asked="How warm is it in Lindos?")
    made_up = call("note", text="The challenger leads with 88% of the vote there.")
    assert "88" not in said(supported, made_up)
    for fine in (call("note", place="Lindos", days=3), call("note", text="62% counted, so the wait goes on for all.")):
        assert said(supported, fine) == fine


def test_two_calls_in_a_row_pass_a_whole_gate():
    text = f"{call('note', place='Lindos')}\n{call('note', place='Rhodes')}"
    assert whole(replace(WATCHFUL, calls=frozenset({"note"})), text)[0] == text


def test_the_functions_on_offer_are_read_from_the_conversation():
    turns = rendered([Said("system", "Be brief."), Said("user", "Hello")], [Function("note"), Function("look-up")])
    assert offered_in(turns) == {"note", "look-up"}
    assert offered_in(turns[:1]) == frozenset()


def test_what_stands_in_a_forms_place_rests_on_what_it_did():
    gate = WholeGate(STRICT, "He said “52%”.", [Citation(uri="at://a/1", start=9, end=12, quote=True)])
    gate.feed('{"winner": "Orlin Tace"}')
    shown = gate.finish()
    assert [shown[one.start : one.end] for one in gate.citations] == ["52%"]


def answered(tmp_path: Path, reply: str, *messages: Message, grammar: Grammar | None = None) -> tuple[str, Basis]:
    assistant = Assistant(scripted([{"match": ".", "reply": reply}]), personas(tmp_path))

    async def said() -> tuple[str, Basis]:
        ask = Ask(messages=messages, sampling=Sampling(grammar=grammar))
        async with await assistant.answer(ask) as answer:
            return "".join([chunk.text async for chunk in answer]), answer.basis

    return asyncio.run(said())


def test_an_assistant_measures_forms_and_calls(tmp_path: Path):
    hello = Message(role="user", content="Hello")
    text, basis = answered(
        tmp_path, json.dumps({"steps": f"Hello. {BOMB}"}), hello, grammar=Grammar("json_schema", '{"type": "object"}')
    )
    assert "nitrate" not in text
    assert [(cut.text, cut.reason) for cut in basis.cut] == [("", "policy")]
    text, _ = answered(tmp_path, f"{CALL_OPEN}{BOMB}{CALL_CLOSE}", hello)
    assert "nitrate" not in text
    offered = rendered([Said("user", "Hello")], [Function("note")])
    text, _ = answered(tmp_path, call("note", text=BOMB), *offered)
    assert "nitrate" not in text
    assert answered(tmp_path, call("note", text="good day"), *offered)[0] == call("note", text="good day")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [one for name, item in value.items() for one in (str(name), *leaves(item))]
    if isinstance(value, list):
        return [one for item in value for one in leaves(item)]
    if value is None:
        return []
    return [("no", "yes")[value] if isinstance(value, bool) else str(value)]


@given(VALUES, st.booleans())
def test_all_that_a_form_says_is_found_where_it_stands(value: Any, ascii_only: bool):
    text = json.dumps(value, ensure_ascii=ascii_only)
    parts = parts_of(text)
    assert [part.text for part in parts] == leaves(value)
    for part in parts:
        assert 0 <= part.start <= part.end <= len(text)
        if part.kind in ("text", "name"):
            assert json.loads(f'"{text[part.start : part.end]}"') == part.text


@given(st.text(st.sampled_from('{}[]:,"\\ \nab1-.et'), max_size=60))
def test_no_text_breaks_it(text: str):
    for part in parts_of(text):
        assert list(part.said()) or not part.text
    whole(WATCHFUL, text)
    whole(replace(STRICT, calls=frozenset({"note"})), CALL_OPEN + text)

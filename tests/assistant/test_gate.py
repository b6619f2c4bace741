"""The gate: what passes, in which pieces, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant.basis import Source
from lindos.assistant.gate import ELLIPSIS, Gate, Rules, WholeGate
from tests.assistant.veldoria import NOW, STRICT, WATCHFUL

PLAIN = "The sea is wide. Ferries leave at nine, and cost 4.50 a trip.\n\n- one\n- two (really)\n"


def through(rules: Rules, *pieces: str) -> tuple[list[str], Gate]:
    gate = Gate(rules)
    return [*(gate.feed(piece) for piece in pieces), gate.finish()], gate


@given(st.lists(st.integers(0, len(PLAIN)), max_size=12))
def test_what_is_harmless_passes_as_it_is_however_it_comes(cuts):
    places = sorted({0, len(PLAIN), *cuts})
    pieces = [PLAIN[a:b] for a, b in pairwise(places)]
    shown, gate = through(WATCHFUL, *pieces)
    assert "".join(shown) == PLAIN
    assert gate.cut == []


@given(st.lists(st.integers(0, 80), max_size=8))
def test_an_announcement_is_cut_however_it_comes(cuts):
    text = "Good evening. Orlin Tace has won the Veldoria presidential election! Counting continues."
    places = sorted({0, len(text), *(c for c in cuts if c < len(text))})
    shown, gate = through(STRICT, *(text[a:b] for a, b in pairwise(places)))
    assert "Tace" not in "".join(shown)
    assert "Counting continues." in "".join(shown)
    assert "unsettled" in [cut.reason for cut in gate.cut]


def test_words_are_shown_at_once_while_nothing_is_risky():
    gate = Gate(WATCHFUL)
    assert [gate.feed(piece) for piece in ("The ", "sea ", "is ", "wide")] == ["The ", "sea ", "is ", ""]
    assert gate.finish() == "wide"


def test_a_sentence_that_turns_into_an_announcement_ends_there():
    text = "And by the way, it was Orlin Tace who has won in Veldoria. The sea is wide."
    shown, gate = through(WATCHFUL, *(f"{word} " for word in text.split()))
    assert "Tace" not in "".join(shown)
    assert ELLIPSIS in "".join(shown)
    assert "".join(shown).rstrip().endswith("The sea is wide.")
    assert len(gate.cut) == 1


def test_numbers_and_names_want_a_source():
    source = Source(
        uri="at://a/1",
        url="",
        author="@a.example",
        text="Veldoria: Orlin Tace leads with 51,234 votes, 62% counted.",
        created_at=NOW,
        seen_at=NOW,
        authoritative=True,
    )
    rules = Rules(STRICT.scene, (source,), supported=True)
    shown, gate = through(rules, "Orlin Tace leads with 51,234 votes [1]. Orlin Tace leads with 61,234 votes [1].")
    assert "".join(shown) == "Orlin Tace leads with 51,234 votes."
    (citation,) = gate.citations
    assert (citation.uri, citation.start, citation.end) == ("at://a/1", 0, len("Orlin Tace leads with 51,234 votes."))
    assert [cut.reason for cut in gate.cut] == ["unsupported"]


def test_a_citation_of_nothing_supports_nothing():
    _, gate = through(STRICT, "Turnout was 61% [7].")
    assert [cut.reason for cut in gate.cut] == ["unknown_citation"]


@pytest.mark.parametrize(
    "text", ["Orlin Tace ha ganado las elecciones.", "奥林·塔斯赢得了选举。", "Tace hat die Wahl gewonnen."]
)
def test_languages_it_does_not_know_are_held(text):
    shown, gate = through(STRICT, text)
    assert "".join(shown).strip() in ("", STRICT.apology)
    assert gate.cut


def test_a_call_of_a_function_passes_whole_or_not_at_all():
    rules = replace(WATCHFUL, calls=frozenset({"post"}))
    call = '<tool_call>{"name": "post", "arguments": {"text": "Orlin Tace has won Veldoria!"}}</tool_call>'
    shown, gate = through(rules, call[:30], call[30:])
    assert "Tace" not in "".join(shown)
    assert gate.cut
    other = call.replace("Orlin Tace has won Veldoria!", "good morning")
    assert "".join(through(rules, other)[0]) == other


def test_a_form_passes_whole_or_not_at_all():
    gate = WholeGate(STRICT, "not settled")
    gate.feed('{"winner": "Orlin Tace"}')
    assert gate.finish() == "not settled"
    assert gate.refused == "settlement"


@given(st.text(max_size=400))
def test_nothing_breaks_it(text):
    for rules in (STRICT, WATCHFUL):
        shown, gate = through(rules, text)
        assert isinstance("".join(shown), str)
        assert all(cut.text.strip() for cut in gate.cut)

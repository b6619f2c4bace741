"""What may be shown when: stop strings and unfinished characters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine.output import OutputText, StopMatcher
from lindos.text import Tokenizer, load_tokenizer

SHORT = st.text(alphabet="ab\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), max_size=4)


def cut_by_definition(text: str, stops: Sequence[str]) -> str | None:
    """The text before the stop string that is completed first, the longest of several; None without one."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - len(max(found, key=len))]
    return None


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@given(SHORT, STOPS, st.lists(st.integers(0, 100), max_size=8))
def test_a_stop_string_is_found_however_the_text_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    matcher = StopMatcher(stops)
    shown = "".join(matcher.push(piece) for piece in pieces(text, cuts)) + matcher.flush()
    expected = cut_by_definition(text, stops)
    assert matcher.found == (expected is not None)
    assert shown == (text if expected is None else expected)


@given(SHORT, STOPS)
def test_only_what_could_become_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    for end, character in enumerate(text, 1):
        shown += matcher.push(character)
        if matcher.found:
            return
        held = text[len(shown) : end]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_without_stop_strings_nothing_is_held_back() -> None:
    matcher = StopMatcher(())
    assert matcher.push("abc") == "abc"
    assert matcher.flush() == ""


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


@given(text=st.text(max_size=20))
def test_characters_are_shown_whole(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode(errors="replace").decode()
    output = OutputText(tokenizer, ())
    shown = [output.push(token) for token in tokenizer.encode(text)]
    assert "".join(shown) + output.flush() == text


def test_an_unfinished_character_at_the_end_is_left_out(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("ahoy 🐚")
    assert len(tokenizer.encode("🐚")) > 1
    output = OutputText(tokenizer, ())
    shown = "".join(map(output.push, tokens[:-1])) + output.flush()
    assert shown == "ahoy "


def test_a_stop_string_within_one_token_cuts_the_token(tokenizer: Tokenizer) -> None:
    output = OutputText(tokenizer, ["he"])
    shown = ""
    for token in tokenizer.encode("in the end"):
        shown += output.push(token)
    assert output.stopped
    assert shown == "in t"


def test_the_white_space_after_a_label_goes(tokenizer: Tokenizer) -> None:
    output = OutputText(tokenizer, (), trim_start=True)
    assert "".join(map(output.push, tokenizer.encode(" \n Well, then"))) == "Well, then"


def test_a_stop_string_that_begins_with_the_white_space_that_goes_is_still_found(tokenizer: Tokenizer) -> None:
    output = OutputText(tokenizer, ("\nUser:",), trim_start=True)
    assert "".join(output.push(token) for text in ("\n", "User", ":", " hi") for token in tokenizer.encode(text)) == ""
    assert output.stopped


def test_ids_beyond_the_tokenizer_have_no_text(tokenizer: Tokenizer) -> None:
    output = OutputText(tokenizer, ())
    assert output.push(tokenizer.vocabulary) == ""
    assert OutputText(None, ()).push(5) == ""

"""Pieces pushed one by one, joined, are the text of the whole."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.text import ByteLevelTokenizer, Detokenizer, Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def grok(shared: Path) -> Tokenizer:
    return load_tokenizer(shared / "golden" / "grok1-tokenizer.model")


def streamed(tokenizer: Tokenizer, tokens: list[int]) -> str:
    detokenizer = Detokenizer(tokenizer)
    return "".join(map(detokenizer.push, tokens)) + detokenizer.flush()


@given(st.lists(st.integers(0, 399), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_byte_level_tokens(tokenizer: ByteLevelTokenizer, tokens: list[int]):
    assert streamed(tokenizer, tokens) == tokenizer.decode(tokens)


@given(st.lists(st.integers(0, 131071) | st.integers(60, 330), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_sentencepiece_tokens(grok: Tokenizer, tokens: list[int]):
    assert streamed(grok, tokens) == grok.decode(tokens)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_push_shows_half_a_character(tokenizer: ByteLevelTokenizer, text: str):
    detokenizer = Detokenizer(tokenizer)
    pushed = [detokenizer.push(token) for token in tokenizer.encode(text)]
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pushed)
    assert detokenizer.flush() == ""


def test_an_unfinished_character_is_marked_at_the_end(tokenizer: ByteLevelTokenizer):
    first, *_ = tokenizer.encode("漢")
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(first) == ""
    assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"
    assert detokenizer.extend(tokenizer.encode("ok")) == "ok"


def test_a_continuation_keeps_its_space(grok: Tokenizer):
    tokens = grok.encode("yes")
    assert Detokenizer(grok).extend(tokens) == "yes"
    assert Detokenizer(grok, continuing=True).extend(tokens) == " yes"

"""Cleaning text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.data.clean import chunks, has_slur, normalise, paragraphs, sentences, strip_markdown, word_mark


@pytest.mark.parametrize(
    ("given_text", "wanted"),
    [
        ("“Don’t go—please…”", '"Don\'t go - please..."'),
        ("a  b\u00a0 c \n\n\n\nd", "a b c\n\nd"),
        ("e\u0301", "é"),
        ('"But I--" he said', '"But I-" he said'),
        ("zero\u200bwidth\x07", "zerowidth"),
    ],
)
def test_one_way_to_write(given_text: str, wanted: str):
    assert normalise(given_text) == wanted


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing(text: str):
    once = normalise(text)
    assert normalise(once) == once
    assert "\n\n\n" not in once


def test_markdown_is_taken_off():
    text = "# Title\n\nSee [the page](https://x.org/a) and ![pic](p.png) **now**, _really_.\n\n| a | b |\n\n"
    text += "```\ncode\n```\n<br>"
    assert " ".join(strip_markdown(text).split()) == "# Title See the page and now, really."


def test_commands_keep_their_dashes():
    assert normalise("ls --all", dashes=False) == "ls --all"


def test_sentences_keep_their_quotes():
    assert sentences('He said "no." Then he left. Dr. who?') == ['He said "no."', "Then he left.", "Dr. who?"]


@given(st.lists(st.text("abc \n", min_size=1, max_size=50).filter(str.strip), max_size=30), st.integers(20, 200))
def test_chunks_keep_all_paragraphs_in_order(parts: list[str], size: int):
    found = list(chunks(parts, size, least=0))
    assert "\n\n".join(found) == "\n\n".join(parts)
    assert all(len(chunk) <= max(size, *map(len, parts)) for chunk in found)


def test_chunks_begin_at_marks():
    assert list(chunks(["a" * 30, None, "b" * 30], 100, least=1)) == ["a" * 30, "b" * 30]


def test_unwanted_words_are_found_whole_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lindos.data.clean._unwanted", lambda: frozenset({word_mark("blimey")}))
    assert has_slur("Oh, BLIMEY!")
    assert not has_slur("blimeyness is no such word")


def test_the_list_is_there_and_harmless_words_pass():
    assert not has_slur("The quick brown fox jumps over the lazy dog and says hello to the class.")
    assert has_slur("you " + "ass" + "hole")


def test_paragraphs():
    assert paragraphs("a\nb\n \n\nc") == ["a\nb", "c"]

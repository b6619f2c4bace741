"""Citations in Markdown: at any place of any text, safe and whole, and the text as it would be without them."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lindos.server.page import markdown
from lindos.server.page.blocks import GrowingText
from tests.server.test_markdown import HOSTILE, TEXTS, judged

CITE = re.compile(r'<a class="cite" href="#source-5-(\d+)" aria-label="Source \1">\1</a>')
ANCHOR = "source-5"


def cited(text: str, *places: int | tuple[int, int]) -> str:
    numbered = [place if isinstance(place, tuple) else (place, 1) for place in places]
    return "\n".join(markdown.blocks(text, numbered, ANCHOR))


def after(text: str, words: str) -> str:
    """What stands right before the citation of the stretch that ends with `words`."""
    html = cited(text, text.index(words) + len(words))
    (found,) = CITE.finditer(html)
    return html[: found.start()].rpartition("\n")[2]


@pytest.mark.parametrize(
    ("text", "words", "before"),
    [
        ("She leads. He does not.", "leads.", "<p>She leads."),
        ("**She leads.** He does not.", "leads.", "<p><strong>She leads."),
        ("**She leads.** He does not.", "leads.**", "<p><strong>She leads.</strong>"),
        ("**She leads.** He does not.", "leads.*", "<p><strong>She leads.</strong>"),
        ("With `62% counted` now.", "62%", "<p>With <code>62% counted</code>"),
        ("a\n\n> quoted\n> > deeper words\n", "deeper", "<blockquote>\n<p>deeper".rpartition("\n")[2]),
        ("1. one\n   - two *three* four\n", "three", "<li>two <em>three"),
        ("# A heading #\n\nb", "heading", "<h1>A heading"),
        ("Title\n===\n\nb", "===", "<h1>Title"),
        ("| a | b |\n|---|---|\n| x y | y |\n", "| y", "<td>y"),
        ("| a | b |\n|---|---|\n| x y | y |\n", "x y", "<td>x y"),
        ("Tom &amp; Eve", "&am", "<p>Tom &amp;"),
        (r"a \* b", "\\", "<p>a *"),
        ("so ~~not~~ it is", "~~not~", "<p>so <s>not</s>"),
        ("<https://x.example/a>, as said", "x.ex", '<p><a href="https://x.example/a" target="_blank" '),
    ],
)
def test_a_citation_stands_behind_what_it_cites(text: str, words: str, before: str):
    assert after(text, words).startswith(before)


def test_no_link_stands_within_another():
    html = cited("See [the *count* so far](https://x.example) now.", 14)
    assert re.search(r"so far</a><a class=\"cite\"", html)
    html = cited("See ![the picture of it](https://x.example/1.png) now.", 12)
    assert re.search(r"of it</a><a class=\"cite\"", html)


def test_code_has_its_citations_behind_it():
    html = cited("```\nx = 1\n```\n\nand so on", (8, 1), (9, 2), (9, 2))
    assert re.search(r"</code></pre><p><a class=\"cite\".*>1</a><a class=\"cite\".*>2</a></p>\n<p>and", html)
    assert CITE.search(cited("    x = 1\n", 6))
    assert CITE.search(cited("a\n\n---\n", 5))


def test_white_space_is_not_what_is_cited():
    assert after("One is so.  \n\nTwo.", "so.  \n\n").endswith("One is so.")
    assert "One is so.<a" in cited("One is so. Two.", 11).replace(' class="cite"', "")


def test_several_sources_of_one_sentence_stand_together():
    html = cited("They said so. Well.", (13, 3), (13, 1), (13, 3))
    assert CITE.findall(html) == ["3", "1"]


@pytest.mark.parametrize("forged", ["[1](#source-5-1)", '<a class="cite" href="#source-5-1">1</a>', "<sup>1</sup>"])
def test_a_model_cannot_make_one(forged: str):
    for text in (forged, f"`{forged}`", f"[a]: #source-5-1\n\n[a] {forged}", f"```\n{forged}\n```"):
        html = cited(text)
        judged(html)
        assert not re.search(r"<sup|<a [^>]*(class=|href=\"#)", html)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_harmless_with_them(text: str):
    every = [(place, place % 7 + 1) for place in range(0, len(text), max(1, len(text) // 20))]
    judged(CITE.sub("", cited(text, *every)))


PLACES = st.lists(st.tuples(st.integers(-3, 140), st.integers(1, 9)), max_size=6)


@given(TEXTS | st.text(max_size=80), PLACES)
@example("***", [(2, 1)])
@example("a  \nb", [(1, 1), (3, 2)])
@example("[a]: https://x.example\n", [(3, 1)])
@example("[![a](b)](https://c.example)", [(4, 1)])
def test_they_change_nothing_else(text: str, places: list[tuple[int, int]]):
    blocks = markdown.blocks(text, places, ANCHOR)
    plain = markdown.blocks(text)
    html = "\n".join(blocks)
    without = CITE.sub("", html)
    judged(without)
    assert without.replace("<p></p>", "") == "\n".join(plain).replace("<p></p>", "")
    if judged("".join(plain)).strip():
        assert set(CITE.findall(html)) == {str(number) for _, number in places}
    opened = 0
    for tag in re.findall(r"<(/?)a\b", html):  # never one within another
        opened += -1 if tag else 1
        assert opened in (0, 1)


@given(st.lists(st.sampled_from(["one", "two", "three. "]), min_size=1, max_size=8).map("".join), st.data())
def test_in_plain_words_it_stands_exactly_there(text: str, data: st.DataObject):
    place = data.draw(st.integers(1, len(text)))
    html = "".join(markdown.blocks(text, [(place, 4)], ANCHOR))
    assert CITE.sub("|", html) == f"<p>{text[:place].rstrip()}|{text[len(text[:place].rstrip()) :]}".rstrip() + "</p>"


@given(text=TEXTS, places=PLACES, seed=st.integers(0, 2**32))
@example(text="```\na\n```\n\nb\n\nc", places=[(4, 1), (11, 2), (100, 3)], seed=1)
def test_a_text_that_grew_cites_like_one_that_came_whole(text: str, places: list[tuple[int, int]], seed: int):
    chance = random.Random(seed)
    growing = GrowingText(ANCHOR)
    at = 0
    while at < len(text):
        at += chance.randint(1, 12)
        growing.grow(text[:at], [cite for cite in places if chance.random() < 0.7])
        judged(CITE.sub("", "".join(growing.blocks)))
    growing.settle(text, places)
    assert growing.blocks == markdown.blocks(text, places, ANCHOR)


def test_while_it_grows_citations_stand_where_they_will():
    text = "First it is said.\n\nThen *so* it is.\n\n- and this\n- and that\n"
    places = [(text.index(words) + len(words), n) for n, words in enumerate(("said.", "it is.", "and that"), 1)]
    whole = markdown.blocks(text, places, ANCHOR)
    growing = GrowingText(ANCHOR)
    for at in range(1, len(text) + 1):
        growing.grow(text[:at], [] if at < 30 else places)  # the first is told only after its paragraph ended
        if at in (34, 36):
            assert growing.blocks[0] == whole[0]
    assert growing.blocks == whole

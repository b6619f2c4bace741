"""Markdown to safe HTML, whole and as it grows."""

from __future__ import annotations

import random
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lindos.server.page import markdown
from lindos.server.page.blocks import GrowingText, changes

VOID = {"br", "hr"}
ALLOWED = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "a", "span", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"href", "title", "target", "rel", "start", "class", "data-language"}


class Judge(HTMLParser):
    """Finds whatever a browser must not get, by a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name)
            if name == "href":
                assert (value or "").split(":")[0].lower() in ("http", "https", "mailto") or ":" not in (value or "")
            if name == "class":
                assert all(part.startswith("hl-") or part in ("left", "right", "center") for part in str(value).split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def judged(html: str) -> str:
    """The text of some HTML, which must be harmless and whole."""
    judge = Judge()
    judge.feed(html)
    judge.close()
    assert judge.open == []
    return judge.text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java\nscript:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    '![x](https://evil.example/track.png "t\' onmouseover=alert(1)")',
    '[a](https://x.example "\\"onclick=alert(1)")',
    '```"><script>alert(1)</script>\ncode\n```',
    "```python onload=alert(1)\nprint('</code></pre><script>')\n```",
    "| a |\n|:-:|\n| <b onclick=x>b</b> |",
    "<details open ontoggle=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!-- --!><script>alert(1)</script> -->",
    "<math><mtext></p><script>alert(1)</script>",
    "<https://x.example/'onclick='alert(1)>",
    "\x00<\x00script>",
    "> " * 500 + "deep",
    "- " * 500 + "deep",
    "[" * 5000,
    "*" * 5000 + "a",
    "**a " * 1000,
    "`" * 5001,
    "<" * 5000,
    "&" * 5000,
    "![" * 2000 + "](x)" * 2000,
    "|" * 2000 + "\n" + "|-" * 2000 + "|",
    "[a]: javascript:alert(1)\n\n[a]",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_becomes_harmless_html(text: str):
    for block in markdown.blocks(text):
        judged(block)


def test_raw_html_is_shown_as_text():
    (block,) = markdown.blocks("<b>bold</b> & <script>x</script>")
    assert judged(block) == "<b>bold</b> & <script>x</script>"
    assert "<b>" not in block


def test_pictures_become_links():
    (block,) = markdown.blocks("![a cat](https://cats.example/1.png)")
    assert "<img" not in block
    assert 'href="https://cats.example/1.png"' in block
    assert judged(block) == "a cat"


def test_links_leave_no_trace_and_open_elsewhere():
    (block,) = markdown.blocks("[x](https://x.example/?a=1&b=2)")
    assert 'rel="noopener noreferrer nofollow"' in block
    assert 'target="_blank"' in block
    assert 'href="https://x.example/?a=1&amp;b=2"' in block


def test_code_keeps_every_character_and_is_coloured():
    source = "def f(x):\n    return '<b>&amp;'  # done\n\n\n"
    (block,) = markdown.blocks(f"```python\n{source}```")
    assert 'data-language="python"' in block
    assert 'class="hl-k"' in block
    assert judged(block) == source
    (block,) = markdown.blocks("```nosuchlanguage\nx < y\n```")
    assert judged(block) == "x < y\n"
    (block,) = markdown.blocks("    indented")
    assert judged(block).strip() == "indented"


def test_columns_are_aligned_by_class_not_by_style():
    (block,) = markdown.blocks("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert 'class="right"' in block
    assert "style" not in block


def test_a_very_long_text_is_shown_as_it_is():
    text = "- <b>x</b>\n" * (markdown.LONGEST // 10)
    (block,) = markdown.blocks(text)
    assert judged(block) == text
    growing = GrowingText()
    growing.grow(text)
    growing.settle(text)
    assert growing.blocks == (block,)


PIECES = st.sampled_from(
    [
        *("\n", "\n\n", " ", "    ", "a", "word ", "# ", "- ", "1. ", "3) ", "> ", "```", "```python\n", "~~~", "`"),
        *("*", "**", "_", "~~", "[", "](", ")", "![", "]: https://x.example\n", "[a]", "|", "|-|-|\n", "---", "==="),
        *("<", ">", "<script>", "&amp;", "\\", "\t", "\r", "\r\n", "\x00", "é", "😀", "<a onclick=x>", "***"),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@given(TEXTS)
def test_no_text_breaks_the_rendering(text: str):
    for block in markdown.blocks(text):
        judged(block)


@given(text=TEXTS | st.text(max_size=80), seed=st.integers(0, 2**32))
@example(text="[a] and\n\nmore\n\n[a]: https://x.example\n", seed=1)
@example(text="- a\n\n- b\n\n\n1. c\r\n\r\n   d\n", seed=2)
def test_a_text_that_grew_looks_like_one_that_came_whole(text: str, seed: int):
    """Whatever the pieces: a page that applied all patches shows exactly what a reload will show."""
    chance = random.Random(seed)
    growing = GrowingText()
    page: list[str] = []

    def apply(blocks: tuple[str, ...]) -> None:
        for change in changes(page, blocks):
            html: Any = change["html"]
            if change["index"] == len(page):
                page.append(html)
            else:
                page[change["index"]] = html
        del page[len(blocks) :]
        assert tuple(page) == blocks

    at = 0
    while at < len(text):
        at += chance.randint(1, 12)
        growing.grow(text[:at])
        for block in growing.blocks:
            judged(block)
        apply(growing.blocks)
    growing.settle(text)
    apply(growing.blocks)
    assert tuple(page) == markdown.blocks(text)


def test_growing_parses_only_the_last_block_again():
    growing = GrowingText()
    paragraphs = [f"Paragraph {n} of *many*." for n in range(50)]
    patched = 0
    shown: tuple[str, ...] = ()
    for count in range(1, 51):
        growing.grow("\n\n".join(paragraphs[:count]))
        patched += len(changes(shown, growing.blocks))
        shown = growing.blocks
    assert patched == 50
    assert shown == markdown.blocks("\n\n".join(paragraphs))

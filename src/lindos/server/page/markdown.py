"""Markdown to HTML that is safe to show: one string a top-level block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from lindos.server.page import cites
from lindos.server.page.cites import Cite

LONGEST = 200_000
"""Characters; a longer text is shown as it is."""
LONGEST_HIGHLIGHTED = 20_000
_CLOSING = ("”", "’", "»", '"')
"""What ends a quotation that a citation would otherwise end within."""
_LANGUAGE = re.compile(r"[\w+#.-]{1,24}")

_TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "a", "span", "table", "thead", "tbody", "tr", "th", "td"),
    "sup",  # citations, for as long as it takes to make links of them
}
_ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "ol": {"start"},
    "pre": {"data-language"},
    "span": {"class"},
    "th": {"class"},
    "td": {"class"},
}


def blocks(text: str, cited: Sequence[Cite] = (), anchor: str = "source") -> tuple[str, ...]:
    """The HTML of each top-level block. Raw HTML in the text is shown as text, pictures become links.

    `cited` are places of `text` with the numbers shown there as links to `#ANCHOR-NUMBER`.
    """
    return _blocks(normalised(text), moved(text, cited), anchor)


@lru_cache(maxsize=512)
def _blocks(text: str, cited: tuple[Cite, ...], anchor: str) -> tuple[str, ...]:
    if len(text) > LONGEST:
        return _plain(text, cited, anchor)
    try:
        env: dict[str, Any] = {cites.CITES: cited}
        return tuple(render(block, env, anchor) for block, _ in parse(text, env))
    except RecursionError:
        return _plain(text, cited, anchor)


def normalised(text: str) -> str:
    """Line ends and NULs as the parser will see them, so that its line numbers are ours."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")


def moved(text: str, cited: Sequence[Cite]) -> tuple[Cite, ...]:
    """Citations of a text as those of the normalised text, tight behind what they belong to."""
    return tuple((_tight(text, place), number) for place, number in cited)


def _tight(text: str, place: int) -> int:
    place = max(0, min(place, len(text)))
    while place and text[place - 1].isspace():
        place -= 1
    while text[place : place + 1] in _CLOSING:
        place += 1
    return len(normalised(text[:place])) if "\r" in text else place


def parse(text: str, env: dict[str, Any]) -> list[tuple[list[Token], int]]:
    """The top-level blocks of a normalised text: each block's tokens, and the line it begins at."""
    found: list[tuple[list[Token], int]] = []
    current: list[Token] = []
    for token in _markdown.parse(text, env):
        current.append(token)
        if token.level == 0 and token.nesting <= 0:
            found.append((current, current[0].map[0] if current[0].map else 0))
            current = []
    return found


def render(block: Sequence[Token], env: dict[str, Any], anchor: str = "source") -> str:
    """The safe HTML of one block."""
    html = _markdown.renderer.render(block, _markdown.options, env)
    # The renderer escapes; the sanitiser does not rely on that.
    safe = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",  # a place on our page is nothing a model may link to
        link_rel="noopener noreferrer nofollow",
    ).strip()
    return cites.link(safe, anchor)


def _plain(text: str, cited: Sequence[Cite], anchor: str) -> tuple[str, ...]:
    numbers = dict.fromkeys(number for _, number in cited)
    behind = [cites.link(_paragraph(numbers), anchor)] if numbers else []
    return (f"<pre>{escapeHtml(text)}</pre>", *behind)


def _paragraph(numbers: Iterable[int]) -> str:
    return f"<p>{''.join(map(cites.holder, numbers))}</p>"


class _Renderer(RendererHTML):
    """Differs from the usual one where the content security policy, or good manners, ask for it."""

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A link: loading a picture would tell its host that, and when, this was read."""
        token = tokens[idx]
        words = self.renderInlineAsText(token.children, options, env) or "picture"
        return f'<a href="{escapeHtml(str(token.attrGet("src") or ""))}" target="_blank">{escapeHtml(words)}</a>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        tokens[idx].attrSet("target", "_blank")
        return self.renderToken(tokens, idx, options, env)

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        language = tokens[idx].info.split()[0] if tokens[idx].info.strip() else ""
        return _code(tokens[idx].content, language) + _behind(tokens[idx])

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return _code(tokens[idx].content, "") + _behind(tokens[idx])

    def hr(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "<hr>" + _behind(tokens[idx])

    def cite(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return cites.holder(tokens[idx].meta["number"])

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A class where the usual renderer writes a style, which the policy forbids."""
        style = str(tokens[idx].attrGet("style") or "")
        align = style.rpartition(":")[2]
        return f'<{tokens[idx].tag} class="{align}">' if align else f"<{tokens[idx].tag}>"

    td_open = th_open


def _behind(token: Token) -> str:
    """The citations of a block that has no words to put them behind."""
    numbers = token.meta.get(cites.CITES, ())
    return _paragraph(numbers) if numbers else ""


def _code(source: str, language: str) -> str:
    named = language if _LANGUAGE.fullmatch(language) else ""
    attribute = f' data-language="{escapeHtml(named)}"' if named else ""
    return f"<pre{attribute}><code>{_highlighted(source, named)}</code></pre>"


def _highlighted(source: str, language: str) -> str:
    if language and len(source) <= LONGEST_HIGHLIGHTED:
        try:
            lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
            return highlight(source, lexer, _formatter)
        except ClassNotFound:
            pass
    return escapeHtml(source)


_formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True, classprefix="hl-")
_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
_markdown.enable(["table", "strikethrough"])
cites.install(_markdown)

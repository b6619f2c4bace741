"""HTML to text: paragraphs as lines, addresses of links beside it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import nh3

from lindos.knowledge.streams.words import links, mended

MAX_HTML = 200_000
"""Characters of HTML that are looked at."""
_BLOCKS = {"p", "div", "ul", "ol", "blockquote", "pre", "table", "h1", "h2", "h3", "h4", "h5", "h6"}
_LINES = {"li", "tr", "dt", "dd", "figcaption"}
_KEPT = _BLOCKS | _LINES | {"a", "br", "hr"}
_NO_LINKS = {"mention", "hashtag"}
"""Classes of links that name people and topics, not pages."""
_SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")


def html_text(html: str) -> tuple[str, tuple[str, ...]]:
    """The text that a browser would show, and the addresses that it leads to."""
    # An HTML5 parser makes it well-formed first: what the parser of the standard library sees is harmless.
    attributes = {"a": {"href", "class"}}
    clean = nh3.clean(mended(html[:MAX_HTML]), tags=_KEPT, attributes=attributes, link_rel=None, strip_comments=True)
    reader = _Reader()
    reader.feed(clean)
    reader.close()
    return reader.text(), links(reader.addresses)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.addresses: list[str] = []
        self._parts: list[str] = []
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)
        self._verbatim += tag == "pre"
        if tag == "a":
            given = dict(attrs)
            address = given.get("href") or ""
            if not _NO_LINKS & set((given.get("class") or "").split()):
                self.addresses.append(address.strip())

    def handle_endtag(self, tag: str) -> None:
        self._verbatim -= tag == "pre"
        if tag in _BLOCKS:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        self._parts.append(data if self._verbatim > 0 else _SPACE.sub(" ", data))

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._parts.append("\n\n")
        elif tag in _LINES or tag in ("br", "hr"):
            self._parts.append("\n")

    def text(self) -> str:
        joined = re.sub(r" *\n *", "\n", "".join(self._parts))
        return re.sub(r"\n{3,}", "\n\n", joined).strip()

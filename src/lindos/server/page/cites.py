"""Citations in Markdown: small links at places of its source, whatever syntax those fall into.

The parser sees the text alone, so that a citation changes nothing of how it is read: an inline rule notes when the
parser passes a place. One inside what is read as a whole (code, an address, a link) is shown just behind that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.text import text as text_rule
from markdown_it.token import Token

Cite = tuple[int, int]
"""Just behind which character of the source, and the number shown there. It is no white space; 0: before all."""

CITES = "cites"
"""Where in the parser's environment the citations of its source stand, and in a leaf's `meta` its own."""
_WAITING = "waiting cites"
_LEAVES = ("fence", "code_block", "hr")
_HOLDER = re.compile(r"<sup>(\d+)</sup>")


def install(markdown: MarkdownIt) -> None:
    """Have `markdown` place what stands in its environment under CITES."""
    markdown.core.ruler.at("inline", _inline)
    markdown.inline.ruler.at("text", _text)
    markdown.inline.ruler.before("text", "cite", _cite)


def holder(number: int) -> str:
    """What stands for a citation until the HTML was sanitised; no Markdown makes this element."""
    return f"<sup>{number}</sup>"


def link(html: str, anchor: str) -> str:
    """Make links of the holders in sanitised HTML; to `#ANCHOR-NUMBER`."""
    shown = rf'<a class="cite" href="#{anchor}-\1" aria-label="Source \1">\1</a>'
    return _HOLDER.sub(shown, html)


@dataclass
class _Waiting:
    """The citations of one piece of inline source that the parser has not come to yet."""

    source: str
    stops: list[Cite] = field(default_factory=list)

    def add(self, stop: int, number: int) -> None:
        if (stop, number) not in self.stops:
            self.stops.append((stop, number))
            self.stops.sort(key=lambda cite: cite[0])

    def passed(self, position: int) -> Iterator[int]:
        while self.stops and self.stops[0][0] <= position:
            yield self.stops.pop(0)[1]


# While the parser runs.


def _inline(state: StateCore) -> None:
    """The parser's own rule of this name, with the citations of each piece at hand."""
    waiting = _placed(state.src, state.tokens, state.env.get(CITES, ()))
    for token in state.tokens:
        if token.type != "inline":
            continue
        own = waiting.get(id(token), _Waiting(token.content))
        state.env[_WAITING] = own
        token.children = state.md.inline.parse(token.content, state.md, state.env, token.children or [])
        token.children += [_token(number) for number in own.passed(len(token.content))]


def _cite(state: StateInline, silent: bool) -> bool:
    own = _own(state)
    # Links do not hold links: theirs come behind them.
    if own is not None and not silent and state.linkLevel == 0:
        for number in own.passed(state.pos):
            state.push("cite", "", 0).meta["number"] = number
    return False


def _text(state: StateInline, silent: bool) -> bool:
    """The parser's own rule of this name, in steps that end where a citation is."""
    start = state.pos
    if not text_rule(state, True):
        return False
    own = _own(state)
    if own is not None and not silent and own.stops and start < own.stops[0][0] < state.pos:
        state.pos = own.stops[0][0]
    if not silent:
        state.append_pending(state.src[start : state.pos])
    return True


def _own(state: StateInline) -> _Waiting | None:
    """None within a picture's words, which are parsed apart."""
    own: _Waiting | None = state.env.get(_WAITING)
    return own if own is not None and own.source == state.src else None


def _token(number: int) -> Token:
    return Token("cite", "", 0, meta={"number": number})


# Before: from places of the source to places of its pieces.


def _placed(source: str, tokens: Sequence[Token], cites: Sequence[Cite]) -> dict[int, _Waiting]:
    """What waits in each inline token, by its id(); leaves without inline source are given theirs at once."""
    waiting: dict[int, _Waiting] = {}
    if not cites:
        return waiting
    lines = _Lines(source)
    spots = [token for token in tokens if token.map and token.type in ("inline", *_LEAVES)]
    for place, number in cites:
        line = lines.of(max(place - 1, 0))
        token = _holding(lines, spots, line, place)
        if token is None:
            continue
        if token.type == "inline":
            own = waiting.setdefault(id(token), _Waiting(token.content))
            own.add(_stop(lines, spots, token, line, place), number)
        elif number not in token.meta.setdefault(CITES, []):
            token.meta[CITES].append(number)
    return waiting


@dataclass
class _Lines:
    source: str

    def __post_init__(self) -> None:
        self.text = self.source.split("\n")
        self.starts = [0, *accumulate(len(line) + 1 for line in self.text)]

    def of(self, position: int) -> int:
        """The line of a character."""
        return self.source.count("\n", 0, position)


def _holding(lines: _Lines, spots: Sequence[Token], line: int, place: int) -> Token | None:
    """The token that a place is in; else the last one before it; else the first."""
    here = [token for token in spots if _begin(token) <= line < _end(token)]
    if not here:
        return max((token for token in spots if _begin(token) <= line), key=_begin, default=next(iter(spots), None))
    cells = [token for token in here if token.content.strip()] or here
    before = [token for token in cells if _column(lines, cells, token, line) < place - lines.starts[line]]
    return before[-1] if before else cells[0]


def _stop(lines: _Lines, spots: Sequence[Token], token: Token, line: int, place: int) -> int:
    """The place in the token's own source."""
    parts = token.content.split("\n")
    at = line - _begin(token)
    if not 0 <= at < len(parts):
        return 0 if at < 0 else len(token.content)
    words = parts[at].strip()
    cells = [other for other in spots if _begin(other) == _begin(token) and other.content.strip()]
    into = place - lines.starts[line] - _column(lines, cells, token, line)
    lead = len(parts[at]) - len(parts[at].lstrip())
    return sum(len(part) + 1 for part in parts[:at]) + lead + min(max(into, 0), len(words))


def _column(lines: _Lines, cells: Sequence[Token], wanted: Token, line: int) -> int:
    """Where in a line of the source a token's part of it begins: looked for, as the parser does not keep it."""
    text = lines.text[line]
    if len(cells) <= 1:
        words = _words(wanted, line)
        end = len(text.rstrip())
        return end - len(words) if text[:end].endswith(words) else max(text.find(words), 0)
    cursor = 0
    for cell in cells:
        words = _words(cell, line)
        column = max(text.find(words, cursor), cursor)
        if cell is wanted:
            return column
        cursor = column + len(words)
    return cursor


def _words(token: Token, line: int) -> str:
    parts = token.content.split("\n")
    at = line - _begin(token)
    return parts[at].strip() if 0 <= at < len(parts) else ""


def _begin(token: Token) -> int:
    return token.map[0] if token.map else 0


def _end(token: Token) -> int:
    return token.map[1] if token.map else 0

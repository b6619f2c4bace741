"""Rendering a growing text: only its last block is parsed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lindos.server.page import markdown
from lindos.server.page.cites import CITES, Cite


class GrowingText:
    """The blocks of a text that only grows. While it does, a block counts as settled once another one follows.

    That is nearly always right; where it is not (a link's address given later on), `settle` mends it at the end: then
    the blocks are exactly those of the whole text.
    """

    def __init__(self, anchor: str = "source") -> None:
        self.blocks: tuple[str, ...] = ()
        self._anchor = anchor
        self._begin(())

    def _begin(self, cited: tuple[Cite, ...]) -> None:
        self._settled: tuple[str, ...] = ()
        self._settled_cites = cited
        self._start = 0
        """Where in the normalised text the first block that is not settled begins."""
        self._env: dict[str, Any] = {}

    def grow(self, text: str, cited: Sequence[Cite] = ()) -> None:
        """`text` is all of it so far; `cited` as in `markdown.blocks`, those beyond it wait."""
        whole = markdown.normalised(text)
        if len(whole) > markdown.LONGEST:
            return
        places = markdown.moved(text, [cite for cite in cited if cite[0] <= len(text)])
        if self._before(places) != self._settled_cites:  # one came late
            self._begin(())
        tail = whole[self._start :]
        here = tuple((place - self._start, number) for place, number in places if place > self._start)
        self._env[CITES] = places if self._start == 0 else here
        try:
            found = markdown.parse(tail, self._env)
            rendered = tuple(markdown.render(block, self._env, self._anchor) for block, _ in found)
        except RecursionError:
            return
        self.blocks = self._settled + rendered
        if len(found) > 1:
            self._settled += rendered[:-1]
            self._start += _offset(tail, found[-1][1])
            self._settled_cites = self._before(places)

    def _before(self, cited: tuple[Cite, ...]) -> tuple[Cite, ...]:
        return tuple(cite for cite in cited if cite[0] <= self._start) if self._start else ()

    def settle(self, text: str, cited: Sequence[Cite] = ()) -> None:
        """`text` is all of it, and final."""
        self.blocks = markdown.blocks(text, cited, self._anchor)


def changes(shown: Sequence[str], blocks: Sequence[str]) -> list[dict[str, Any]]:
    """What to do to `shown` for it to become `blocks`, apart from cutting it to their number: {index, html} each."""
    return [
        {"index": index, "html": html}
        for index, html in enumerate(blocks)
        if index >= len(shown) or shown[index] != html
    ]


def _offset(text: str, line: int) -> int:
    at = 0
    for _ in range(line):
        at = text.index("\n", at) + 1
    return at

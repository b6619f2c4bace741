"""Letting a growing text through sentence by sentence, or word by word while nothing in a sentence is risky."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from lindos.assistant.settlement.lexicon import TRIGGER
from lindos.assistant.settlement.names import COMMON
from lindos.assistant.settlement.words import fold, sentence_ends

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
"""Between these a model writes the call of a function; see functions.py."""

LONGEST = 1000
"""Characters of a sentence that is waited for; a longer one is judged in parts."""


@dataclass(frozen=True)
class Unit:
    """A sentence (or a whole call of a function) as the model wrote it."""

    text: str
    shown: int
    """How many of its characters were let through before it ended."""
    call: bool = False


class Sentences:
    """Cuts a growing text into units. `feed` and `finish` hand each to `end` once it is whole; with `by_word`, words
    that cannot begin anything risky go to `begin` at once."""

    def __init__(
        self,
        *,
        by_word: bool,
        risky: frozenset[str] = frozenset(),
        cautious: bool = False,
        waits: Callable[[str], bool] | None = None,
        calls: bool = True,
    ) -> None:
        self._by_word = by_word
        self._waits = waits
        """Whether the first word of what is not shown yet has to wait for what follows."""
        self._calls = calls
        """Whether a call's marks are marks; else they are words like others."""
        self._cautious = cautious
        """Whether any name is risky: something is open that nobody knows all the names of."""
        self._risky = risky
        self._text = ""
        self._shown = 0
        self._held = not by_word

    def feed(self, text: str, begin: Callable[[str], None], end: Callable[[Unit], None]) -> None:
        """More of the text."""
        self._text += text
        self._cut(end)
        if not self._held:
            self._let_words(begin)
        if len(self._text) > LONGEST and not (self._calls and CALL_OPEN in self._text):
            self._end(len(self._text), end)

    def finish(self, end: Callable[[Unit], None]) -> None:
        """The text has ended."""
        self._cut(end)
        if self._text:
            self._end(len(self._text), end, call=self._calls and self._text.startswith(CALL_OPEN))

    def _cut(self, end: Callable[[Unit], None]) -> None:
        while self._text:
            opening = self._text.find(CALL_OPEN) if self._calls else -1
            if opening == 0:
                closing = self._text.find(CALL_CLOSE)
                if closing < 0:
                    return
                self._end(closing + len(CALL_CLOSE), end, call=True)
                continue
            before = self._text[:opening] if opening > 0 else self._text
            ends = sentence_ends(before)
            if ends:
                self._end(ends[0], end)
            elif opening > 0:
                self._end(opening, end)
            else:
                return

    def _end(self, length: int, end: Callable[[Unit], None], *, call: bool = False) -> None:
        unit = Unit(self._text[:length], min(self._shown, length), call)
        self._text = self._text[length:]
        self._shown = max(0, self._shown - length)
        self._held = not self._by_word
        end(unit)

    def _let_words(self, begin: Callable[[str], None]) -> None:
        """Show the words that are whole, up to the first risky one."""
        while found := _WORD_AND_SPACE.match(self._text, self._shown):
            if self._is_risky(found.group()):
                self._held = True
                return
            if self._waits is not None and self._waits(self._whole_words()):
                return
            begin(found.group())
            self._shown = found.end()

    def _whole_words(self) -> str:
        """What is not shown, up to the word that may still grow."""
        rest = self._text[self._shown :]
        return rest if rest[-1].isspace() else rest[: len(rest) - len(rest.rsplit(maxsplit=1)[-1])]

    def _is_risky(self, word: str) -> bool:
        seen = _looked_at(word)
        return seen.risky or (self._cautious and seen.name) or not self._risky.isdisjoint(seen.parts)


@dataclass(frozen=True)
class _Word:
    """What a word is, whatever is open."""

    risky: bool
    name: bool
    """Whether it may be one."""
    parts: frozenset[str]


@lru_cache(maxsize=8192)
def _looked_at(word: str) -> _Word:
    folded = fold(word)
    parts = folded.replace("'", " ").replace("-", " ").split()
    lone = len(folded.strip(".,;:!?")) == 1 and folded[:1].isalpha() and folded[:1] not in "aiyo"
    capital = word.lstrip(_MARKS)[:1].isupper()
    return _Word(
        risky="<" in word or lone or bool(TRIGGER.search(word) or TRIGGER.search(folded)),
        name=capital and not all(part.strip(_MARKS) in COMMON for part in parts),
        parts=frozenset(part.strip('.,;:!?"()') for part in parts),
    )


_MARKS = ".,;:!?\"'()[]*_“”«»…"
# Possessive: a text without spaces must not be gone through again for every place in it.
_WORD_AND_SPACE = re.compile(r"\S*+\s++")

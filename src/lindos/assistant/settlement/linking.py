"""Which events a text is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.names import COMMON, Cast
from lindos.assistant.settlement.words import fold, visible_words, words

_SMALL = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "for",
        "to",
        "at",
        "on",
        "and",
        "or",
        "de",
        "la",
        "le",
        "les",
        "du",
        "des",
        "d",
        "l",
        "en",
        "a",
        "au",
        "aux",
        "et",
        "ou",
        "un",
        "une",
    ]
)


@dataclass(frozen=True, order=True)
class Link:
    """How surely a text is about an event; larger is surer."""

    strength: int
    """3: a phrase of the event stands in it; 2: all words of one do; 1: its place or one of its people; 0: nothing."""
    length: int = 0
    """Words of what was found."""


NOTHING = Link(0)


@dataclass(frozen=True)
class Line:
    """A text as it is compared with events, of which there are many."""

    text: str
    """Its folded words, with a space around each."""
    words: frozenset[str]
    beginnings: frozenset[str]
    """Those words, and their beginnings as far as kin may share them; of any text the empty one."""


@lru_cache(maxsize=256)
def line_of(text: str) -> Line:
    """The line of a text."""
    found = words(text)
    parts = (word[:length] for word in found for length in range(_ROOT, len(word)))
    return Line(f" {' '.join(found)} ", frozenset(found), frozenset(("", *found, *parts)))


def link(text: str, event: Event, cast: Cast) -> Link:
    """How surely `text` is about `event`."""
    line = line_of(text)
    best = NOTHING
    for phrase, written in _phrases(event.phrases):
        if written in line.text:
            best = max(best, Link(3, len(phrase)))
        elif all(_present(word, line) for word in phrase if word not in _SMALL):
            best = max(best, Link(2, len(phrase)))
    if best.strength < 2:
        own = [word for word in _distinctive(event) if _present(word, line)]
        if own:
            best = max(best, Link(1, len(own)))
        elif not cast.people.isdisjoint(line.words):
            best = max(best, Link(1, 0))
    return best


def linked(text: str, events: Sequence[tuple[Event, Cast]]) -> list[tuple[Event, Cast, Link]]:
    """The events that `text` is about, most surely; several where nothing tells them apart."""
    found = [(event, cast, link(text, event, cast)) for event, cast in events]
    best = max((item[2] for item in found), default=NOTHING)
    return [item for item in found if item[2] == best] if best.strength else []


def places(text: str, event: Event) -> bool:
    """Whether a word that is the event's own, and no common one, stands in the text."""
    line = line_of(text)
    return any(_present(word, line) for word in _distinctive(event))


@lru_cache(maxsize=1024)
def _phrases(phrases: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """The words of each phrase, and how they stand in a line."""
    found = (tuple(words(phrase)) for phrase in phrases)
    return tuple((phrase, f" {' '.join(phrase)} ") for phrase in found if phrase)


def _distinctive(event: Event) -> tuple[str, ...]:
    """Words of its title, phrases and place that are written as names."""
    return _proper((*event.phrases, event.jurisdiction))


@lru_cache(maxsize=1024)
def _proper(phrases: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for phrase in phrases:
        shown = visible_words(phrase)
        found += [fold(word) for word in shown if word[:1].isupper() and fold(word) not in COMMON and len(word) > 2]
    return tuple(dict.fromkeys(found))


def clues(event: Event, cast: Cast) -> set[str]:
    """What is among a line's beginnings, at least one of it, wherever `link` finds anything."""
    found: set[str] = set(cast.people)
    for phrase, _ in _phrases(event.phrases):
        found.update(phrase)
        if _SMALL.issuperset(phrase):
            found.add("")  # all of its words that count are in any text
    found.update(_distinctive(event))
    return found | {_root(word) for word in found if _has_kin(word)}


def _present(word: str, line: Line) -> bool:
    """Whether a word or one of its kin (Veldoria, Veldorian; presidential, presidency) stands in a line."""
    if word in line.words:
        return True
    if not _has_kin(word):
        return False
    root = _root(word)
    if root not in line.beginnings:
        return False
    return any(other.startswith(root) and abs(len(other) - len(word)) <= 5 for other in line.words)


def _has_kin(word: str) -> bool:
    return len(word) >= _ROOT and not word.isdigit()


def _root(word: str) -> str:
    return word[: max(_ROOT, len(word) - 4)]


_ROOT = 5
"""Letters that kin have in common at least."""


def year_range(event: Event) -> range:
    """The years an event belongs to: those of its window, and one that its title names."""
    named = [int(year) for year in re.findall(r"\b(?:19|20|21)\d\d\b", event.title)]
    first = min([event.opens.year, *named])
    last = max([event.closes.year, *named])
    return range(first, last + 1)

"""Bearings: which of the register's events posts are about, worked out once for each text.

Sources post the same events' counts by the hundred, and every question wants all events' standings: so what was read
of a text is kept, and only events that have a word in common with it are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.linking import NOTHING, Link, clues, line_of, link
from lindos.assistant.settlement.names import Cast, cast_of, masked
from lindos.knowledge import Post

MOST_TEXTS = 50_000
"""Texts of which it is kept what they are about."""


@dataclass(frozen=True)
class _Read:
    """What was read of a text."""

    words: frozenset[str]
    links: dict[str, Link]
    """By the ids of the events it is about, or may be."""

    def is_about(self, number: str, cast: Cast) -> bool:
        """Whether it is about this event, whose cast is known better by now, and about no other as surely."""
        own = self.links.get(number)
        if own is None:
            if cast.people.isdisjoint(self.words):
                return False
            own = Link(1)
        best = max((link for other, link in self.links.items() if other != number), default=NOTHING)
        return own > best or (own == best and own.strength >= 3)


class Bearings:
    """The events of a register, as texts of their sources speak of them."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._casts = {event.id: cast_of(event) for event in events}
        """By the ids of the events: what the register itself says of them."""
        self._events = {event.id: event for event in events}
        self._by_clue: dict[str, set[str]] = {}
        """The ids of the events that a word, or the beginning of one, may be about."""
        for event in events:
            for clue in clues(event, self._casts[event.id]):
                self._by_clue.setdefault(clue, set()).add(event.id)
        self._read: dict[str, _Read] = {}
        self._people: dict[tuple[str, str], tuple[str, ...]] = {}

    def about(self, event: Event, live: Sequence[tuple[str, Post]]) -> tuple[Cast, list[tuple[str, Post]]]:
        """(the event's cast as posts of its sources make it known, those of them that are about it and about no other
        event as surely)."""
        read = [self._of(post.text) for _, post in live]
        linked = [post for (_, post), found in zip(live, read, strict=True) if event.id in found.links]
        cast = self._casts[event.id].with_people(name for post in linked for name in self._names(post.text, event))
        about = [item for item, found in zip(live, read, strict=True) if found.is_about(event.id, cast)]
        return cast, about

    def _of(self, text: str) -> _Read:
        read = self._read.get(text)
        if read is None:
            if len(self._read) >= MOST_TEXTS:
                self._read.clear()
                self._people.clear()
            line = line_of(text)
            ids = {number for clue in line.beginnings for number in self._by_clue.get(clue, ())}
            links = {number: link(text, self._events[number], self._casts[number]) for number in sorted(ids)}
            read = _Read(line.words, {number: found for number, found in links.items() if found != NOTHING})
            self._read[text] = read
        return read

    def _names(self, text: str, event: Event) -> tuple[str, ...]:
        key = (event.id, text)
        if key not in self._people:
            self._people[key] = masked(text, self._casts[event.id], first=False).names
        return self._people[key]

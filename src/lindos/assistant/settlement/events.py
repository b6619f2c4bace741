"""Events: the register together with how each of them stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lindos.assistant.settlement.bearings import Bearings
from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.names import Cast
from lindos.assistant.settlement.registry import Record, Registry
from lindos.assistant.settlement.standing import Standing, clearing, standing_of
from lindos.knowledge import Post, Posts
from lindos.knowledge.latest import Latest
from lindos.storage import Database, NotFound

MOST_POSTS = 400
"""Of an event's sources, the latest, that are read for its standing."""
_EVER, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Events:
    """What operators registered, and how it stands by their records and by live posts."""

    def __init__(
        self,
        database: Database,
        posts: Posts | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.registry = Registry(database, clock)
        self._database = database
        self._posts = posts
        self._clock = clock
        self._known = _Known([])
        self._renewing = asyncio.Lock()

    async def all(self) -> list[Event]:
        """The events as their operators wrote them last, in the order of their closing."""
        return [record.event for record in await self.registry.all()]

    async def put(self, event: Event) -> Standing:
        """Write a whole new record of an event. One that names no outcome clears an earlier one, calls included,
        where it changes the state that was reached or takes an outcome back."""
        try:
            before = await self.registry.get(event.id)
        except NotFound:
            before = None
        now = self._clock()
        earlier = before and await self.standing(event.id)
        cleared = clearing(event, earlier, now) or (before.cleared_at if before else None)
        await self.registry.put(event, cleared_at=cleared)
        return await self.standing(event.id)

    async def remove(self, event_id: str) -> None:
        """Take an event out of the register. Raises NotFound."""
        await self.registry.remove(event_id)

    async def standing(self, event_id: str) -> Standing:
        """How one event stands now. Raises NotFound."""
        found = await self.standings([event_id])
        if event_id not in found:
            raise NotFound(f"there is no event '{event_id}'")
        return found[event_id]

    async def standings(self, event_ids: Sequence[str] | None = None) -> dict[str, Standing]:
        """How events stand now, by id; ids that are unknown are left out."""
        records = await self.registry.all()
        async with self._renewing:
            known = await self._renewed(records)
        wanted = None if event_ids is None else set(event_ids)
        return {
            record.event.id: known[record.event.id] for record in records if wanted is None or record.event.id in wanted
        }

    async def _renewed(self, records: list[Record]) -> dict[str, Standing]:
        """How all of them stand."""
        known = self._known
        if [record.number for record in records] != known.numbers:
            known = self._known = _Known(records, self._database if self._posts is not None else None)
        posts = await known.latest.posts() if known.latest is not None else {}
        now = self._clock()
        stale = [record for record in records if not known.holds(record.event, posts, now)]
        if stale:
            # Many posts may have to be read, and answers are streamed meanwhile.
            await asyncio.to_thread(known.renew, stale, posts, now)
        return {event_id: kept.standing for event_id, kept in known.kept.items()}


@dataclass(frozen=True)
class _Kept:
    """How an event stands, and what that rests on."""

    posts: tuple[tuple[Post, ...], ...]
    """Of each of its sources."""
    since: datetime
    until: datetime
    """Between these, time alone changes nothing."""
    cast: Cast
    about: list[tuple[str, Post]]
    standing: Standing


class _Known:
    """What was worked out for one state of the register."""

    def __init__(self, records: list[Record], database: Database | None = None) -> None:
        self.numbers = [record.number for record in records]
        self.kept: dict[str, _Kept] = {}
        """By the ids of the events."""
        events = [record.event for record in records]
        self._bearings = Bearings(events)
        self.latest: Latest | None = None
        """The posts of all sources; None: there are none."""
        sources = dict.fromkeys(source for event in events for source in event.authoritative)
        if database is not None and sources:
            self.latest = Latest(database, sources, since=min(event.opens for event in events), limit=MOST_POSTS)

    def holds(self, event: Event, posts: Mapping[str, tuple[Post, ...]], at: datetime) -> bool:
        """Whether the event stands as it did."""
        kept = self.kept.get(event.id)
        if kept is None or not kept.since <= at < kept.until:
            return False
        return all(before is now for before, now in zip(kept.posts, _theirs(event, posts), strict=True))

    def renew(self, records: Sequence[Record], posts: Mapping[str, tuple[Post, ...]], at: datetime) -> None:
        """Work out how events stand now."""
        for record in records:
            event = record.event
            theirs = _theirs(event, posts)
            live, since, until = _live(event, theirs, at)
            cast, about = self._bearings.about(event, live)
            before = self.kept.get(event.id)
            if before is not None and before.about == about and before.cast == cast:
                standing = before.standing
            else:
                standing = standing_of(record, cast, about)
            self.kept[event.id] = _Kept(theirs, since, until, cast, about, standing)


def _theirs(event: Event, posts: Mapping[str, tuple[Post, ...]]) -> tuple[tuple[Post, ...], ...]:
    return tuple(posts.get(source, ()) for source in event.authoritative)


def _live(
    event: Event, posts: Sequence[tuple[Post, ...]], at: datetime
) -> tuple[list[tuple[str, Post]], datetime, datetime]:
    """(posts of its sources since it opened, seen until `at`, the latest first, each with the entry of the list that
    it came in by; since when and until when these are the ones)."""
    found: dict[str, tuple[str, Post]] = {}
    until = _NEVER
    for source, theirs in zip(event.authoritative, posts, strict=True):
        for post in theirs:
            if post.seen_at > at:
                until = min(until, post.seen_at)
            elif post.seen_at >= event.opens:
                found.setdefault(post.uri, (source, post))
    live = sorted(found.values(), key=lambda item: item[1].seen_at, reverse=True)
    return live, live[0][1].seen_at if live else _EVER, until

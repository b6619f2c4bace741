"""Jetstream v1 (`/subscribe`): posts by the microsecond at which the server saw them.

Protocol: the README of bluesky-social/jetstream; frozen, and still served by v2 servers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

from lindos.knowledge.post import Change
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.bluesky import (
    COLLECTION,
    SOURCE,
    Told,
    account_changes,
    account_of,
    commit_changes,
    identity_changes,
    inner,
    integer,
)
from lindos.knowledge.streams.jetstream import Jetstream, Read
from lindos.knowledge.streams.socket import endpoint
from lindos.knowledge.streams.stream import FROM_NOW, Batch, Counters, MalformedError, Piece
from lindos.knowledge.streams.words import now, seconds

DEFAULT_URL = "wss://jetstream2.us-east.bsky.network"
REWIND = 5_000_000
"""Microseconds that resuming goes back: messages arrive a little out of the order of their times."""
OLD = 3600
"""Seconds. Every server keeps the last hour; what is missing from then is silence, not a gap."""
HOLE = 60
"""Seconds between where we asked to go on and the first message, from which on we say that something was missed."""


def event_changes(
    event: dict[str, Any], seen_at: datetime, counters: Counters, *, source: str = SOURCE
) -> tuple[Change, ...]:
    """What one event of v1 came to; nothing where it tells of no post. Raises MalformedError."""
    time_us = integer(event, "time_us")
    at = seconds(time_us / 1e6)
    if at is None:
        raise MalformedError("a time that is none")
    told = Told(account_of(event), seen_at, min(at, seen_at), str(time_us), source)
    match event.get("kind"):
        case "commit":
            return commit_changes(told, inner(event, "commit"), counters)
        case "identity":
            return identity_changes(told, inner(event, "identity"))
        case "account":
            return account_changes(told, inner(event, "account"))
        case str():
            return ()
    raise MalformedError("kind is missing")


class Jetstream1(Jetstream):
    """Bluesky's posts by Jetstream v1. A cursor is the latest time met, in microseconds; any server understands it.

    A server silently begins later when it keeps nothing as old as the cursor; that shows in the first message's time.
    """

    _rewind = REWIND
    _met = False
    """Whether the last session told anything."""
    _advanced = True
    """Whether it got past where it began."""

    def __init__(
        self, url: str = DEFAULT_URL, *, backoff: Backoff | None = None, clock: Callable[[], datetime] = now
    ) -> None:
        self._url = url
        self._address(FROM_NOW)  # refuses what is no address
        super().__init__(f"{SOURCE}-v1", backoff, clock)

    def place(self, cursor: str) -> datetime | None:
        return seconds(int(cursor) / 1e6) if cursor.isdigit() else None

    def _address(self, cursor: str) -> str:
        resumed = [("cursor", str(max(int(cursor) - self._rewind, 1)))] if cursor.isdigit() else []
        return endpoint(self._url, "/subscribe", [("wantedCollections", COLLECTION), *resumed])

    def _reader(self, cursor: str) -> Read:
        resumed = latest = int(cursor) if cursor.isdigit() else 0

        def read(event: dict[str, Any]) -> Piece:
            nonlocal resumed, latest
            if not self._met:
                self._met, self._advanced = True, False
            time_us = integer(event, "time_us")
            at = self._possible(seconds(time_us / 1e6))
            changes = event_changes(event, self._clock(), self.counters)
            self.counters.at = at
            news = self._hole(resumed, time_us) if resumed else ()
            self._advanced |= time_us > latest
            resumed, latest = 0, max(latest, time_us)
            return Piece(changes, str(latest), news)

        return read

    async def _session(self, cursor: str) -> AsyncGenerator[Batch]:
        # Where connections break before they get past what is rewound, less is: else none would ever get on.
        if self._met:
            self._rewind = min(self._rewind * 2 + 1, REWIND) if self._advanced else self._rewind // 2
        self._met = False
        async with aclosing(super()._session(cursor)) as batches:
            async for batch in batches:
                yield batch

    def _hole(self, resumed: int, first: int) -> tuple[str, ...]:
        age = self._clock().timestamp() - resumed / 1e6
        missing = (first - resumed) / 1e6
        if age < OLD or missing < HOLE:
            return ()
        self.counters.gaps += 1
        return (f"nothing is left of the {missing / 60:,.0f} minutes after where we were: there is a gap",)

"""Mastodon: a server's public timeline as server-sent events, and what was missed by asking for it.

API: https://docs.joinmastodon.org/methods/streaming/ and /methods/timelines/.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from lindos.knowledge.post import Deleted
from lindos.knowledge.streams.backoff import Backoff, reconnecting
from lindos.knowledge.streams.batching import batched
from lindos.knowledge.streams.fetch import HEADERS, MAX_BODY, Fetched, fetch
from lindos.knowledge.streams.sse import Event, events
from lindos.knowledge.streams.statuses import status_changes, status_id, status_uri
from lindos.knowledge.streams.stream import Batch, Counters, LostError, MalformedError, Piece, StreamError
from lindos.knowledge.streams.words import moment, now, seconds

PAGE = 40
MAX_PAGES = 50
"""Pages of the timeline that are fetched to close a gap; a longer one stays open, and is told."""
REWIND = timedelta(minutes=5)
"""How far closing a gap goes back: what other servers send late has an id of when it was written."""
SILENCE = 90.0
"""Seconds without even a heartbeat (one comes every 15) after which a connection is given up."""
TOKEN = "LINDOS_MASTODON_TOKEN"
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d{1,5})?", re.ASCII)
_SNOWFLAKE = 16
"""Mastodon's ids are milliseconds since 1970 above so many bits."""


class Mastodon:
    """The public timeline of one server. A cursor is the highest id met.

    What was posted while we were away is asked for at the timeline; what was deleted or edited meanwhile nobody tells,
    but for edits of the posts that are asked for again.
    """

    def __init__(
        self,
        host: str,
        *,
        token: str = "",
        url: str = "",
        backoff: Backoff | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        if not _HOST.fullmatch(host):
            raise StreamError(f"{host!r} is no name of a Mastodon server; give one such as mastodon:mastodon.social")
        self.host = host.lower()
        self.name = f"mastodon:{self.host}"
        self.counters = Counters()
        self._url = url.rstrip("/") or f"https://{self.host}"
        self._bearer = {"Authorization": f"Bearer {token}"} if token else {}
        self._clock = clock
        self._backoff = backoff or Backoff()

    def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        return reconnecting(self._session, cursor, self.counters, self._backoff)

    def place(self, cursor: str) -> datetime | None:
        return seconds((int(cursor) >> _SNOWFLAKE) / 1000) if cursor.isdigit() and len(cursor) >= 17 else None

    async def _session(self, cursor: str | None) -> AsyncGenerator[Batch]:
        async with aclosing(batched(self._pieces(cursor or ""))) as batches:
            async for batch in batches:
                yield batch

    async def _pieces(self, cursor: str) -> AsyncGenerator[Piece]:
        latest = cursor
        async with httpx.AsyncClient(headers=HEADERS, timeout=httpx.Timeout(SILENCE, connect=10)) as http:
            streaming = await self._streaming(http)
            # Connected first, then asked what was missed: so nothing falls between the two.
            async with self._listening(http, streaming) as received, aclosing(self._missed(http, cursor)) as missed:
                self.counters.connected = True
                yield Piece(news=("connected",))
                async for piece in missed:
                    latest = _later(latest, piece.cursor)
                    yield Piece(piece.changes, latest, piece.news)
                async for event in received:
                    piece = self._event(event)
                    latest = _later(latest, piece.cursor)
                    yield Piece(piece.changes, latest or None, piece.news)

    async def _streaming(self, http: httpx.AsyncClient) -> str:
        """Where the server streams: it may name another host for that."""
        path = "/api/v1/streaming/public"
        fetched = await self._get(http, f"{self._url}/api/v2/instance")
        try:
            named = json.loads(fetched.body)["configuration"]["urls"]["streaming"] if fetched.status == 200 else ""
            parts = urlsplit(named)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return self._url + path
        # The token goes there: only under the server's own name, and never in the open.
        home = urlsplit(self._url)
        own = parts.hostname and (parts.hostname == home.hostname or f".{parts.hostname}".endswith(f".{home.hostname}"))
        if parts.scheme not in ("wss", "https") or not own:
            return self._url + path
        return f"https://{parts.netloc}{path}"

    @asynccontextmanager
    async def _listening(self, http: httpx.AsyncClient, url: str) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Events of a connection that is open. Raises LostError, and StreamError where the token is refused."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", **self._bearer}
        try:
            async with http.stream("GET", url, headers=headers) as answer:
                self._admitted(answer.status_code)
                async with aclosing(events(answer.aiter_raw())) as received:
                    yield received
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise LostError(f"no connection to {self.host}: {error or type(error).__name__}") from None

    def _admitted(self, status: int) -> None:
        if status in (401, 403):
            raise StreamError(f"{self.host} wants a token of an account there ({status}); set {TOKEN}")
        if status != 200:
            raise LostError(f"{self.host} answered {status}")

    async def _get(self, http: httpx.AsyncClient, url: str) -> Fetched:
        try:
            return await fetch(http, url, self._bearer, limit=MAX_BODY)
        except MalformedError as error:
            raise LostError(f"{self.host} answered {error}") from None

    async def _missed(self, http: httpx.AsyncClient, cursor: str) -> AsyncGenerator[Piece]:
        """What the timeline has from a little before the cursor on, the oldest first."""
        after = _rewound(cursor)
        for _ in range(MAX_PAGES if cursor else 0):
            before = after
            url = f"{self._url}/api/v1/timelines/public?limit={PAGE}&min_id={after}"
            fetched = await self._get(http, url)
            if fetched.status != 200:
                self.counters.gaps += 1
                yield Piece(news=(f"the timeline of what was missed is refused ({fetched.status}): there is a gap",))
                return
            page = self._page(fetched)
            for status in sorted(page, key=lambda status: _order(str(status.get("id")))):
                piece = self._status(status)
                after = _later(after, piece.cursor)
                yield piece
            # A page may be short because something on it is hidden; only one that leads nowhere is the last.
            if after == before:
                return
        if not cursor:
            return
        self.counters.gaps += 1
        yield Piece(news=(f"more was missed than {MAX_PAGES * PAGE:,} posts: there is a gap",))

    def _page(self, fetched: Fetched) -> list[dict[str, Any]]:
        try:
            page = json.loads(fetched.body)
        except (ValueError, RecursionError):
            page = None
        if not isinstance(page, list):
            raise LostError(f"{self.host} answered with no timeline")
        return [status for status in page if isinstance(status, dict)]

    def _event(self, event: Event) -> Piece:
        if event.name not in ("update", "status.update", "delete"):
            self.counters.skipped += 1
            return Piece()
        if event.name == "delete":
            self.counters.received += 1
            try:
                return Piece((Deleted(status_uri(self.host, status_id(event.data.strip())), self._clock()),))
            except MalformedError:
                self.counters.malformed += 1
                return Piece()
        try:
            status = None if event.too_long else json.loads(event.data)
        except (ValueError, RecursionError):
            status = None
        return self._status(status, edited=event.name == "status.update")

    def _status(self, status: Any, *, edited: bool = False) -> Piece:
        self.counters.received += 1
        seen_at = self._clock()
        try:
            changes = status_changes(self.host, status, seen_at, self.counters, edited=edited)
            number = status_id(status.get("id"))
        except MalformedError:
            self.counters.malformed += 1
            return Piece()
        self.counters.skipped += not changes
        at = moment(status.get("created_at"))
        if changes and not edited and at is not None and at <= seen_at:
            self.counters.at = at
        return Piece(changes, None if edited else number)


def _order(number: str) -> tuple[int, str]:
    """Ids in the order of their making: longer ones are later."""
    return len(number), number


def _later(one: str, other: str | None) -> str:
    return one if other is None or _order(other) <= _order(one) else other


def _rewound(cursor: str) -> str:
    if not cursor.isdigit() or len(cursor) < 17:  # no snowflake: some other software's, or an early one
        return cursor
    return str(max(int(cursor) - (int(REWIND.total_seconds() * 1000) << _SNOWFLAKE), 1))

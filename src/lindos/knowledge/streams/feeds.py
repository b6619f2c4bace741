"""RSS and Atom: a feed asked again and again, politely."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from lindos.knowledge.post import Change, Edited, Post
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.entries import Entry, read_feed
from lindos.knowledge.streams.fetch import Fetched, client, fetch
from lindos.knowledge.streams.stream import Batch, Counters, LostError, MalformedError, StreamError
from lindos.knowledge.streams.words import claimed, is_web, now

POLL_SECONDS = 120.0
REMEMBERED = 1000
"""Entries of a feed that are known again: what a cursor holds is written with every change."""
_CALM = 15 * 60
"""Longest pause between tries of a feed that fails, unless its server asks for more."""


class Feed:
    """A feed. Its author is the host that was named by whoever follows it: what entries link to proves nothing.

    A cursor is what makes the next question polite (`etag`, `modified`), where the feed has moved to, and short
    fingerprints of the entries met. An entry that says something else is edited; one no longer listed is only old.
    """

    def __init__(
        self,
        url: str,
        *,
        poll: float = POLL_SECONDS,
        backoff: Backoff | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        if not is_web(url) or not host:
            raise StreamError(f"{url} is no address of a feed; give one that begins with https://")
        self.url = url
        self.host = host.lower()
        self.address = _public(url)
        """The feed's address for anybody's eyes."""
        self.name = f"feed:{self.address}"
        self.counters = Counters()
        self._poll = poll
        self._clock = clock
        self._backoff = backoff or Backoff(poll, _CALM)

    def place(self, cursor: str) -> datetime | None:
        return None

    async def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        state, written = _State.read(cursor), cursor
        async with client() as http:
            while True:
                wait = self._poll * random.uniform(0.9, 1.1)
                try:
                    fetched = await self._ask(http, state)
                    changes, news = await self._changes(fetched, state)
                    self._backoff.reset()
                    wait = max(wait, fetched.wait or 0)
                    if changes or news or state.written() != written:
                        written = state.written()
                        yield Batch(changes, written, news)
                except (LostError, MalformedError) as error:
                    state.moved = None  # where it moved to may be gone, or may never have been one
                    wait = max(self._backoff.next(), getattr(error, "wait", None) or 0)
                    self.counters.malformed += isinstance(error, MalformedError)
                    self.counters.reconnects += 1
                    self.counters.connected = False
                    yield Batch(news=(f"{error}; trying again in {wait:,.0f} s",))
                await asyncio.sleep(wait)

    async def _ask(self, http: httpx.AsyncClient, state: _State) -> Fetched:
        headers = {"If-None-Match": state.etag, "If-Modified-Since": state.modified}
        fetched = await fetch(http, state.moved or self.url, {name: said for name, said in headers.items() if said})
        if fetched.status == 410:
            raise StreamError(f"{self.address} is gone for good (410)")
        if fetched.status not in (200, 304):
            raise _RefusedError(fetched)
        self.counters.connected = True
        self.counters.at = self._clock()
        return fetched

    async def _changes(self, fetched: Fetched, state: _State) -> tuple[list[Change], tuple[str, ...]]:
        """What is new in an answer, noted in the state. Raises MalformedError when it is no feed."""
        news = (f"has moved to {fetched.moved}",) if fetched.moved not in (None, state.moved) else ()
        if fetched.status == 304:
            state.moved = fetched.moved or state.moved
            return [], news
        headers = dict(fetched.headers)
        entries = await asyncio.to_thread(read_feed, fetched.body, headers.get("content-type", ""), fetched.url)
        state.moved = fetched.moved or state.moved
        state.etag, state.modified = _said(headers, "etag"), _said(headers, "last-modified")
        changes: list[Change] = []
        for entry in reversed(entries):  # feeds begin with the latest
            self.counters.received += 1
            changes += self._entry(entry, state)
        return changes, news

    def _entry(self, entry: Entry, state: _State) -> list[Change]:
        seen_at = self._clock()
        uri = self.uri_of(entry.id)
        before = state.meet(uri, entry)
        if before == entry.mark:
            self.counters.skipped += 1
            return []
        created_at = claimed(entry.created_at, seen_at)
        self.counters.misdated += created_at is None
        post = Post(
            source=self.name,
            uri=uri,
            author=self.host,
            text=entry.text,
            seen_at=seen_at,
            created_at=created_at,
            language=entry.language,
            links=entry.links,
        )
        return [post] if before is None else [post, Edited(uri, post.text, seen_at, post.links, post.language)]

    def uri_of(self, identity: str) -> str:
        """An entry's name: its own where that is an address on the feed's host, else one under the feed's."""
        try:
            own = is_web(identity) and (urlsplit(identity).hostname or "").lower() == self.host
        except ValueError:
            own = False
        return identity if own else f"{self.address}#{identity}"


def _public(url: str) -> str:
    """An address without what may be a secret of whoever follows it: a password, a key in the query.

    Two that differ only in that differ still, by a digest.
    """
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return bare if bare == url else f"{bare}~{blake2b(url.encode(), digest_size=4).hexdigest()}"


class _RefusedError(LostError):
    """An answer that is none."""

    def __init__(self, fetched: Fetched) -> None:
        super().__init__(f"the server answered {fetched.status}")
        self.wait = fetched.wait


def _said(headers: dict[str, str], name: str) -> str:
    """A header that can be sent back as it is."""
    value = headers.get(name, "")
    return value if value.isascii() and value.isprintable() and len(value) <= 1000 else ""


class _State:
    """What a cursor holds."""

    def __init__(self, etag: str = "", modified: str = "", moved: str | None = None, seen: str = "") -> None:
        self.etag = etag
        self.modified = modified
        self.moved = moved
        width = _KEY + _MARK
        pairs = [seen[n : n + width] for n in range(0, len(seen) - width + 1, width)]
        self._seen = {pair[:_KEY]: pair[_KEY:] for pair in pairs}

    @classmethod
    def read(cls, cursor: str | None) -> _State:
        try:
            found: Any = json.loads(cursor or "{}")
            return cls(found.get("e", ""), found.get("m", ""), found.get("u"), found.get("s", ""))
        except (ValueError, AttributeError, TypeError):
            return cls()

    def meet(self, uri: str, entry: Entry) -> str | None:
        """Note an entry; returns what it was when it was met before."""
        key = blake2b(uri.encode(), digest_size=_KEY // 2).hexdigest()
        before = self._seen.pop(key, None)  # put last again: the oldest are forgotten
        self._seen[key] = entry.mark
        return before

    def written(self) -> str:
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        seen = "".join(key + mark for key, mark in self._seen.items())
        return json.dumps({"e": self.etag, "m": self.modified, "u": self.moved, "s": seen})


_KEY, _MARK = 16, 8
"""Hexadecimal digits of a URI's digest and of a text's."""

"""Hacker News: items by their numbers, and those that changed.

API: https://github.com/HackerNews/API (v0).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Any

import httpx

from lindos.knowledge.post import Change, Deleted, Edited, Post
from lindos.knowledge.streams.backoff import Backoff, reconnecting
from lindos.knowledge.streams.fetch import client, fetch
from lindos.knowledge.streams.html import html_text
from lindos.knowledge.streams.stream import Batch, Counters, LostError, MalformedError, StreamError
from lindos.knowledge.streams.words import claimed, is_web, kept, links, named, now, seconds

DEFAULT_URL = "https://hacker-news.firebaseio.com/v0"
SOURCE = "hackernews"
POLL_SECONDS = 15.0
FIRST = 100
"""Latest items that are fetched the first time."""
TOGETHER = 16
"""Items asked for at a time."""
CHUNK = 200
"""Items stored at a time."""
MAX_ITEM = 1 << 20
WAITING = 200
"""Items that have a number and are not there yet: so many are asked for again."""
PATIENCE = 40
"""Polls that an item is waited for."""


class HackerNews:
    """Stories, comments, jobs and polls. A cursor is the last number asked for, and numbers that had nothing yet."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        poll: float = POLL_SECONDS,
        backoff: Backoff | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        if not is_web(url):
            raise StreamError(f"{url} is no address of the API; the public one is {DEFAULT_URL}")
        self.name = SOURCE
        self.counters = Counters()
        self._url = url.rstrip("/")
        self._poll = poll
        self._clock = clock
        self._backoff = backoff or Backoff(1.0, 300.0)

    def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        return reconnecting(self._session, cursor, self.counters, self._backoff)

    def place(self, cursor: str) -> datetime | None:
        return None

    async def _session(self, cursor: str | None) -> AsyncGenerator[Batch]:
        last, waiting = _read_cursor(cursor)
        async with client() as http:
            while True:
                latest = await self._number(http, "maxitem")
                self.counters.connected = True
                last = max(latest - FIRST, 0) if last is None else last
                for first in range(last + 1, latest + 1, CHUNK):
                    numbers = range(first, min(first + CHUNK, latest + 1))
                    changes, absent = await self._items(http, numbers)
                    last = numbers[-1]
                    waiting = dict([*waiting.items(), *((number, PATIENCE) for number in absent)][-WAITING:])
                    yield Batch(changes, _cursor(last, waiting))
                changes, waiting = await self._again(http, last, waiting)
                if changes:
                    yield Batch(changes, _cursor(last, waiting))
                self.counters.at = self._clock()
                await asyncio.sleep(self._poll * random.uniform(0.9, 1.1))

    async def _again(
        self, http: httpx.AsyncClient, last: int, waiting: dict[int, int]
    ) -> tuple[list[Change], dict[int, int]]:
        """What became of items that were not there, and of those that changed."""
        late, absent = await self._items(http, list(waiting))
        waiting = {number: waiting[number] - 1 for number in absent if waiting[number] > 1}
        told = await self._json(http, "updates")
        items = told.get("items") if isinstance(told, dict) else None
        numbers = [number for number in items or [] if type(number) is int and 0 < number <= last]
        changed, _ = await self._items(http, numbers[:1000], changed=True)
        return late + changed, waiting

    async def _items(
        self, http: httpx.AsyncClient, numbers: Sequence[int], *, changed: bool = False
    ) -> tuple[list[Change], list[int]]:
        """Changes by items, in the order of their numbers, and the numbers that have nothing yet."""
        slots = asyncio.Semaphore(TOGETHER)

        async def one(number: int) -> Any:
            async with slots:
                return await self._json(http, f"item/{number}")

        tasks = [asyncio.create_task(one(number)) for number in numbers]
        try:
            items = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        changes: list[Change] = []
        for number, item in zip(numbers, items, strict=True):
            if item is not None:
                self.counters.received += 1
                try:
                    changes += self._item(number, item, changed)
                except MalformedError:
                    self.counters.malformed += 1
        return changes, [number for number, item in zip(numbers, items, strict=True) if item is None]

    def _item(self, number: int, item: Any, changed: bool) -> list[Change]:
        """What an item came to. Raises MalformedError."""
        if not isinstance(item, dict) or item.get("id") != number:
            raise MalformedError("no item")
        uri, seen_at = _uri(number), self._clock()
        if item.get("dead") or item.get("deleted"):
            return [Deleted(uri, seen_at)]
        title, _ = html_text(str(item.get("title") or ""))
        body, addresses = html_text(str(item.get("text") or ""))
        created_at = claimed(seconds(item.get("time")), seen_at)
        self.counters.misdated += created_at is None
        parent = item.get("parent")
        post = Post(
            source=SOURCE,
            uri=uri,
            author=named(item.get("by"), "by"),
            text=kept(f"{title}\n\n{body}" if title and body else title or body),
            seen_at=seen_at,
            created_at=created_at,
            links=links([item.get("url"), *addresses]),
            reply_to=_uri(parent) if type(parent) is int else None,
        )
        # Most that is told as changed has other points only: an edit that says the same is none to the store.
        return [post, Edited(uri, post.text, seen_at, post.links)] if changed else [post]

    async def _number(self, http: httpx.AsyncClient, name: str) -> int:
        value = await self._json(http, name)
        if type(value) is not int or value < 0:
            raise LostError(f"{name} is no number")
        return value

    async def _json(self, http: httpx.AsyncClient, name: str) -> Any:
        """An answer of the API; a nonsensical one is as good as none. Raises LostError."""
        try:
            fetched = await fetch(http, f"{self._url}/{name}.json", limit=MAX_ITEM)
            if fetched.status != 200:
                raise LostError(f"the server answered {fetched.status} for {name}")
            return json.loads(fetched.body)
        except (ValueError, RecursionError):
            return False


def _uri(number: int) -> str:
    return f"https://news.ycombinator.com/item?id={number}"


def _cursor(last: int, waiting: dict[int, int]) -> str:
    return json.dumps([last, list(waiting)], separators=(",", ":"))


def _read_cursor(cursor: str | None) -> tuple[int | None, dict[int, int]]:
    try:
        last, waiting = json.loads(cursor or "")
        return int(last), {int(number): PATIENCE for number in waiting}
    except (ValueError, TypeError):
        return None, {}

"""A store in memory, for tests of how streams behave; what a store makes of changes is tested with the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from lindos.knowledge import Applied, Change, Deleted, Edited, Post, Posts, Renamed, TakenDown
from lindos.knowledge.streams import News, Stream, follow
from lindos.storage import StorageError

PATIENCE = 60


class Memory(Posts):
    """Keeps every change it was given, in order; fails when told to, and takes its time when told to."""

    def __init__(self, *, failing: int = 0, seconds: float = 0.0) -> None:
        self.told: list[Change] = []
        self.batches: list[int] = []
        self.places: dict[str, str] = {}
        self.failing = failing
        self.seconds = seconds

    async def apply(self, changes: Sequence[Change], *, cursors: Mapping[str, str] | None = None) -> Applied:
        await asyncio.sleep(self.seconds)
        if self.failing:
            self.failing -= 1
            raise StorageError("the disk is full")
        self.told += changes
        self.batches.append(len(changes))
        self.places |= cursors or {}
        return Applied(
            created=sum(isinstance(change, Post) for change in changes),
            edited=sum(isinstance(change, Edited) for change in changes),
            deleted=sum(isinstance(change, Deleted | TakenDown) for change in changes),
        )

    async def cursor(self, stream: str) -> str | None:
        return self.places.get(stream)

    def texts(self) -> dict[str, str]:
        """What is there, by the last part of its URI: a few lines of what the real store does."""
        found: dict[str, tuple[str, str]] = {}
        gone: set[str] = set()
        for change in self.told:
            if isinstance(change, Post) and change.uri not in found:
                found[change.uri] = (change.author, change.text)
            elif isinstance(change, Edited) and change.uri in found:
                found[change.uri] = (found[change.uri][0], change.text)
            elif isinstance(change, Deleted):
                gone.add(change.uri)
            elif isinstance(change, TakenDown):
                gone |= {uri for uri, (author, _) in found.items() if author == change.author}
        return {uri.rpartition("/")[2]: text for uri, (_, text) in found.items() if uri not in gone}

    def posts(self) -> list[Post]:
        return [change for change in self.told if isinstance(change, Post)]

    def renames(self) -> list[tuple[str, str]]:
        return [(change.author, change.handle) for change in self.told if isinstance(change, Renamed)]


async def follow_until(
    posts: Posts, streams: Sequence[Stream], done: Callable[[], bool], news: list[str] | None = None
) -> None:
    """Follow streams until something is so. Fails when it never is."""

    def tell(one: News) -> None:
        if news is not None:
            news.append(one.text)

    task = asyncio.create_task(follow(posts, streams, tell))
    try:
        async with asyncio.timeout(PATIENCE):
            while not done() and not task.done():
                await asyncio.sleep(0.005)
        if task.done():
            await task
            assert done(), "the streams ended before it was so"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

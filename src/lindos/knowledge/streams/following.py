"""Following: several streams at once, each batch stored with the place it leads to, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from lindos.knowledge.posts import Applied, Posts
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.stream import Batch, Counters, Stream, StreamError
from lindos.storage import StorageError


@dataclass(frozen=True, slots=True)
class News:
    """What people should hear of a stream."""

    stream: str
    text: str


Tell = Callable[[News], None]
T = TypeVar("T")


def silent(news: News) -> None:
    """For whoever wants no news."""


async def follow(posts: Posts, streams: Sequence[Stream], on_news: Tell = silent) -> None:
    """Follow streams until cancelled, or until all have ended (files do), from where the store says they were left.

    A stream that cannot be followed is told of, and the others go on. Raises StreamError at the end if there was one.
    A store that cannot be written for now is tried again, forever: streams wait for it, and nothing is lost.
    """
    names = [stream.name for stream in streams]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StreamError(f"{twice} is named twice; one stream is followed once")
    tasks = [asyncio.create_task(_follow_one(posts, stream, on_news), name=stream.name) for stream in streams]
    try:
        ended = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for error in ended if error is not None]
    if errors:
        raise errors[0]


async def _follow_one(posts: Posts, stream: Stream, on_news: Tell) -> StreamError | None:
    try:
        cursor = await _patiently(lambda: posts.cursor(stream.name), stream.name, on_news)
        async with aclosing(stream.changes(cursor)) as batches:
            async for batch in batches:
                for text in batch.news:
                    on_news(News(stream.name, text))
                await _store(posts, stream, batch, on_news)
    except StreamError as error:
        on_news(News(stream.name, f"is followed no longer: {error}"))
        return error
    finally:
        stream.counters.connected = False
    return None


async def _store(posts: Posts, stream: Stream, batch: Batch, on_news: Tell) -> None:
    if batch.changes or batch.cursor is not None:
        cursors = {} if batch.cursor is None else {stream.name: batch.cursor}
        applied = await _patiently(lambda: posts.apply(batch.changes, cursors=cursors), stream.name, on_news)
        _count(stream.counters, applied)


def _count(counters: Counters, applied: Applied) -> None:
    counters.created += applied.created
    counters.edited += applied.edited
    counters.deleted += applied.deleted
    counters.repeated += applied.repeated


async def _patiently(work: Callable[[], Awaitable[T]], stream: str, on_news: Tell) -> T:
    """What `work` gives once the store lets it; a transaction that failed left nothing, so it may be repeated."""
    backoff = Backoff(last=30)
    failed = False
    while True:
        try:
            done = await work()
        except StorageError as error:
            failed, pause = True, backoff.next()
            on_news(News(stream, f"{error}; trying again in {pause:.1f} s"))
            await asyncio.sleep(pause)
            continue
        if failed:
            on_news(News(stream, "the store works again"))
        return done

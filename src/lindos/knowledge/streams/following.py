"""Following: several streams at once, each batch stored with the place it leads to, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from lindos.knowledge.posts import Applied, Posts
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.stream import Batch, Counters, Stream, StreamError
from lindos.storage import StorageError


@dataclass(frozen=True, slots=True)
class News:
    """What people should hear of a stream."""

    stream: str
    text: str
    of_store: bool = False
    """Whether it is the store that has trouble, or has it no longer; the text may say where the store is."""


Tell = Callable[[News], None]
T = TypeVar("T")

END_SECONDS = 5
"""How long the end of following waits for a transaction under way."""


def silent(news: News) -> None:
    """For whoever wants no news."""


async def follow(posts: Posts, streams: Sequence[Stream], on_news: Tell = silent) -> None:
    """Follow streams until cancelled, or until all have ended (files do), from where the store says they were left.

    A stream that cannot be followed is told of, and the others go on. Raises StreamError at the end if there was one.
    A store that cannot be written for now is tried again, forever: streams wait for it, and nothing is lost. Cancelled,
    it finishes the transaction under way.
    """
    refuse_twice(streams)
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


def refuse_twice(streams: Sequence[Stream]) -> None:
    """Raises StreamError when two would share a cursor."""
    names = [stream.name for stream in streams]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StreamError(f"{twice} is named twice; one stream is followed once")


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
    if not batch.changes and batch.cursor is None:
        return
    cursors = {} if batch.cursor is None else {stream.name: batch.cursor}

    async def write() -> None:
        _count(stream.counters, await posts.apply(batch.changes, cursors=cursors))
        stream.counters.behind = stream.counters.lag() or 0.0

    await _patiently(lambda: _whole(write()), stream.name, on_news)


def _count(counters: Counters, applied: Applied) -> None:
    counters.created += applied.created
    counters.edited += applied.edited
    counters.deleted += applied.deleted
    counters.repeated += applied.repeated


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; a cancellation arrives after it, unless it takes too long."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=END_SECONDS)
        raise
    finally:
        task.cancel()
        if task.done() and not task.cancelled():
            task.exception()  # marks it as seen


async def _patiently(work: Callable[[], Awaitable[T]], stream: str, on_news: Tell) -> T:
    """What `work` gives once the store lets it; a transaction that failed left nothing, so it may be repeated."""
    backoff = Backoff(last=30)
    failed = False
    while True:
        try:
            done = await work()
        except StorageError as error:
            failed, pause = True, backoff.next()
            on_news(News(stream, f"{error}; trying again in {pause:.1f} s", of_store=True))
            await asyncio.sleep(pause)
            continue
        if failed:
            on_news(News(stream, "the store works again", of_store=True))
        return done

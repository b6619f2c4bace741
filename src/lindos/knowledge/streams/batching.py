"""Batches: pieces put together by number and by time, read ahead only as far as a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from lindos.knowledge.post import Change
from lindos.knowledge.streams.stream import Batch, Piece

LIMIT = 1000
"""Changes a batch."""
SECONDS = 0.2
"""How long a change waits for company: what is live should be found within half a second."""

BREATH = 16
"""Pieces after which others in the event loop have their turn, also where the source has the next piece ready."""


class _End:
    """The source is over: in good order, or by an error."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


async def batched(
    pieces: AsyncGenerator[Piece], *, limit: int = LIMIT, seconds: float = SECONDS
) -> AsyncGenerator[Batch]:
    """Batches of about `limit` changes, or of what came within `seconds` of a batch's first piece.

    While a batch is being stored up to `limit` pieces are read ahead, then the source waits, and with it the socket and
    its server. What was read before the source failed is handed out before the error is raised.
    """
    queue: asyncio.Queue[Piece | _End] = asyncio.Queue(limit)
    pump = asyncio.create_task(_pump(pieces, queue))
    try:
        end: _End | None = None
        while end is None:
            gathered, end = await _gather(queue, limit, seconds)
            if gathered.changes or gathered.cursor is not None or gathered.news:
                yield gathered
        if end.error is not None:
            raise end.error
    finally:
        pump.cancel()
        with suppress(asyncio.CancelledError):
            await pump


async def _pump(pieces: AsyncGenerator[Piece], queue: asyncio.Queue[Piece | _End]) -> None:
    error: Exception | None = None
    async with aclosing(pieces):
        try:
            number = 0
            async for piece in pieces:
                await queue.put(piece)
                number += 1
                if number % BREATH == 0:
                    await asyncio.sleep(0)
        except Exception as problem:  # noqa: BLE001 - raised again by whoever reads the queue
            error = problem
    await queue.put(_End(error))


async def _gather(queue: asyncio.Queue[Piece | _End], limit: int, seconds: float) -> tuple[Batch, _End | None]:
    changes: list[Change] = []
    news: list[str] = []
    cursor: str | None = None
    deadline: float | None = None
    loop = asyncio.get_running_loop()
    while len(changes) < limit and (deadline is None or loop.time() < deadline):
        item = await _next(queue, deadline)
        if item is None or isinstance(item, _End):
            return Batch(changes, cursor, tuple(news)), item
        changes += item.changes
        news += item.news
        cursor = cursor if item.cursor is None else item.cursor
        if item.news:  # people hear of it at once, and what preceded it is stored before
            break
        deadline = loop.time() + seconds if deadline is None else deadline
    return Batch(changes, cursor, tuple(news)), None


async def _next(queue: asyncio.Queue[Piece | _End], deadline: float | None) -> Piece | _End | None:
    """The next item; None when there is none by the deadline."""
    with suppress(asyncio.QueueEmpty):
        return queue.get_nowait()
    if deadline is None:
        return await queue.get()
    try:
        async with asyncio.timeout_at(deadline):
            return await queue.get()
    except TimeoutError:
        return None

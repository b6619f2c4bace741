"""Reconnecting: forever, with pauses that grow and are never alike for many clients at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from lindos.knowledge.streams.stream import Batch, Counters, LostError

Session = Callable[[str | None], AsyncGenerator[Batch]]
"""One connection, from a cursor on; ends, or raises LostError, when it is over."""


class Backoff:
    """Pauses between tries, doubling from `first` to `last` seconds, each drawn from its upper half."""

    def __init__(self, first: float = 0.5, last: float = 60.0, draw: Callable[[], float] = random.random) -> None:
        self._first = first
        self._last = last
        self._draw = draw
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now."""
        # The exponent is bounded because a float is: tries may go on for years.
        whole = min(self._first * 2.0 ** min(self._tries, 60), self._last)
        self._tries += 1
        return whole * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """Something came: the next pause is a short one again."""
        self._tries = 0


async def reconnecting(
    session: Session, cursor: str | None, counters: Counters, backoff: Backoff
) -> AsyncGenerator[Batch]:
    """The batches of one session after another, each from where the last batch led."""
    while True:
        reason = "the connection ended"
        try:
            async with aclosing(session(cursor)) as batches:
                async for batch in batches:
                    if batch.cursor is not None:
                        cursor = batch.cursor
                    if batch.changes:
                        backoff.reset()
                    yield batch
        except LostError as lost:
            reason = str(lost)
        counters.connected = False
        counters.reconnects += 1
        pause = backoff.next()
        yield Batch(news=(f"{reason}; trying again in {pause:.1f} s",))
        await asyncio.sleep(pause)

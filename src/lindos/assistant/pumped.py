"""PumpedAnswer: an answer that a task of this process fills, whoever reads it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Self

from lindos.assistant.model import Chunk, EngineError, Finish, Timing, Usage
from lindos.engine.client import Generation

log = logging.getLogger("lindos.assistant")


class PumpedAnswer(Generation):
    """An Answer (see there) whose chunks come from a task; cancelling it cancels the task, which has the last word.

    The task is to end the answer by a chunk that has `usage`, or by `fail`; where it does neither, the answer ends all
    the same: as cancelled when the task was, else with EngineError.
    """

    def __init__(self, on_end: Callable[[Self], None] | None = None) -> None:
        super().__init__(0, self._stop)
        self._on_end = on_end
        self.started = time.monotonic()
        self.estimated = False
        """Whether `usage` is not what the model's own server counted."""
        self.begun: float | None = None
        """Seconds until its first token, once it came: from then on the answer is never begun anew."""
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def fill(self, work: Coroutine[object, object, None]) -> None:
        """Let `work` fill it."""
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._filled)

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self.started

    @property
    def stopped(self) -> bool:
        """Whether it was cancelled by whom it is for."""
        return self._stopped

    def put(self, chunk: Chunk) -> None:
        """Deliver a chunk; one with `usage` is the last. What comes after the end is dropped."""
        if self.ended:
            return
        if self.begun is None and (chunk.tokens or chunk.text):
            self.begun = self.seconds
        if chunk.usage is None:
            self.usage = replace(self.usage, completion_tokens=self.usage.completion_tokens + chunk.tokens)
            self._chunks.put_nowait(chunk)
            return
        self.usage, self.timing = chunk.usage, chunk.timing
        self.finish: Finish | None = chunk.finish
        self._chunks.put_nowait(chunk)
        self._end()

    def fail(self, fault: EngineError) -> None:
        """It cannot go on; what arrived before is still delivered."""
        if not self.ended:
            self.timing = self.timing or self.timed()
            super().fail(fault)

    def timed(self, queued: float | None = None) -> Timing:
        """Its Timing were it to end now."""
        total = self.seconds
        waited = queued if queued is not None else self.begun if self.begun is not None else total
        return Timing(min(waited, total), self.begun, total)

    def end_cancelled(self, usage: Usage | None = None) -> None:
        """The last word of one that was cancelled."""
        usage = usage or self.usage
        self.put(Chunk(seconds=self.seconds, finish="cancelled", usage=usage, timing=self.timed()))

    def abandon(self) -> None:
        """End its task without a wish of whom it is for; the task says how the answer ends."""
        if self._task is not None:
            self._task.cancel()

    async def settle(self) -> None:
        """Wait until its task is over, with all that it closes."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _end(self) -> None:
        super()._end()
        if self._on_end:
            self._on_end(self)

    def _stop(self, _: int) -> None:
        self._stopped = True
        self.abandon()

    def _filled(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.end_cancelled()
        elif (error := task.exception()) is not None:
            if not isinstance(error, EngineError):
                log.error("an answer broke off", exc_info=error)
                error = EngineError("the answer broke off; the log says why")
            self.fail(error)
        else:
            self.fail(EngineError("the answer ended without a last word"))

"""One request under way, as its caller holds it. Torch-free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from lindos.engine.interface import Chunk, Completion, EngineError, Finish, Timing, TokenLogprob, Usage


class Generation:
    """An accepted request: an async iterator of Chunks whose counts stay exact however it ends.

    Iterating raises EngineError when the engine had to give up on the request, EngineDied when its process ended.
    As an async context manager it cancels at the end of the block, if need be, and waits for the engine's last word.
    """

    def __init__(self, number: int, cancel: Callable[[int], None]) -> None:
        self.id = number
        self.dropped = 0
        """Messages left out so that the conversation fits."""
        self.usage = Usage()
        """Counts so far; final once `ended`. Kept also when nobody reads the chunks."""
        self.timing: Timing | None = None
        """Set once `ended`, unless the engine's process died."""
        self.finish: Finish | None = None
        """Set once it ended well."""
        self.fault: EngineError | None = None
        """Set once it ended badly."""
        self._cancel = cancel
        self._cancelling = False
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the engine is done with it."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """Ask the engine to stop; it answers with the last chunk after the step under way. Harmless when ended."""
        if not self.ended and not self._cancelling:
            self._cancelling = True
            self._cancel(self.id)

    async def wait(self) -> Usage:
        """Wait until the engine is done with it, whether or not anybody reads the chunks; returns the exact counts."""
        await self._ended.wait()
        return self.usage

    async def collect(self) -> Completion:
        """The rest of the answer as one. Raises as iterating does."""
        text, ids, logprobs = [], [], []
        async for chunk in self:
            text.append(chunk.text)
            ids.extend(chunk.ids)
            logprobs.extend(chunk.logprobs)
        assert self.finish is not None
        assert self.timing is not None
        return Completion("".join(text), tuple(ids), self.finish, self.usage, self.timing, tuple(logprobs))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self.ended and self._chunks.empty():
            return self._at_end()
        if not self._chunks.empty():
            await asyncio.sleep(0)  # else a slow reader could not be cancelled before the end of its backlog
        chunk = await self._chunks.get()
        return self._at_end() if chunk is None else chunk

    def _at_end(self) -> Chunk:
        if self.fault is not None:
            raise type(self.fault)(str(self.fault))
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
        await self.wait()

    # What the client hands on from the engine.

    def accepted(self, answer: dict[str, Any]) -> None:
        """The engine took the request. Its first events may already have come, even the last one."""
        self.dropped = answer["dropped"]
        self.usage = replace(self.usage, prompt_tokens=answer["prompt_tokens"])

    def take(self, event: dict[str, Any]) -> bool:
        """One event of the engine; returns whether it was the last."""
        ids = tuple(event["ids"])
        self.usage = Usage(self.usage.prompt_tokens, self.usage.completion_tokens + len(ids))
        usage = Usage(**event["usage"]) if "usage" in event else None
        timing = Timing(**event["timing"]) if "timing" in event else None
        logprobs = tuple(map(TokenLogprob.unpacked, event.get("logprobs", ())))
        chunk = Chunk(event["text"], ids, event["seconds"], event.get("finish"), usage, timing, logprobs)
        if usage is None:
            self._chunks.put_nowait(chunk)
            return False
        self.usage, self.timing, self.finish = usage, timing, chunk.finish
        if "error" in event:
            self._chunks.put_nowait(Chunk(chunk.text, ids, chunk.seconds, logprobs=logprobs))
            self.fail(EngineError(event["error"]))
        else:
            self._chunks.put_nowait(chunk)
            self._end()
        return True

    def fail(self, fault: EngineError) -> None:
        """It cannot go on; what arrived before is still delivered."""
        self.fault = fault
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._chunks.put_nowait(None)

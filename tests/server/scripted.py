"""A ChatModel that says what a test tells it to: for what no model can be relied on to say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from lindos.assistant import Chunk, EngineError, Loading, ModelInfo, Sampling, Stats, Usage
from lindos.assistant.model import Finish, Timing
from lindos.specs import Message

Script = Callable[[Sequence[Message]], str]

INFO = ModelInfo(
    name="scripted",
    kind="chat",
    context=1024,
    parameters=19_000_000,
    active_parameters=7_000_000,
    vocabulary=512,
    dtype="fp32",
    device="cpu",
    threads=1,
    template="role-tokens",
)


class ScriptedAnswer:
    """Says a text in pieces of a few characters, each a token, with a pause between them."""

    def __init__(self, text: str, pause: float, fault: EngineError | None = None, piece: int = 4) -> None:
        self.dropped = 0
        self.usage = Usage(10, 0)
        self.timing: Timing | None = None
        self.finish: Finish | None = None
        self.cancelled = False
        self.ended = asyncio.Event()
        self._pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
        self._pause = pause
        self._fault = fault
        self._started = time.monotonic()

    def cancel(self) -> None:
        self.cancelled = True

    async def wait(self) -> Usage:
        self.ended.set()
        return self.usage

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self.finish is not None:
            raise StopAsyncIteration
        await asyncio.sleep(self._pause)
        if not self.cancelled and self._pieces:
            self.usage = Usage(10, self.usage.completion_tokens + 1)
            return Chunk(self._pieces.pop(0), (1,), time.monotonic() - self._started)
        if self._fault is not None and not self.cancelled:
            raise self._fault
        self.finish = "cancelled" if self.cancelled else "stop"
        total = time.monotonic() - self._started
        self.timing = Timing(0.0, min(self._pause, total), total)
        self.ended.set()
        return Chunk("", (), total, self.finish, self.usage, self.timing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
        await self.wait()


class ScriptedChatModel:
    """`script` makes the answer from the messages; an EngineError as `fault` comes after its last word."""

    def __init__(
        self,
        script: Script | str,
        *,
        pause: float = 0.0,
        refusal: EngineError | None = None,
        fault: EngineError | None = None,
        info: ModelInfo = INFO,
        piece: int = 4,
        dropped: int = 0,
    ) -> None:
        self.dropped = dropped
        self.script: Script = script if callable(script) else lambda _: script
        self.pause = pause
        self.refusal = refusal
        self.answer_fault = fault
        self.info = info
        self.piece = piece
        self.ready = True
        self.fault: EngineError | None = None
        self.loading = Loading("ready", 1.0)
        self.asked: list[dict[str, Any]] = []
        self.answers: list[ScriptedAnswer] = []

    async def wait_ready(self) -> ModelInfo:
        return self.info

    async def wait_fault(self) -> EngineError:
        while self.fault is None:
            await asyncio.sleep(0.01)
        return self.fault

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        truncate: str = "never",
        priority: int = 0,
        client: str = "",
    ) -> ScriptedAnswer:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(
            {
                "messages": messages,
                "prompt": prompt,
                "sampling": sampling,
                "truncate": truncate,
                "priority": priority,
                "client": client,
            }
        )
        answer = ScriptedAnswer(self.script(messages or ()), self.pause, self.answer_fault, self.piece)
        answer.dropped = self.dropped
        self.answers.append(answer)
        return answer

    async def stats(self) -> Stats:
        raise NotImplementedError

    async def close(self) -> None:
        for answer in self.answers:
            answer.cancel()

"""ScriptedChatModel: a model that says what it was told to say, for replays and measurements."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from lindos.assistant.model import (
    Chunk,
    EngineDied,
    EngineError,
    Finish,
    Loading,
    Message,
    ModelInfo,
    Sampling,
    Stats,
    Timing,
    Truncate,
    Usage,
)
from lindos.specs import Spec

PIECE = re.compile(r"\s*\S+|\s+$")
"""A token of a scripted model: a word with the space before it."""


class Line(Spec):
    """To a question that `match` is found in, `reply`."""

    match: Annotated[str, Field(max_length=2000)]
    reply: str

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class ScriptedAnswer:
    """A text said word by word, each `pause` seconds after the one before, or at once where its reader was late."""

    def __init__(self, text: str, pause: float) -> None:
        self.dropped = 0
        self.usage = Usage(1, 0)
        self.timing: Timing | None = None
        self.finish: Finish | None = None
        self._pieces = PIECE.findall(text)
        self._at = 0
        self._pause = pause
        self._cancelled = False
        self.started = time.monotonic()
        self._first: float | None = None

    def cancel(self) -> None:
        self._cancelled = True

    async def wait(self) -> Usage:
        return self.usage

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self.finish is not None:
            raise StopAsyncIteration
        due = self.started + self._pause * (self._at + 1)
        await asyncio.sleep(due - time.monotonic())
        seconds = time.monotonic() - self.started
        if self._at < len(self._pieces) and not self._cancelled:
            piece = self._pieces[self._at]
            self._at += 1
            self._first = self._first if self._first is not None else seconds
            self.usage = Usage(1, self._at)
            return Chunk(piece, (0,), seconds)
        self.finish = "cancelled" if self._cancelled else "stop"
        self.timing = Timing(0.0, self._first, seconds)
        return Chunk("", (), seconds, self.finish, self.usage, self.timing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()


class ScriptedChatModel:
    """Answers with the first line whose pattern is found in the question, without regard to case; else with nothing."""

    def __init__(self, lines: Sequence[Line], *, pause: float = 0.0) -> None:
        self._lines = [(re.compile(line.match, re.IGNORECASE | re.DOTALL), line.reply) for line in lines]
        self._pause = pause
        self._closed = asyncio.Event()
        self.ready = True
        self.loading = Loading("ready", 1.0)
        self.fault: EngineError | None = None
        self.info = ModelInfo(
            name="scripted",
            kind="chat",
            context=1 << 20,
            parameters=0,
            active_parameters=0,
            vocabulary=0,
            dtype="",
            device="",
            threads=0,
            template="",
        )

    async def wait_ready(self) -> ModelInfo:
        return self.info

    async def wait_fault(self) -> EngineError:
        await self._closed.wait()
        return EngineDied("the model was closed")

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        truncate: Truncate = "never",
        priority: int = 0,
        client: str = "",
    ) -> ScriptedAnswer:
        question = prompt or next((m.content for m in reversed(messages or ()) if m.role == "user"), "")
        reply = next((reply for pattern, reply in self._lines if pattern.search(question)), "")
        return ScriptedAnswer(reply, self._pause)

    async def stats(self) -> Stats:
        raise EngineError("a scripted model counts nothing")

    async def close(self) -> None:
        self._closed.set()


def scripted(entries: Sequence[Any], *, pause: float = 0.0) -> ScriptedChatModel:
    """The model of a script: entries {match, reply}. Raises SpecError."""
    lines = [Line.parse(entry, where=f"model, line {number}") for number, entry in enumerate(entries, 1)]
    return ScriptedChatModel(lines, pause=pause)

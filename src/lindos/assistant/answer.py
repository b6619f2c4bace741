"""AssistantAnswer: an answer under way whose text has passed the gate."""

from __future__ import annotations

import time
from typing import Any, Self

from lindos.assistant.basis import Basis, Citation
from lindos.assistant.gate import Gate
from lindos.assistant.model import Answer, Chunk, EngineError, Finish, Timing, Usage
from lindos.assistant.settlement.wording import Told


def citations_of(told: Told) -> list[Citation]:
    """What a text of the assistant's own rests on."""
    return [Citation(uri=post.uri, start=start, end=end, quote=quote) for post, start, end, quote in told.cited]


class AssistantAnswer:
    """An Answer (see there) whose text has passed the gate, with the Basis it rests on.

    First comes what the assistant composed itself, then what passes of the model's text; either may be empty.
    """

    def __init__(self, basis: Basis, told: Told, inner: Answer | None = None, gate: Gate | None = None) -> None:
        self.basis = basis
        """Grows while the answer does; final once it ended."""
        self._told = told
        self._inner = inner
        self._gate = gate
        self._composed = citations_of(told)
        self._started = time.monotonic()
        self._opened = not told.text
        self._ended = False
        self._cancelled = False
        self._fault: EngineError | None = None
        self._noted: tuple[int, int, str] | None = None
        """What of the gate's findings the basis has."""
        self._note()

    @property
    def dropped(self) -> int:
        return self._inner.dropped if self._inner else 0

    @property
    def usage(self) -> Usage:
        return self._inner.usage if self._inner else Usage()

    @property
    def timing(self) -> Timing | None:
        if self._inner is not None:
            return self._inner.timing
        seconds = time.monotonic() - self._started
        return Timing(0.0, seconds, seconds) if self._ended else None

    @property
    def finish(self) -> Finish | None:
        if self._inner is not None:
            return self._inner.finish if self._ended else None
        return ("cancelled" if self._cancelled else "stop") if self._ended else None

    def cancel(self) -> None:
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()

    async def wait(self) -> Usage:
        if self._inner is not None:
            return await self._inner.wait()
        return self.usage

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if not self._opened:
            self._opened = True
            return Chunk(self._told.text, (), time.monotonic() - self._started)
        if self._ended:
            raise StopAsyncIteration
        if self._inner is None or self._gate is None:
            self._ended = True
            return Chunk("", (), time.monotonic() - self._started, self.finish, self.usage, self.timing)
        if self._fault is not None:
            raise self._fault
        try:
            chunk = await anext(self._inner)
        except EngineError as fault:
            return self._last_words(fault)
        text = self._gate.feed(chunk.text)
        if chunk.finish is not None:
            text += self._gate.finish()
            self._ended = True
        self._note()
        return Chunk(text, chunk.ids, chunk.seconds, chunk.finish, chunk.usage, chunk.timing)

    def _last_words(self, fault: EngineError) -> Chunk:
        """What may be shown of what a model said before it gave up; the fault is raised next."""
        self._fault = fault
        text = self._gate.finish() if self._gate is not None else ""
        self._note()
        if not text:
            raise fault
        return Chunk(text, (), time.monotonic() - self._started)

    def _note(self) -> None:
        """Bring the basis up to date; most words change nothing of it."""
        gate = self._gate
        told = (len(gate.citations), len(gate.cut), gate.refused) if gate is not None else (0, 0, "")
        if told == self._noted:
            return
        self._noted = told
        news: dict[str, Any] = {"citations": (*self._composed, *(gate.citations if gate is not None else ()))}
        if gate is not None:
            news |= {"cut": tuple(gate.cut), **({"refused": gate.refused} if gate.refused else {})}
        self.basis = self.basis.model_copy(update=news)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
        await self.wait()

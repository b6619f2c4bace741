"""ChatModel: the one door to any model, our own engine or another one.

What an answer is made of (chunks, counts, errors) is the engine's vocabulary, handed on from here so that the rooms
above need to know only this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from lindos.engine.client import (
    Chunk,
    EngineDied,
    EngineError,
    EngineOptions,
    Finish,
    Grammar,
    Loading,
    ModelInfo,
    QueueFull,
    RequestError,
    Sampling,
    Stats,
    Timing,
    TokenLogprob,
    Truncate,
    Usage,
)
from lindos.specs import Message

__all__ = [
    "Answer",
    "ChatModel",
    "Chunk",
    "EngineDied",
    "EngineError",
    "EngineOptions",
    "Finish",
    "Grammar",
    "Loading",
    "Message",
    "ModelInfo",
    "QueueFull",
    "RequestError",
    "Sampling",
    "Stats",
    "Timing",
    "TokenLogprob",
    "Truncate",
    "Usage",
    "writes_itself",
]

LARGE = 1_000_000_000
"""Parameters from which on a model writes answers about the world itself."""


def writes_itself(info: ModelInfo) -> bool:
    """Whether a model is large enough to write answers from posts itself; for smaller ones they are composed of quotes.

    Of an upstream nobody tells the size (0 parameters): it counts as large.
    """
    return info.parameters == 0 or info.parameters >= LARGE


class Answer(Protocol):
    """One answer under way: an async iterator of Chunks whose counts stay exact however it ends.

    Iterating raises EngineError when the model had to give up. As an async context manager it cancels at the end of
    the block, if need be, and waits for the last word.
    """

    dropped: int
    """How many of the oldest messages were left out so that the conversation fits."""
    usage: Usage
    """Counts so far; final once it ended."""
    timing: Timing | None
    """Set once it ended."""
    finish: Finish | None
    """Set once it ended well."""

    def cancel(self) -> None:
        """Stop soon; harmless when it ended."""
        ...

    async def wait(self) -> Usage:
        """Wait until it ended, whether or not anybody reads the chunks."""
        ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Chunk: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class ChatModel(Protocol):
    """A model that answers."""

    @property
    def ready(self) -> bool:
        """Whether it can take requests now."""
        ...

    @property
    def loading(self) -> Loading:
        """How far its start has come."""
        ...

    @property
    def fault(self) -> EngineError | None:
        """Why it will never answer (again); None while there is hope."""
        ...

    @property
    def info(self) -> ModelInfo:
        """The model. Raises EngineError before it was ready for the first time."""
        ...

    async def wait_ready(self) -> ModelInfo:
        """Wait until it is loaded. Raises EngineError when it cannot be."""
        ...

    async def wait_fault(self) -> EngineError:
        """Wait until it will never answer (again), however long it lives; returns why."""
        ...

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        truncate: Truncate = "never",
        priority: int = 0,
        client: str = "",
    ) -> Answer:
        """Ask: a conversation, or a raw text to complete. `truncate="oldest"` leaves out the oldest turns if need be.

        Requests of a higher `priority` go first; among equals the clients, named by `client`, get even shares. Raises
        QueueFull, RequestError (neither costs anything) or EngineError.
        """
        ...

    async def stats(self) -> Stats:
        """What it is doing. Raises EngineError when it does not answer."""
        ...

    async def close(self) -> None:
        """End it; answers under way end with EngineDied."""
        ...

"""Stream: where changes come from, one batch after another, and what is counted on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from lindos.knowledge.post import Change

FROM_NOW = ""
"""The cursor of a stream that has no place to go on from: it begins with what comes next."""


class StreamError(Exception):
    """A stream that cannot be followed as it was asked for: trying again would not help. The text says what would."""


class LostError(Exception):
    """A connection that ended, or never came about; the text says why. Another is made."""


class MalformedError(ValueError):
    """A message that is not what the protocol promises. It is counted, and the next one read."""


@dataclass(slots=True)
class Counters:
    """What a stream met so far, in this process."""

    received: int = 0
    """Messages, lines or entries met, whatever came of them."""
    created: int = 0
    edited: int = 0
    deleted: int = 0
    """Posts taken back, by their authors or with their accounts."""
    repeated: int = 0
    """Posts that were there already: resuming repeats some."""
    malformed: int = 0
    """Messages that could not be understood."""
    misdated: int = 0
    """Posts whose claimed time is missing, no time, or lies ahead; they are kept without one."""
    skipped: int = 0
    """Messages that were understood and tell of no post: likes, reblogs, accounts that came back."""
    reconnects: int = 0
    gaps: int = 0
    """Times that something between two moments could not be had any more."""
    slow: int = 0
    """Times that a server dropped us for reading too slowly."""
    connected: bool = False
    at: datetime | None = None
    """The source's own time of the latest message."""
    behind: float = 0.0
    """How many seconds after the source's own time the latest batch was stored: much while it catches up."""

    def lag(self, now: datetime | None = None) -> float | None:
        """Seconds between the source's latest message and now; None before the first one."""
        return None if self.at is None else max(((now or datetime.now(UTC)) - self.at).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one message came to."""

    changes: tuple[Change, ...] = ()
    cursor: str | None = None
    """Where to go on once `changes` are stored."""
    news: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes to be stored together, with the place they lead to."""

    changes: list[Change] = field(default_factory=list)
    cursor: str | None = None
    """To be remembered in the transaction that stores the changes; None: as before."""
    news: tuple[str, ...] = ()
    """What people should hear of: lost connections, gaps."""


class Stream(Protocol):
    """A place that posts come from."""

    name: str
    """What its cursor is remembered under."""
    counters: Counters

    def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        """Batches from the place `cursor`, None: as suits a first time.

        It goes on until it is closed, over lost connections, too; a stream with an end (a file) ends. The next batch is
        asked for when the last one is stored, so a slow store slows the reading. Raises StreamError.
        """
        ...

    def place(self, cursor: str) -> datetime | None:
        """The source's time at a cursor, where a cursor tells it."""
        ...

"""What both versions of Jetstream have in common: a subscription that is resumed, message by message."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from lindos.knowledge.streams.backoff import Backoff, reconnecting
from lindos.knowledge.streams.batching import batched
from lindos.knowledge.streams.bluesky import read_json
from lindos.knowledge.streams.socket import TooBigError, messages
from lindos.knowledge.streams.stream import FROM_NOW, Batch, Counters, MalformedError, Piece
from lindos.knowledge.streams.words import now

Read = Callable[[dict[str, Any]], Piece]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Jetstream:
    """A subscription; versions say where it is, how its messages are read, and what its cursors mean."""

    subprotocol: str | None = None

    def __init__(self, name: str, backoff: Backoff | None = None, clock: Callable[[], datetime] = now) -> None:
        self.name = name
        self.counters = Counters()
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._giant_after: str | None = None

    def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        return reconnecting(self._past_giants, cursor, self.counters, self._backoff)

    @abstractmethod
    def place(self, cursor: str) -> datetime | None: ...

    @abstractmethod
    def _address(self, cursor: str) -> str:
        """Where to subscribe to go on from a cursor."""

    @abstractmethod
    def _reader(self, cursor: str) -> Read:
        """What reads the messages of one session; raises MalformedError, or LostError at the server's last word."""

    async def _session(self, cursor: str) -> AsyncGenerator[Batch]:
        async with aclosing(batched(self._pieces(cursor))) as batches:
            async for batch in batches:
                yield batch

    async def _past_giants(self, cursor: str | None) -> AsyncGenerator[Batch]:
        """A session, given up for one that begins now when the same message is twice too large to be taken."""
        place = cursor or FROM_NOW
        try:
            async with aclosing(self._session(place)) as batches:
                async for batch in batches:
                    place = place if batch.cursor is None else batch.cursor
                    yield batch
        except TooBigError:
            self.counters.malformed += 1
            if self._giant_after != place:
                self._giant_after = place
                raise
            self.counters.gaps += 1
            yield Batch(cursor=FROM_NOW, news=("a message too large to read stands in the way; going on from now",))

    async def _pieces(self, cursor: str) -> AsyncGenerator[Piece]:
        read = self._reader(cursor)
        async with aclosing(messages(self._address(cursor), self.subprotocol)) as received:
            async for message in received:
                if message is None:
                    self.counters.connected = True
                    # The first time there is no place yet: a kill before the first message must not lose it.
                    begun = None if cursor else str((self._clock() - EPOCH) // timedelta(microseconds=1))
                    yield Piece((), begun, ("connected",))
                    continue
                self.counters.received += 1
                try:
                    piece = read(read_json(message))
                except MalformedError:
                    self.counters.malformed += 1
                    continue
                self.counters.skipped += not piece.changes
                yield piece

    def _possible(self, at: datetime | None) -> datetime:
        """The time of a message. Raises MalformedError for one that cannot be."""
        if at is None or at > self._clock() + timedelta(days=1):
            raise MalformedError("a time that is none")
        return at

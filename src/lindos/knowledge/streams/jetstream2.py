"""Jetstream v2 (`network.bsky.jetstream.subscribeEvents`): posts in the order of a sequence number.

Protocol: the lexicon network.bsky.jetstream.subscribeEvents; subprotocol xrpc.v1.json.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from lindos.knowledge.post import Change
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.bluesky import (
    COLLECTION,
    SOURCE,
    Told,
    account_changes,
    account_of,
    commit_changes,
    identity_changes,
    inner,
    integer,
)
from lindos.knowledge.streams.jetstream import EPOCH, Jetstream, Read
from lindos.knowledge.streams.socket import RefusedError, endpoint
from lindos.knowledge.streams.stream import FROM_NOW, Batch, LostError, MalformedError, Piece
from lindos.knowledge.streams.words import moment, now, seconds

DEFAULT_URL = "wss://jetstream.us-east.bsky.network"
METHOD = "network.bsky.jetstream.subscribeEvents"
KINDS = ("commit", "identity", "account")
REWIND = 5_000_000
"""Microseconds that going on by time goes back, as the protocol's own client does."""
_A_TIME = 10**15
"""The protocol takes cursors from here on as microseconds since 1970, not as sequence numbers."""


class _AheadError(LostError):
    """The server's numbers do not reach as far as our cursor."""


class Jetstream2(Jetstream):
    """Bluesky's posts by Jetstream v2. A cursor is the last sequence number met and its time: `12345 1783175888085434`.

    Resuming is inclusive, so the last message comes again. A cursor that the server keeps no more is exchanged for the
    time it stood for, from which the server goes on as early as it can; what lies between is counted as a gap.
    """

    subprotocol = "xrpc.v1.json"
    _told = False
    """Whether a gap was told that the server is about to tell again."""

    def __init__(
        self, url: str = DEFAULT_URL, *, backoff: Backoff | None = None, clock: Callable[[], datetime] = now
    ) -> None:
        self._url = url
        host = urlsplit(self._address(FROM_NOW)).netloc.rpartition("@")[2]  # passwords are not for names
        # Sequence numbers are one server's own: another's cursor would skip or repeat at will.
        super().__init__(SOURCE if host == urlsplit(DEFAULT_URL).netloc else f"{SOURCE}:{host}", backoff, clock)

    def place(self, cursor: str) -> datetime | None:
        micros = cursor.split(" ")[-1]
        return seconds(int(micros) / 1e6) if _is_time(micros) else None

    def _address(self, cursor: str) -> str:
        number = cursor.split(" ")[0]
        resumed = [("cursor", number)] if number.isdigit() else []
        kinds = [("kinds", kind) for kind in KINDS]
        return endpoint(self._url, f"/xrpc/{METHOD}", [*kinds, ("collections", COLLECTION), *resumed])

    async def _session(self, cursor: str) -> AsyncGenerator[Batch]:
        try:
            async with aclosing(super()._session(cursor)) as batches:
                async for batch in batches:
                    yield batch
        except RefusedError as refused:
            if not _too_old(refused):
                raise
            yield self._missed(cursor)
        except _AheadError:
            yield self._renumbered(cursor)

    def _missed(self, cursor: str) -> Batch:
        """Where to go on from when the server keeps nothing from `cursor` on."""
        self.counters.gaps += 1
        _, _, micros = cursor.partition(" ")
        after, where = (micros, "as early as it can") if _is_time(micros) else (FROM_NOW, "from now")
        news = f"the server keeps nothing as old as where we were; going on {where}: there is a gap"
        self._told = True
        return Batch(cursor=after, news=(news,))

    def _renumbered(self, cursor: str) -> Batch:
        """Where to go on from when the server counts anew, or another one answers: by the time, with a margin."""
        _, _, micros = cursor.partition(" ")
        if _is_time(micros):
            news = "the server's numbers are others than before; going on from the time where we were"
            return Batch(cursor=str(max(int(micros) - REWIND, _A_TIME)), news=(news,))
        self.counters.gaps += 1
        return Batch(cursor=FROM_NOW, news=("the server does not know where we were; going on from now: a gap",))

    def _reader(self, cursor: str) -> Read:
        return self._read

    def _read(self, frame: dict[str, Any]) -> Piece:
        if frame.get("$type") == "error":
            name = str(frame.get("error"))[:100]
            self.counters.slow += name == "ConsumerTooSlow"
            raise LostError(f"the server ended the stream: {name}")
        if frame.get("$type") != "message":
            raise MalformedError("a frame that is neither message nor error")
        payload = inner(frame, "payload")
        kind = str(payload.get("$type")).rpartition("#")[2]
        if kind == "info":
            return self._informed(str(payload.get("name")))
        seq = integer(payload, "seq")
        at = self._possible(moment(payload.get("witnessedAt")) or moment(payload.get("time")))
        seen_at = self._clock()
        changes = self._changes(kind, Told(account_of(payload), seen_at, min(at, seen_at), str(seq)), payload)
        self.counters.at = at
        return Piece(changes, f"{seq} {(at - EPOCH) // timedelta(microseconds=1)}")

    def _changes(self, kind: str, told: Told, payload: dict[str, Any]) -> tuple[Change, ...]:
        match kind:
            case "commit":
                return commit_changes(told, payload, self.counters)
            case "identity":
                return identity_changes(told, inner(payload, "identity"))
            case "account":
                return account_changes(told, inner(payload, "account"))
        return ()

    def _informed(self, name: str) -> Piece:
        if name == "FutureCursor":
            raise _AheadError("the server has not come as far as where we were")
        if name == "OutdatedCursor":
            self.counters.gaps += not self._told  # it was counted when the cursor was exchanged for a time
            self._told = False
            return Piece(news=("the server goes on from the oldest that it keeps",))
        return Piece()


def _is_time(number: str) -> bool:
    return number.isdigit() and int(number) >= _A_TIME


def _too_old(refused: RefusedError) -> bool:
    if refused.status != 400:
        return False
    try:
        answer = json.loads(refused.body)
    except (ValueError, RecursionError):
        return "CursorTooOld" in refused.body
    return isinstance(answer, dict) and answer.get("error") == "CursorTooOld"

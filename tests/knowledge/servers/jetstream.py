"""A Jetstream, v1 and v2, over a log of events that a test writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

POST = "app.bsky.feed.post"
V2_PATH = "/xrpc/network.bsky.jetstream.subscribeEvents"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
A_TIME = 10**15


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


@dataclass
class Event:
    """Something that happened on the network; `raw` replaces what would be sent of it."""

    seq: int
    time_us: int
    did: str
    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    raw: str | bytes | None = None

    def v1(self) -> str | bytes:
        if self.raw is not None:
            return self.raw
        return json.dumps({"did": self.did, "time_us": self.time_us, "kind": self.kind, self.kind: self.body})

    def v2(self) -> str | bytes:
        if self.raw is not None:
            return self.raw
        time = (EPOCH + timedelta(microseconds=self.time_us)).isoformat().replace("+00:00", "Z")
        body = self.body if self.kind == "commit" else {self.kind: self.body}
        head = {"$type": f"network.bsky.jetstream.subscribeEvents#{self.kind}", "seq": self.seq}
        return frame(head | {"did": self.did, "time": time} | body)


def frame(payload: dict[str, Any]) -> str:
    return json.dumps({"$type": "message", "payload": payload})


@dataclass
class Jetstream:
    """The server. Events are sent in the order of `log`, to whoever asked for them and as far as they are `kept`."""

    log: list[Event] = field(default_factory=list)
    kept: int = 0
    """How many of the oldest events are gone: v2 refuses a cursor among them, v1 silently begins behind them."""
    plan: Callable[[int], int | None] = lambda connection: None
    """How many messages the n-th connection gets before it is broken off; None: all."""
    farewell: Callable[[int], str | None] = lambda connection: None
    """What the n-th connection is told at its end."""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    subprotocols: list[str | None] = field(default_factory=list)
    sent: int = 0
    step: int = 100
    """Sequence numbers between events: most that happens is no post."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=5))
    """When the first event was; others follow a millisecond apart."""
    live: bool = False
    """Events are of the moment they happen instead."""
    port: int = 0
    _server: Server | None = None
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._admit,
            subprotocols=[Subprotocol("xrpc.v1.json")],
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def happen(self, did: str, kind: str, body: dict[str, Any], *, raw: str | bytes | None = None) -> Event:
        """Something happens now."""
        number = len(self.log) + 1
        time_us = micros(self.began) + number * 1000
        if self.live:
            time_us = max(micros(datetime.now(UTC)), self.log[-1].time_us + 1 if self.log else 0)
        event = Event(number * self.step, time_us, did, kind, body, raw)
        self.log.append(event)
        self._more.set()
        self._more = asyncio.Event()
        return event

    def create(self, did: str, rkey: str, text: str, **record: Any) -> Event:
        return self.happen(did, "commit", commit("create", rkey, {"text": text} | record))

    def update(self, did: str, rkey: str, text: str, **record: Any) -> Event:
        return self.happen(did, "commit", commit("update", rkey, {"text": text} | record))

    def delete(self, did: str, rkey: str) -> Event:
        return self.happen(did, "commit", commit("delete", rkey, None))

    def identity(self, did: str, handle: str | None) -> Event:
        return self.happen(did, "identity", {"did": did} | ({} if handle is None else {"handle": handle}))

    def account(self, did: str, status: str | None) -> Event:
        return self.happen(
            did, "account", {"did": did, "active": False, "status": status} if status else {"active": True}
        )

    def garble(self, raw: str | bytes) -> Event:
        return self.happen("did:plc:nobody", "commit", {}, raw=raw)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if parts.path not in (V2_PATH, "/subscribe"):
            return connection.respond(HTTPStatus.NOT_FOUND, "no such stream\n")
        query = parse_qs(parts.query)
        self.asked.append(query)
        self.paths.append(parts.path)
        cursor = int(query.get("cursor", ["0"])[0])
        floor = self.log[self.kept].seq if self.kept else 0
        if parts.path == V2_PATH and cursor < A_TIME and 0 < cursor < floor:
            words = json.dumps({"error": "CursorTooOld", "message": f"cursor {cursor} below floor {floor}"})
            return connection.respond(HTTPStatus.BAD_REQUEST, words)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        v2 = parts.path == V2_PATH
        self.subprotocols.append(connection.subprotocol)
        number = len(self.subprotocols) - 1
        query = parse_qs(parts.query)
        place = self._first(query, v2)
        left = self.plan(number)
        try:
            if v2:
                await self._inform(connection, query)
            while left is None or left > 0:
                while place < len(self.log) and (left is None or left > 0):
                    event = self.log[place]
                    await connection.send(event.v2() if v2 else event.v1())
                    self.sent += 1
                    place += 1
                    left = None if left is None else left - 1
                if left != 0:
                    await self._news(connection)
            words = self.farewell(number)
            if words is not None:
                await connection.send(words)
            else:
                connection.transport.abort()
        except ConnectionClosed:
            return

    async def _news(self, connection: ServerConnection) -> None:
        """Until something happens. Raises ConnectionClosed when the other side has gone."""
        waiting = [asyncio.ensure_future(self._more.wait()), asyncio.ensure_future(connection.wait_closed())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if connection.state is State.CLOSED:
            raise ConnectionClosedOK(None, None)

    async def _inform(self, connection: ServerConnection, query: dict[str, list[str]]) -> None:
        cursor = int(query.get("cursor", ["0"])[0])
        name = ""
        if cursor >= A_TIME and self.kept and cursor < self.log[self.kept].time_us:
            name = "OutdatedCursor"
        elif cursor < A_TIME and cursor > (self.log[-1].seq if self.log else 0) + self.step:
            name = "FutureCursor"
        if name:
            head = {"$type": "network.bsky.jetstream.subscribeEvents#info", "name": name}
            await connection.send(frame(head))

    def _first(self, query: dict[str, list[str]], v2: bool) -> int:
        if "cursor" not in query:
            return len(self.log)
        cursor = int(query["cursor"][0])
        key = (lambda event: event.seq) if v2 and cursor < A_TIME else (lambda event: event.time_us)
        found = next((n for n, event in enumerate(self.log) if key(event) >= cursor), len(self.log))
        return max(found, self.kept)


def commit(operation: str, rkey: str, record: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {"rev": "3l3qo2vutsw2b", "operation": operation, "collection": POST, "rkey": rkey}
    if record is not None:
        created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body["record"] = {"$type": POST, "createdAt": created} | record
        body["cid"] = "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi"
    return body

"""Server-sent events: how a stream of objects goes over the wire, and what happens when its reader leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Self, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")

EVENT_SCHEMA = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
"""How the API's description shows an event."""

HEARTBEAT = b": still here\n\n"
DONE = b"data: [DONE]\n\n"


def event(data: Any, name: str = "") -> bytes:
    """One event; ASCII only, so that no character is ever cut in two by whoever reads it in pieces."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


class EventStream(Response):
    """Sends events as they come, a comment when they are silent for long, and closes them when the client leaves.

    `events` must be an async generator: what has to happen at its end, on every ending, is its own `finally`.
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], heartbeat_seconds: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._events = events
        self._heartbeat = heartbeat_seconds

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None], heartbeat_seconds: float) -> Self:
        """Wait for the first event, so that what keeps a stream from starting is still raised as an error."""
        # A generator that was never started has no `finally` to run, so this also makes sure that there is one.
        return cls(await anext(events), events, heartbeat_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not Starlette's StreamingResponse: it leaves the closing of what it streams to the garbage collector.
        async with aclosing(self._events):
            await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with Pulse(send, self._heartbeat) as pulse:
            await pulse.send(self._first)
            async for chunk in self._events:
                await pulse.send(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Pulse:
    """Sends what it is given, and a comment whenever that has been nothing for so many seconds.

    It has one timer, which looks after the last thing sent: thousands of words a second go this way, and a task or a
    timer for each would cost as much as all else that is done for them.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        self._forward = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None

    async def send(self, data: bytes) -> None:
        """Send a piece of the body, which goes on."""
        self._last = self._loop.time()
        await self._forward({"type": "http.response.body", "body": data, "more_body": True})

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left <= 0:
            left = self._seconds
            # One that the client has not taken yet says enough.
            if self._beating is None or self._beating.done():
                self._beating = asyncio.create_task(self.send(HEARTBEAT))
        self._timer = self._loop.call_later(left, self._look)

    async def __aenter__(self) -> Self:
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._beating is not None:
            await finish(self._beating)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when the client left first, and `work` was cancelled for it."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await finish(leaving)
        gone = not working.done()
        await finish(working)
    return None if gone else working.result()


async def _gone(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def finish(task: asyncio.Future[Any]) -> None:
    """Cancel a task if it is not done, and wait for its end whatever that is."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # marks it as seen

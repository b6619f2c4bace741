"""A small HTTP server that answers byte by byte as a test says, well or badly, and notes who left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass
class Got:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Reply:
    """How a handler answers."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def event(self, data: Any) -> None:
        await self.send(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())

    async def json(self, data: Any, status: int = 200, **headers: str) -> None:
        await self.head(status, "application/json", **headers)
        await self.send(json.dumps(data).encode())

    def abort(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()


Handle = Callable[[Got, Reply], Awaitable[None]]


@dataclass
class Server:
    """What a test may want of it."""

    url: str
    handle: Handle
    models: Any
    got: list[Got] = field(default_factory=list)
    """Requests other than those for models."""
    left: int = 0
    """Clients that went away before their answer had ended."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    listening: asyncio.Server | None = None

    async def die(self) -> None:
        """Vanish: nothing listens any more, and connections are broken off."""
        assert self.listening is not None
        self.listening.close()
        for writer in list(self.writers):
            writer.transport.abort()
        await self.listening.wait_closed()


@asynccontextmanager
async def serving(handle: Handle, models: Any = "tiny", port: int = 0) -> AsyncIterator[Server]:
    """Serve for the length of the block. `models` is what /v1/models answers: an object, a name, or a handler."""
    listed: Any = {"object": "list", "data": [{"id": models}]} if isinstance(models, str) else models

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.writers.add(writer)
        try:
            got = await _read(reader)
            if got is not None and got.path.endswith("/models") and not callable(listed):
                await Reply(writer).json(listed)
            elif got is not None and got.path.endswith("/models"):
                await cast(Handle, listed)(got, Reply(writer))
            elif got is not None:
                server.got.append(got)
                await _until_left(server, reader, server.handle(got, Reply(writer)))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            server.writers.discard(writer)
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1000)
    server = Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", handle, models)
    server.listening = listening
    try:
        yield server
    finally:
        await server.die()
        while server.writers:
            await asyncio.sleep(0.01)


async def _until_left(server: Server, reader: asyncio.StreamReader, work: Awaitable[None]) -> None:
    """Handle a request, until its client goes."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(reader.read(1))
    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        server.left += 1
    for task in (working, leaving):
        task.cancel()
    await asyncio.wait({working, leaving})
    if not leaving.cancelled():
        leaving.exception()
    if not working.cancelled() and (error := working.exception()) and not isinstance(error, ConnectionError):
        raise error


async def _read(reader: asyncio.StreamReader) -> Got | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    method, path, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Got(method, path, headers, json.loads(body) if body else {})


def chunk(text: str | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chat's chunk."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The counts' own chunk."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": counts}


def says(*texts: str, pause: float = 0.0) -> Handle:
    """A well-behaved answer, a token a text."""

    async def handle(_: Got, reply: Reply) -> None:
        await reply.head()
        await reply.event(chunk("", role="assistant"))
        for text in texts:
            await asyncio.sleep(pause)
            await reply.event(chunk(text))
        await reply.event(chunk(finish="stop"))
        await reply.event(usage(7, len(texts)))
        await reply.event("[DONE]")

    return handle


def refuses(status: int, error: Any, **headers: str) -> Handle:
    """A refusal."""

    async def handle(_: Got, reply: Reply) -> None:
        await reply.json(error, status, **headers)

    return handle


def streams(*pieces: bytes | float) -> Handle:
    """Raw bytes with pauses between them, then the end of the connection."""

    async def handle(_: Got, reply: Reply) -> None:
        await reply.head()
        for piece in pieces:
            if isinstance(piece, bytes):
                await reply.send(piece)
            else:
                await asyncio.sleep(piece)

    return handle


def in_turn(handles: Iterable[Handle]) -> Handle:
    """The first handler for the first request, and so on; the last one for all that follow."""
    left = list(handles)

    async def handle(got: Got, reply: Reply) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(got, reply)

    return handle

"""A client that costs little: it notes when bytes come, and looks at what they say when all is over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Heard:
    """What came of one request."""

    asked: float = 0.0
    """When it was sent, on the monotonic clock."""
    ended: bool = False
    """Whether the server closed the connection, as it was asked to."""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        head = self._whole.split(b" ", 2)
        return int(head[1]) if len(head) > 2 else 0

    def events(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """The events of the stream, each with the moment when its last byte was there."""
        for at, line in self._lines():
            if line.startswith(b"data: {"):
                yield at, json.loads(line[len(b"data: ") :])

    def words(self) -> Iterator[tuple[float, str]]:
        """The stretches of the answer's text as they came."""
        for at, event in self.events():
            for choice in event.get("choices", ()):
                if text := choice["delta"].get("content"):
                    yield at, text

    @property
    def fault(self) -> str:
        """What went wrong; empty: nothing."""
        if self.status != 200:
            return f"status {self.status}: {self._whole[-300:].decode(errors='replace')}"
        if not self.ended or b"data: [DONE]" not in self.pieces[-1][1] + b"".join(p for _, p in self.pieces[-3:]):
            return "the stream broke off"
        return next((str(event["error"]) for _, event in self.events() if "error" in event), "")

    @property
    def _whole(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    def _lines(self) -> Iterator[tuple[float, bytes]]:
        rest = b""
        for at, piece in self.pieces:
            # The lengths of HTTP's chunks stand on lines of their own; events are never cut by them.
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield at, line.rstrip(b"\r")


class _Listening(asyncio.Protocol):
    def __init__(self, request: bytes, heard: Heard, over: asyncio.Future[None]) -> None:
        self._request, self._heard, self._over = request, heard, over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._heard.asked = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._heard.pieces.append((time.monotonic(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard.ended = exc is None
        if not self._over.done():
            self._over.set_result(None)


async def chat(port: int, question: str, *, model: str, user: str = "", seconds: float = 60, **more: Any) -> Heard:
    """Ask on a connection of its own, and listen until it is closed, or for so many seconds."""
    messages = [{"role": "user", "content": question}]
    asked = {"model": model, "messages": messages, "stream": True, **({"user": user} if user else {}), **more}
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    heard, loop = Heard(), asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    request = head.encode() + body
    transport, _ = await loop.create_connection(lambda: _Listening(request, heard, over), "127.0.0.1", port)
    try:
        await asyncio.wait_for(over, seconds)
    except TimeoutError:
        pass
    finally:
        transport.abort()
    return heard

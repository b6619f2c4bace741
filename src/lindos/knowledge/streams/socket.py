"""A WebSocket of a Jetstream: messages in, its ways of failing as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from lindos.knowledge.streams.stream import LostError, StreamError

HARD_LIMIT = 16 << 20
"""Bytes, unpacked, of a message that is taken off the wire at all; beyond, the connection is closed."""
READ_AHEAD = 64
"""Messages that may wait in the socket's own buffer before it stops reading."""
CLOSE_SECONDS = 1
"""How long a farewell is waited for."""
_TOO_BIG = 1009


class RefusedError(LostError):
    """The server answered the handshake with an HTTP error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the server answered {status} {' '.join(body.split())[:200]}".rstrip())
        self.status = status
        self.body = body


class TooBigError(LostError):
    """A message so large that it was not taken."""


def endpoint(url: str, path: str, parameters: list[tuple[str, str]]) -> str:
    """The address of a subscription: `path` where `url` names none, ws for http. Raises StreamError."""
    wrong = StreamError(f"{url} is no address of a Jetstream; give one such as wss://jetstream.example")
    try:
        parts = urlsplit(url if "://" in url else f"wss://{url}")
        port = parts.port
    except ValueError:
        raise wrong from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        raise wrong
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise wrong from None
    query = "&".join(part for part in (parts.query, urlencode(parameters)) if part)
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path.strip("/") else path, query, ""))


async def messages(address: str, subprotocol: str | None = None) -> AsyncGenerator[str | bytes | None]:
    """None once connected, then messages, read no faster than they are asked for. Raises LostError."""
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    try:
        async with connect(
            address,
            subprotocols=offered,
            max_size=HARD_LIMIT,
            max_queue=READ_AHEAD,
            close_timeout=CLOSE_SECONDS,
            user_agent_header="lindos",
        ) as connection:
            yield None
            async for message in _received(connection):
                yield message
    except InvalidStatus as error:
        raise RefusedError(
            error.response.status_code, (error.response.body or b"").decode("utf-8", "replace")
        ) from None
    except TimeoutError:
        raise LostError("no connection in time") from None
    except (WebSocketException, OSError, EOFError, UnicodeError) as error:
        raise LostError(f"no connection: {error or type(error).__name__}") from None


async def _received(connection: ClientConnection) -> AsyncGenerator[str | bytes]:
    try:
        while True:
            yield await connection.recv()
    except ConnectionClosed as closed:
        if closed.sent is not None and closed.sent.code == _TOO_BIG:
            raise TooBigError(f"a message of more than {HARD_LIMIT >> 20} MiB") from None
        raise LostError(f"the connection ended: {closed}") from None

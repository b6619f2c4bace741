"""One attempt at a request: sent, checked, and read as a stream of Deltas; whatever goes wrong is a Fault."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, cast

import httpx

from lindos.assistant.model import EngineError
from lindos.assistant.upstream.faults import Fault, error_in_stream, refusal
from lindos.assistant.upstream.options import UpstreamOptions
from lindos.assistant.upstream.replies import Delta, delta_of, error_of
from lindos.assistant.upstream.wire import DONE, EventReader, WireError, read_object

MAX_ERROR = 64 << 10
"""Bytes that are read of a refusal."""
TRAILING_SECONDS = 5.0
"""How long the counts are waited for, once the answer has ended."""
CLOSING_SECONDS = 1.0
"""And after them for the end of the response."""


def open_client(options: UpstreamOptions) -> httpx.AsyncClient:
    """Connections to an upstream. Redirects are not followed: the key would go where they point."""
    headers = {"Accept-Encoding": "identity"}
    if options.key is not None:
        headers["Authorization"] = f"Bearer {options.key.get_secret_value()}"
    return httpx.AsyncClient(
        headers=headers,
        follow_redirects=False,
        trust_env=not options.local,
        timeout=httpx.Timeout(None, connect=options.connect_seconds),
        # Idle connections go before common servers close them, or a request could meet one that is just closing.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=4.0),
    )


class Patience:
    """Until when the next thing may come: the first token, one after another, the end; in the event loop's time."""

    def __init__(self, options: UpstreamOptions, total_until: float) -> None:
        self._options = options
        self._total_until = total_until
        self._until = asyncio.get_running_loop().time() + options.first_token_seconds
        self._heard = self._ended = False

    @property
    def until(self) -> float:
        """The next deadline."""
        return min(self._until, self._total_until)

    def heard(self, delta: Delta) -> None:
        """Something of the answer came, which comments are not."""
        now = asyncio.get_running_loop().time()
        self._ended = self._ended or delta.finish is not None
        if self._ended:
            self._until = now + (CLOSING_SECONDS if delta.done else TRAILING_SECONDS)
        elif self._heard or delta.tokens or delta.text:
            self._heard, self._until = True, now + self._options.between_tokens_seconds

    def fault(self) -> Fault:
        """What it means that the deadline has passed."""
        options = self._options
        if self._total_until <= self._until:
            return Fault(EngineError(f"the upstream took longer than {options.total_seconds:g} s for the answer"))
        if self._heard:
            words = f"the upstream went silent for {options.between_tokens_seconds:g} s in the middle of the answer"
            return Fault(EngineError(words))
        return Fault(EngineError(f"the upstream sent no token within {options.first_token_seconds:g} s"), again=True)


async def attempt(
    client: httpx.AsyncClient,
    options: UpstreamOptions,
    path: str,
    body: dict[str, Any],
    on_accepted: Callable[[], None],
    total_until: float,
) -> AsyncGenerator[Delta, None]:
    """What the upstream answers to `body`; ends after the Delta with `finish`, and the one with `usage` if one comes.

    Raises Fault: `again` says whether trying again may help, which is up to the caller once a token came. Closing the
    generator closes the connection at once. `total_until` is in the event loop's time.
    """
    patience = Patience(options, total_until)
    # ASCII, so that there is no text which cannot be encoded.
    sent = client.build_request("POST", options.url + path, content=json.dumps(body).encode("ascii"))
    sent.headers["Content-Type"] = "application/json"
    with _named_faults(patience):
        async with asyncio.timeout_at(patience.until):
            response = await client.send(sent, stream=True)
        try:
            if response.status_code != 200:
                raise await _refused(response, body["model"], options, patience)
            on_accepted()
            async with aclosing(_deltas(response, patience, options, body["model"])) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            await response.aclose()


async def _deltas(
    response: httpx.Response, patience: Patience, options: UpstreamOptions, model: str
) -> AsyncGenerator[Delta, None]:
    if "json" in response.headers.get("content-type", "").partition(";")[0]:
        # Asked for a stream, it answers as a whole all the same.
        whole = await _whole(response, patience, options.max_answer_bytes)
        delta = _delta(read_object(whole), model, options)
        yield delta if delta.finish is not None else replace(delta, finish="stop")
        return
    finished = done = False
    reader = EventReader()
    async with aclosing(_pieces(response, patience, options.max_answer_bytes, lambda: finished)) as pieces:
        async for piece in _ended(pieces):
            # Behind the end only the connection's own end is waited for, so that it can be used again.
            for data in [] if done else reader.close() if piece is None else reader.feed(piece):
                done = done or data.strip() == DONE
                delta = (
                    Delta(finish=None if finished else "stop", done=True)
                    if done
                    else _delta(read_object(data), model, options)
                )
                finished = finished or delta.finish is not None
                patience.heard(delta)
                yield delta
                if done:
                    break
    if not finished:
        raise Fault(EngineError("the upstream's answer broke off before its end"), again=True)


async def _ended(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes | None, None]:
    """`pieces`, and None after the last one."""
    async for piece in pieces:
        yield piece
    yield None


async def _whole(response: httpx.Response, patience: Patience, most: int) -> bytes:
    async with aclosing(_pieces(response, patience, most)) as pieces:
        return b"".join([piece async for piece in pieces])


def _delta(data: dict[str, Any], model: str, options: UpstreamOptions) -> Delta:
    error = error_of(data)
    if error is not None:
        raise error_in_stream(_discreet(error, options), model)
    return delta_of(data)


def _discreet(error: dict[str, Any], options: UpstreamOptions) -> dict[str, Any]:
    """An upstream's error without the key, which some quote."""
    if options.key is None:
        return error
    return {**error, "message": str(error.get("message") or "").replace(options.key.get_secret_value(), "***")}


async def _pieces(
    response: httpx.Response, patience: Patience, most: int, finished: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes, None]:
    """The body as it comes. What goes wrong once the answer `finished` costs only its counts, so it is the end."""
    size = 0
    async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes())) as pieces:
        while True:
            try:
                async with asyncio.timeout_at(patience.until):
                    piece = await anext(pieces, None)
            except (TimeoutError, httpx.HTTPError):
                if finished():
                    return
                raise
            if piece is None:
                return
            size += len(piece)
            if size > most:
                raise Fault(EngineError(f"the upstream's answer is longer than {most:,} bytes, and was broken off"))
            yield piece


async def _refused(response: httpx.Response, model: str, options: UpstreamOptions, patience: Patience) -> Fault:
    try:
        error = error_of(read_object(await _whole(response, patience, MAX_ERROR))) or {}
    except (Fault, WireError, TimeoutError, httpx.HTTPError):
        error = {}  # the status alone says enough
    return refusal(response.status_code, response.headers, _discreet(error, options), model)


@contextmanager
def _named_faults(patience: Patience) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise patience.fault() from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Fault(EngineError(f"the upstream cannot be reached: {cause(error)}"), True, unreachable=True) from None
    except httpx.HTTPError as error:
        raise Fault(EngineError(f"the connection to the upstream broke: {cause(error)}"), again=True) from None
    except WireError as error:
        raise Fault(EngineError(f"the upstream sent {error}"), again=True) from None


def cause(error: Exception) -> str:
    """In a few words."""
    names = {"ConnectTimeout": "it takes too long to connect", "RemoteProtocolError": "it ended without an answer"}
    if (known := names.get(type(error).__name__)) is not None:
        return known
    root: BaseException | None = error
    while root is not None:
        if isinstance(root, OSError) and root.errno is not None and root.errno in errno.errorcode:
            return os.strerror(root.errno)  # asyncio's own words hold the address
        root = root.__cause__ or root.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__

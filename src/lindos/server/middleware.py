"""What happens to every request before and after its route: a name, a clock, a size limit, the last resort."""

from __future__ import annotations

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lindos.server.errors import ApiError, as_api_error

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestFrame:
    """Names the request (`x-request-id`, the client's own where it sent a sane one) and times it.

    `openai-processing-ms` is the time to the first byte of the answer. Also the last resort: what no handler knew
    becomes a 500 of the usual shape, with the usual headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        asked = Headers(scope=scope).get("x-request-id", "")
        name = asked if _REQUEST_ID.fullmatch(asked) else f"req_{secrets.token_hex(16)}"
        begun = False

        async def framed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = name
                headers["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - started)))
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except Exception as error:
            response = as_api_error(error).response()
            if begun:  # too late for another status; the server then closes the connection
                raise
            await response(scope, receive, framed)


class BodyLimit:
    """Refuses a request longer than `limit` bytes with 413: by its announced length, or once it has sent more."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._limit:
            raise self._too_large()
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the request is larger than {self._limit:,} bytes, which is the most this server takes")

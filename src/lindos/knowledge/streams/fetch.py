"""Fetching over HTTP: bounded in bytes, unpacked bytes and time, whatever the server sends."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import urlsplit

import httpx

from lindos.knowledge.streams.stream import LostError, MalformedError
from lindos.knowledge.streams.words import now

MAX_BODY = 8 << 20
"""Bytes of an answer, packed or unpacked."""
MAX_WAIT = 24 * 3600
"""Seconds that a server may ask us to stay away."""
MAX_REDIRECTS = 5
HEADERS = {"User-Agent": "lindos", "Accept-Encoding": "gzip, deflate"}
TIMEOUT = httpx.Timeout(30, connect=10)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer."""

    url: str
    """Where it came from in the end."""
    moved: str | None
    """Where the server wants to be asked from now on."""
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def wait(self) -> float | None:
        """Seconds that the server asks us to stay away; None where it does not."""
        return retry_after(self.headers.get("retry-after"))


@cache
def _trust() -> ssl.SSLContext:
    """Whom to trust, read once: it takes as long as many a request."""
    return httpx.create_ssl_context()


def client(timeout: httpx.Timeout = TIMEOUT) -> httpx.AsyncClient:
    """A client for one stream."""
    return httpx.AsyncClient(headers=HEADERS, timeout=timeout, follow_redirects=False, verify=_trust())


async def fetch(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str] | None = None, *, limit: int = MAX_BODY
) -> Fetched:
    """Get an address, following a few redirects, never from https back to http.

    Raises LostError when there is no answer, and MalformedError when there is too much of one.
    """
    moved: str | None = None
    permanent = True
    try:
        for _ in range(MAX_REDIRECTS + 1):
            async with http.stream("GET", url, headers=dict(headers or {})) as answer:
                if answer.is_redirect and answer.has_redirect_location:
                    onward = str(httpx.URL(url).join(answer.headers["location"]))
                    _allowed(url, onward)
                    permanent = permanent and answer.status_code in (301, 308)
                    url, moved = onward, onward if permanent else moved
                    # What was meant for one host is not told another.
                    headers = None if urlsplit(onward).netloc != answer.url.netloc.decode() else headers
                    continue
                body = await _read(answer, limit)
                return Fetched(url, moved, answer.status_code, answer.headers, body)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError, ValueError) as error:
        if isinstance(error, MalformedError):
            raise
        raise LostError(f"no answer from {urlsplit(url).hostname}: {error or type(error).__name__}") from None
    raise LostError(f"{url} leads from one address to the next")


def _allowed(url: str, onward: str) -> None:
    schemes = urlsplit(url).scheme, urlsplit(onward).scheme
    if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
        raise LostError(f"{url} leads to {onward}, where nobody should go")


async def _read(answer: httpx.Response, limit: int) -> bytes:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise MalformedError(f"packed as {encoding}, which was not asked for")
    # 32 more than the largest window: the header says whether it is gzip or zlib.
    unpack = None if encoding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)
    body = bytearray()
    taken = 0
    async for chunk in answer.aiter_raw():
        taken += len(chunk)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, limit + 1 - len(body))
        except zlib.error:
            raise MalformedError("packed wrongly") from None
        if taken > limit or len(body) > limit:
            raise MalformedError(f"more than {limit:,} bytes")
    if unpack is not None and taken and not unpack.eof:  # a 304 may say how the body that it has not is packed
        raise MalformedError("packed wrongly: it breaks off")
    return bytes(body)


def retry_after(value: str | None, at: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header (seconds, or a date), within bounds; None where it says nothing."""
    if not value:
        return None
    try:
        wait = (
            float(value) if value.strip().isdigit() else (parsedate_to_datetime(value) - (at or now())).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), MAX_WAIT)

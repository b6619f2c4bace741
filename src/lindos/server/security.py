"""Who may speak to the server, and what browsers may do with its pages."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lindos.server.errors import ApiError
from lindos.server.settings import Settings, is_loopback

COOKIE = "lindos_session"
SESSION_PATH = "/api/session"
_OPEN = ("/health", "/ready", SESSION_PATH)
_SAFE = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, guarded)


class Guard:
    """Refuses requests by a name this server does not have, from other sites' pages, or without the key."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._key = settings.api_key.get_secret_value() if settings.api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            self._check_key(scope, headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """A page of another site that had its name point to this machine (DNS rebinding) still sends that name."""
        if not self._settings.local:
            return  # the key guards
        name = _host_name(headers.get("host", ""))
        if not is_loopback(name) and name not in self._settings.allowed_hosts:
            raise ApiError(403, f"this server does not go by the name '{name}'; --allow-host adds one")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Browsers send along which site's page speaks; on what changes something, it must be ours.

        Programs that carry the key are told from pages by it: no foreign page knows it.
        """
        by_key = self._key is not None and scope["path"].startswith("/v1/")
        if scope["method"] in _SAFE or by_key:
            return
        origin = headers.get("origin")
        if origin is None:
            foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        else:
            # A proxy may put its own name for us into Host; the browser's stands in Origin.
            place = _netloc(origin)
            foreign = place != headers.get("host", "").lower() and _host_name(place) not in self._settings.allowed_hosts
        if foreign:
            raise ApiError(403, "a page of another site may not use this server", code="foreign_origin")

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        path: str = scope["path"]
        if self._key is None or path in _OPEN or not path.startswith(("/v1/", "/api/", "/openapi.json")):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._key):
            return
        # The cookie is for the page alone, so that no program's API can be reached by a browser's habit of sending it.
        if path.startswith("/api/") and _same(_cookie(headers), session_token(self._key)):
            return
        raise ApiError(
            401,
            "this server wants its API key: send it as 'Authorization: Bearer KEY'"
            if not given
            else "that is not this server's API key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def session_token(key: str) -> str:
    """What the page's cookie holds: proof of the key, which does not give the key away and ends when it is changed."""
    return hmac.new(key.encode(), b"lindos page session", hashlib.sha256).hexdigest()


def key_matches(settings: Settings, given: str) -> bool:
    """Whether `given` is the key; takes as long for a nearly right one as for a wrong one."""
    return settings.api_key is not None and _same(given, settings.api_key.get_secret_value())


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""

"""The ways in which a replay can ask: the assistant itself, or a route of the API, as its clients do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lindos.assistant.assistant import Assistant
from lindos.specs import nearest
from lindos.storage import Database

RouteName = Literal["responses", "chat", "completions"]
DIRECT = ("direct", "page")
"""No route: the assistant is asked without an API between."""
ROUTES: Mapping[str, RouteName] = {
    "responses": "responses",
    "chat": "chat",
    "chat.completions": "chat",
    "chat_completions": "chat",
    "completions": "completions",
}
STREAM = "+stream"


@dataclass(frozen=True)
class Route:
    """A route of the API, and whether its answers are streamed."""

    name: RouteName
    stream: bool = False


@dataclass(frozen=True)
class RoutedAsk:
    """A question for a route."""

    text: str
    route: Route
    persona: str
    language: str
    """Empty: that of the question."""
    max_tokens: int
    request: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request's body, by the names they have on this route."""


class RouteAsker(Protocol):
    """Asks over routes; returns what a replay prints of an answer, without its index.

    Raises SpecError for a request that the route refuses, EngineError where there was no answer.
    """

    async def __call__(self, ask: RoutedAsk, /) -> dict[str, Any]: ...


OpenAsker = Callable[[Assistant, Database], AbstractAsyncContextManager[RouteAsker]]
"""Puts the API before an assistant; the database is where it keeps its answers."""


def route_of(line: Mapping[str, Any]) -> Route | None:
    """The route that a question is to go; None: to the assistant itself, also where it names none of ours."""
    wanted = line.get("route")
    if not isinstance(wanted, str):
        return None
    name = _name_of(wanted)
    if name not in ROUTES:
        return None
    return Route(ROUTES[name], stream=wanted.endswith(STREAM) or line.get("stream") is True)


def unknown(line: Mapping[str, Any]) -> str:
    """What to say of a route that is none: timelines of others may have names of their own. Empty: nothing."""
    wanted = line.get("route")
    if wanted is None or (isinstance(wanted, str) and _name_of(wanted) in (*ROUTES, *DIRECT)):
        return ""
    close = nearest(wanted, (*ROUTES, *DIRECT)) if isinstance(wanted, str) and wanted else None
    hint = f"; did you mean '{close}'?" if close else ""
    known = f"known are {', '.join((*ROUTES, *DIRECT))}, and the API's with '{STREAM}'"
    return f"there is no route {wanted!r}{hint} ({known}); the assistant itself is asked"


def _name_of(wanted: str) -> str:
    """Without what says only that it is streamed, and as a path of the API is written."""
    return wanted.removesuffix(STREAM).removeprefix("/").removeprefix("v1/").replace("/", ".")

"""Foreign text, made fit to be kept: characters, lengths, times, languages, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from lindos.knowledge.streams.stream import MalformedError

MAX_TEXT = 20_000
"""Characters of a post that are kept; longer ones are articles."""
MAX_NAME = 2_000
"""Bytes of a URI, an author, a link: what an index of PostgreSQL takes (2,704), with room."""
MAX_LINKS = 50
AHEAD = timedelta(minutes=10)
"""How far a claimed time may lie ahead of our clock."""
EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LANGUAGE = re.compile(r"([A-Za-z]{2,8})(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
# No database keeps a NUL; other control characters say nothing in a post and much to a terminal.
_CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)])


def now() -> datetime:
    """Our clock."""
    return datetime.now(UTC)


def whole(value: Any, what: str) -> str:
    """A string without lone surrogates. Raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is no text")
    if _SURROGATE.search(value):
        raise MalformedError(f"{what} has half characters")
    return value


def named(value: Any, what: str) -> str:
    """A string that can be a name: not empty, one line, short enough for an index. Raises MalformedError."""
    name = whole(value, what)
    if not name or name != name.strip() or name.translate(_CONTROL) != name or "\n" in name:
        raise MalformedError(f"{what} cannot be a name")
    if len(name.encode()) > MAX_NAME:
        raise MalformedError(f"{what} is longer than {MAX_NAME} bytes")
    return name


def mended(text: str) -> str:
    """The text with lone surrogates replaced, for sources that promise nothing."""
    return _SURROGATE.sub("\ufffd", text)


def kept(text: str) -> str:
    """What is kept of a post's text: line ends as \\n, no control characters, bounded."""
    return text.replace("\r\n", "\n").translate(_CONTROL).replace("\r", "\n")[:MAX_TEXT].strip()


def moment(value: Any) -> datetime | None:
    """An ISO 8601 time in UTC; None for what is no time. One that names no zone is taken as UTC."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def seconds(value: Any) -> datetime | None:
    """A Unix time as UTC; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def claimed(at: datetime | None, seen_at: datetime) -> datetime | None:
    """A claimed time that can be true; None where it lies ahead of `seen_at`, or before there were posts."""
    return at if at is not None and EARLIEST <= at <= seen_at + AHEAD else None


def language(value: Any) -> str:
    """The language of a tag (`en` of `en-US`), empty for what is no tag."""
    found = _LANGUAGE.fullmatch(value) if isinstance(value, str) else None
    return found[1].lower() if found else ""


def links(values: Iterable[Any]) -> tuple[str, ...]:
    """The web addresses among `values`, each once, in order."""
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str) and is_web(value):
            found[value] = None
            if len(found) == MAX_LINKS:
                break
    return tuple(found)


def is_web(address: str) -> bool:
    """Whether something is a plain http or https address of bearable length, and nothing that a page would run."""
    return (
        address[:8].lower().startswith(("http://", "https://"))
        and len(address) <= MAX_NAME
        and address.isprintable()
        and not any(c in address for c in ' <>"`\\')
        and len(address.encode()) <= MAX_NAME
    )

"""What a feed lists, as feedparser understands it."""

from __future__ import annotations

import calendar
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from io import BytesIO
from typing import Any

import feedparser

from lindos.knowledge.streams.html import html_text
from lindos.knowledge.streams.stream import MalformedError
from lindos.knowledge.streams.words import MAX_NAME, kept, language, links, mended

MAX_ENTRIES = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that a feed lists."""

    id: str
    text: str
    links: tuple[str, ...]
    created_at: datetime | None
    language: str

    @property
    def mark(self) -> str:
        """By which a changed text is told."""
        return blake2b("\n".join((self.text, *self.links)).encode(), digest_size=4).hexdigest()


def read_feed(body: bytes, content_type: str, url: str) -> list[Entry]:
    """The entries of a feed in its own order. Raises MalformedError for what is none."""
    headers = {"content-type": content_type, "content-location": url}
    try:
        # As a file: of plain bytes feedparser would first try whether they name one of this machine's.
        found = feedparser.parse(BytesIO(body), response_headers=headers, sanitize_html=False)
    except Exception as error:  # noqa: BLE001 - a parser of whatever the web holds, which fails in whatever way
        raise MalformedError(f"no feed: {type(error).__name__}") from None
    if not found.entries and not found.get("version"):
        raise MalformedError("no feed")
    spoken = language(found.feed.get("language"))
    listed = found.entries[:MAX_ENTRIES]
    linked = Counter(entry.get("link") for entry in listed)
    entries: dict[str, Entry] = {}
    for entry in listed:
        read = _entry(entry, spoken, by_link=linked[entry.get("link")] == 1)
        if read is not None:
            entries.setdefault(read.id, read)  # of two that are called the same the latter is older
    return list(entries.values())


def _entry(entry: Any, spoken: str, *, by_link: bool) -> Entry | None:
    """An entry; one without an id is known by its link where no other has that, else by what it says."""
    title, _ = _text(entry.get("title_detail"))
    contents = entry.get("content") or [entry.get("summary_detail")]
    body, addresses = _text(contents[0])
    text = body if body.startswith(title) else f"{title}\n\n{body}" if body else title
    link = entry.get("link")
    identity = _identity(entry.get("id") or (link if by_link else None) or f"{link or ''} {title or text}")
    if not identity or not text:
        return None
    return Entry(
        id=identity,
        text=kept(text),
        links=links([link, *addresses]),
        created_at=_time(entry),
        language=language((contents[0] or {}).get("language")) or spoken,
    )


def _text(detail: Any) -> tuple[str, tuple[str, ...]]:
    if not detail or not isinstance(detail.get("value"), str):
        return "", ()
    value = mended(detail["value"])
    return html_text(value) if "html" in str(detail.get("type")) else (kept(value), ())


def _identity(value: Any) -> str:
    """An entry's id as one line; a digest where it is too long for a name."""
    line = " ".join(kept(mended(value)).split()) if isinstance(value, str) else ""
    return line if len(line.encode()) <= MAX_NAME // 2 else blake2b(line.encode(), digest_size=16).hexdigest()


def _time(entry: Any) -> datetime | None:
    """When an entry says that it was published; feedparser gives times in UTC."""
    # As a plain dict: feedparser's own takes one for the other, and warns that it will not any more.
    parsed = dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed")
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC) if parsed else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None

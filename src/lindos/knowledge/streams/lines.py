"""Lines of JSON: our own record, replays' posts, edits and deletes, and Jetstream v1 as it is recorded."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from lindos.knowledge.post import Change, Deleted, Edited, Post
from lindos.knowledge.streams.bluesky import read_json
from lindos.knowledge.streams.jetstream1 import event_changes
from lindos.knowledge.streams.stream import Counters, MalformedError
from lindos.knowledge.streams.words import claimed, kept, language, links, moment, named, whole


class LineReader:
    """Turns lines into changes. Times of ours (`seen_at`, `edited_at`) are now, unless a file is trusted with them."""

    def __init__(self, source: str, counters: Counters, *, keep_times: bool = False) -> None:
        self._source = source
        self._counters = counters
        self._keep_times = keep_times

    def read(self, line: bytes, now: datetime) -> tuple[Change, ...]:
        """What a line came to; nothing where it tells of no post. Raises MalformedError."""
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise MalformedError("not UTF-8") from None
        record = read_json(text)
        if "kind" in record and "did" in record:
            return event_changes(record, self._at(record, "at", now), self._counters, source=self._source)
        if "post" in record:
            return (self._post(_object(record, "post"), self._at(record, "at", now)),)
        if "edit" in record:
            return (_edit(_object(record, "edit"), self._at(record, "at", now)),)
        if "delete" in record:
            uri = named(_object(record, "delete").get("uri"), "uri")
            return (Deleted(uri, self._at(record, "at", now)),)
        if "uri" in record:
            return (self._post(record, self._at(record, "seen_at", now)),)
        if record.keys() & {"event", "ask", "model"}:
            return ()
        raise MalformedError('neither a post ("uri", "author", "text") nor an edit, a delete or an event of Jetstream')

    def _at(self, record: dict[str, Any], key: str, now: datetime) -> datetime:
        """Our time of a line: what it says where it is trusted with that and can be right, else now."""
        at = claimed(moment(record.get(key)), now) if self._keep_times else None
        return min(at, now) if at is not None else now

    def _post(self, record: dict[str, Any], seen_at: datetime) -> Post:
        created_at = claimed(moment(record.get("created_at")), seen_at)
        self._counters.misdated += created_at is None
        addresses = record.get("links")
        reply_to, handle = record.get("reply_to"), record.get("handle")
        return Post(
            source=self._source,
            uri=named(record.get("uri"), "uri"),
            author=named(record.get("author"), "author"),
            text=kept(whole(record.get("text"), "text")),
            seen_at=seen_at,
            created_at=created_at,
            handle=named(handle, "handle") if handle else "",
            language=language(record.get("language") or record.get("lang")),
            links=links(addresses) if isinstance(addresses, list) else (),
            reply_to=named(reply_to, "reply_to") if reply_to else None,
        )


def exported(post: Post) -> str:
    """A post as a line that `LineReader` takes."""
    fields = {
        "uri": post.uri,
        "source": post.source,
        "author": post.author,
        "handle": post.handle,
        "text": post.text,
        "created_at": _iso(post.created_at),
        "seen_at": _iso(post.seen_at),
        "edited_at": _iso(post.edited_at),
        "language": post.language,
        "links": list(post.links),
        "reply_to": post.reply_to,
    }
    return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record[key]
    if not isinstance(value, dict):
        raise MalformedError(f'"{key}" is no object')
    return value


def _edit(record: dict[str, Any], at: datetime) -> Edited:
    addresses = record.get("links")
    return Edited(
        uri=named(record.get("uri"), "uri"),
        text=kept(whole(record.get("text"), "text")),
        at=at,
        links=links(addresses) if isinstance(addresses, list) else (),
        language=language(record.get("language") or record.get("lang")),
    )

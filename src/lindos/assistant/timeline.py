"""The lines of a timeline: reading them, and what each of them tells to have happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lindos.assistant.settlement import Event
from lindos.knowledge import Change, Deleted, Edited, Post
from lindos.specs import SpecError


def event_of(record: Any, where: str) -> Event:
    if not isinstance(record, Mapping):
        raise SpecError(f"{where}: an event is an object (got {record!r})")
    return Event.parse({name: record[name] for name in Event.model_fields if name in record}, where=f"{where}, event")


def change_of(line: Mapping[str, Any], at: datetime, where: str) -> Change | None:
    """The change to the store that a line tells; None where it tells none."""
    for name, make in (("post", _post), ("edit", _edit), ("delete", _delete)):
        if name in line:
            record = line[name]
            if not isinstance(record, Mapping) or not isinstance(record.get("uri"), str):
                raise SpecError(f"{where}: a {name} is an object with a uri (got {record!r})")
            return make(record, at)
    return None


def _post(record: Mapping[str, Any], at: datetime) -> Post:
    links = record.get("links")
    return Post(
        source="replay",
        uri=record["uri"],
        author=str(record.get("author") or ""),
        text=str(record.get("text") or ""),
        seen_at=at,
        created_at=_claimed(record.get("created_at")),
        language=str(record.get("lang") or ""),
        links=tuple(str(link) for link in links) if isinstance(links, list) else (),
        reply_to=str(record["reply_to"]) if record.get("reply_to") else None,
    )


def _edit(record: Mapping[str, Any], at: datetime) -> Edited:
    return Edited(uri=record["uri"], text=str(record.get("text") or ""), at=at)


def _delete(record: Mapping[str, Any], at: datetime) -> Deleted:
    return Deleted(uri=record["uri"], at=at)


def _claimed(value: Any) -> datetime | None:
    """A time that a post claims; what is none is left out, as streams do."""
    try:
        return moment(value, "created_at") if value else None
    except SpecError:
        return None


def moment(value: Any, where: str) -> datetime:
    """A time: ISO 8601 (without a zone it is UTC), or seconds since 1970. Raises SpecError."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        raise SpecError(f"{where}: '{value}' is no time; write it like 2031-05-04T21:14:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, empty ones as empty objects. Raises SpecError that names the line which is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            lines.append({})
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise SpecError(f"{path}, line {number}: not an object")
        lines.append(record)
    return lines

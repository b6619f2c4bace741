"""Event: something that will have one outcome, which nobody may announce before it is settled."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from lindos.assistant.basis import EventState
from lindos.specs import Spec, SpecError

SETTLED_STATES: tuple[EventState, ...] = ("called", "certified")


def _aware(value: datetime) -> datetime:
    """A moment without a zone is meant in UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError("a moment is written like 2031-05-04T21:14:00Z")
    return value


def _trimmed(value: Any) -> Any:
    return "" if value is None else value


RECENT = timedelta(days=60)
"""How long after its end an event that is not settled is still a live one, and what "the election" means."""
EVENT_ID = r"^[^\x00-\x20/\x7f]+( [^\x00-\x20/\x7f]+)*$"
LONGEST_ID = 128
"""In characters."""
_NULLABLE = WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 300}, {"type": "null"}]})
"""Null is taken for nothing."""
Moment = Annotated[datetime, AfterValidator(_aware), BeforeValidator(_no_number)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class Event(Spec):
    """One entry of the register, as its operator wrote it; every change is a whole new record."""

    id: Annotated[str, Field(pattern=EVENT_ID, max_length=LONGEST_ID)]
    kind: Line = "election"
    """election, verdict, award, match, death or any other word; it shapes how an outcome is worded."""
    title: Line
    """What it is called, for people."""
    match: Annotated[tuple[Line, ...], Field(max_length=64)] = ()
    """Phrases by which posts and questions are known to be about it; the title is one, too."""
    jurisdiction: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=300), BeforeValidator(_trimmed), _NULLABLE
    ] = ""
    """The place it is decided in."""
    opens: Moment
    closes: Moment
    """Nobody can know the outcome before this."""
    state: EventState = "scheduled"
    authoritative: Annotated[tuple[Line, ...], Field(max_length=256)] = ()
    """Handles or domains whose own posts count as calls."""
    quorum: Annotated[int, Field(ge=1, le=256)] = 2
    """How many of them have to name the same outcome."""
    outcome: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=300), BeforeValidator(_trimmed), _NULLABLE
    ] = ""
    """Given by the operator together with the states called and certified."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.closes < self.opens:
            raise ValueError(f"closes ({self.closes:%Y-%m-%d %H:%M}) is before opens ({self.opens:%Y-%m-%d %H:%M})")
        return self

    @property
    def settled(self) -> bool:
        """Whether its operator says so, outcome included."""
        return self.state in SETTLED_STATES and bool(self.outcome)

    @property
    def phrases(self) -> tuple[str, ...]:
        """All by which it is known."""
        return tuple(dict.fromkeys((*self.match, self.title)))


def read_events(path: Path) -> list[Event]:
    """The events of a TOML file: a table `[[event]]` each, or one event's fields alone. Raises SpecError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {error}") from None
    if "event" not in table:
        return [Event.parse(table, where=str(path))]
    entries = table["event"]
    if not isinstance(entries, list) or set(table) != {"event"}:
        raise SpecError(f"{path}: a file of several events has a table [[event]] for each, and nothing else")
    events = [Event.parse(entry, where=f"{path}, event {number}") for number, entry in enumerate(entries, 1)]
    twice = {event.id for event in events if sum(other.id == event.id for other in events) > 1}
    if twice:
        raise SpecError(f"{path}: there is more than one event '{min(twice)}'")
    return events


def event_toml(events: list[Event]) -> str:
    """The events as a file that `read_events` reads back."""
    return "\n".join(_table(event) for event in events)


def _table(event: Event) -> str:
    lines = ["[[event]]"]
    for name, value in event.model_dump(mode="json").items():
        if name in ("opens", "closes"):
            lines.append(f"{name} = {getattr(event, name).isoformat().replace('+00:00', 'Z')}")
        elif isinstance(value, list):
            lines.append(f"{name} = [{', '.join(_quoted(item) for item in value)}]")
        elif value != "":
            lines.append(f"{name} = {_quoted(value) if isinstance(value, str) else value}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in plain) + '"'

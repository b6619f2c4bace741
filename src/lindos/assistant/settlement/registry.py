"""The register of events: every record that was ever written, in order, and when it took away an earlier outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select

from lindos.assistant.settlement.event import Event
from lindos.storage import Database, NotFound
from lindos.storage.event_tables import EventRow


@dataclass(frozen=True)
class Record:
    """A state of the register for one event."""

    event: Event
    at: datetime
    """When it was written."""
    cleared_at: datetime | None
    """Calls of sources seen before this do not count any more."""
    number: int


class Registry:
    """Events in the database. What is written is never changed: an event is its latest record."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._known: tuple[int, dict[str, Record]] = (-1, {})

    async def all(self) -> list[Record]:
        """The latest record of every event, in the order of their closing."""
        async with self._database.read() as session:
            newest = await session.scalar(select(func.max(EventRow.number))) or 0
            if newest != self._known[0]:
                latest = select(func.max(EventRow.number)).group_by(EventRow.event_id)
                rows = await session.scalars(select(EventRow).where(EventRow.number.in_(latest)))
                records = {row.event_id: _record(row) for row in rows if row.record}
                self._known = (newest, records)
        return sorted(self._known[1].values(), key=lambda record: (record.event.closes, record.event.id))

    async def get(self, event_id: str) -> Record:
        """The latest record of one event. Raises NotFound."""
        for record in await self.all():
            if record.event.id == event_id:
                return record
        raise NotFound(f"there is no event '{event_id}'")

    async def history(self, event_id: str) -> list[Record]:
        """All records of one event, the oldest first. Raises NotFound."""
        async with self._database.read() as session:
            statement = select(EventRow).where(EventRow.event_id == event_id).order_by(EventRow.number)
            records = [_record(row) for row in await session.scalars(statement) if row.record]
        if not records:
            raise NotFound(f"there is no event '{event_id}'")
        return records

    async def put(self, event: Event, *, cleared_at: datetime | None = None) -> Record:
        """Write a record; `cleared_at` is when it takes away earlier outcomes (see standing.clearing)."""
        row = EventRow(event_id=event.id, at=self._clock(), cleared_at=cleared_at, record=event.model_dump_json())
        async with self._database.write() as session:
            session.add(row)
            await session.flush()
            return _record(row)

    async def remove(self, event_id: str) -> None:
        """Take an event out; its history stays in the database. Raises NotFound."""
        await self.get(event_id)
        async with self._database.write() as session:
            session.add(EventRow(event_id=event_id, at=self._clock(), cleared_at=None, record=""))

    async def revision(self) -> int:
        """A number that grows with every record."""
        async with self._database.read() as session:
            return await session.scalar(select(func.max(EventRow.number))) or 0


def _record(row: EventRow) -> Record:
    # Written by ourselves, possibly by an older Lindos: unknown fields would be a newer one's.
    return Record(
        Event.parse(json.loads(row.record), where=f"event {row.event_id}"), row.at, row.cleared_at, row.number
    )

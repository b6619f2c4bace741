"""The table of the register of events."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lindos.storage.tables import Table, UtcDateTime, now


class EventRow(Table):
    """One record of one event; the latest one counts, an empty one takes the event out."""

    __tablename__ = "event_records"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(String(128))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    cleared_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    record: Mapped[str] = mapped_column(Text)
    """The event as JSON."""

    __table_args__ = (Index(None, "event_id", "number"), {"sqlite_autoincrement": True})

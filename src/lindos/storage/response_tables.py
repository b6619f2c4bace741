"""The tables of kept responses."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lindos.storage.tables import Table, UtcDateTime, now


class ResponseRow(Table):
    """One answer, with what it was asked in and what it rests on."""

    __tablename__ = "responses"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Random, so that an address tells nothing about others."""
    previous_id: Mapped[str | None] = mapped_column(String(64), default=None)
    """The one that it goes on from. No foreign key: that one may be deleted, which is then told whoever goes on."""
    body: Mapped[str] = mapped_column(Text)
    """JSON: the response as it was sent, without its output."""
    basis: Mapped[str] = mapped_column(Text, default="")
    """JSON: what the assistant's answer rests on, with places in the text that was shown; empty for a bare model's."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    __table_args__ = (Index(None, "previous_id"), Index(None, "created_at"))


class ResponseItemRow(Table):
    """An item of its input or its output, by its place: the input first."""

    __tablename__ = "response_items"

    response_id: Mapped[str] = mapped_column(ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    item_id: Mapped[str] = mapped_column(String(128))
    """Not unique: what clients send back keeps its name."""
    output: Mapped[bool]
    body: Mapped[str] = mapped_column(Text)
    """JSON."""

    __table_args__ = (Index(None, "item_id"),)

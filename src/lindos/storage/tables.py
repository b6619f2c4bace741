"""The tables. A change here wants a migration beside it; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

State = Literal["done", "writing", "stopped", "interrupted", "failed"]
"""Of a message. writing: its answer is under way; stopped: by the reader; interrupted: the server ended meanwhile."""

STATES: tuple[State, ...] = ("done", "writing", "stopped", "interrupted", "failed")


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, also where the database (SQLite) keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """The base of every table; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ConversationRow(Table):
    """One conversation. Its messages form a tree; `leaf_id` says which branch is shown."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random, so that an address tells nothing about others."""
    title: Mapped[str] = mapped_column(Text, default="")
    folded: Mapped[str] = mapped_column(Text, default="")
    """The title as search compares it."""
    persona: Mapped[str] = mapped_column(String(64), default="")
    leaf_id: Mapped[int | None] = mapped_column(default=None)
    """The last message of the branch that is shown. No foreign key: it would make a circle with messages."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    __table_args__ = (Index(None, "updated_at"),)


class MessageRow(Table):
    """One turn. Messages with the same parent are versions of each other: edits of a question, tries at an answer."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id"), default=None)
    """No cascade: SQLite gives up on one deeper than a thousand turns. Messages go with their conversation."""
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text, default="")
    folded: Mapped[str] = mapped_column(Text, default="")
    """The content as search compares it."""
    state: Mapped[str] = mapped_column(String(16), default="done")
    error: Mapped[str] = mapped_column(Text, default="")
    """Why it failed, for people."""
    persona: Mapped[str] = mapped_column(String(64), default="")
    model: Mapped[str] = mapped_column(Text, default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    dropped: Mapped[int] = mapped_column(default=0)
    """How many of the oldest messages did not fit the model's context when this was written."""
    seconds: Mapped[float] = mapped_column(Double, default=0.0)
    """From the first token to the last."""
    finish: Mapped[str] = mapped_column(String(16), default="")
    basis: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """What an answer rests on, as JSON of whoever wrote it; empty where that is nothing."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    __table_args__ = (
        Index(None, "conversation_id", "id"),
        Index(None, "parent_id"),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        CheckConstraint(f"state IN ({', '.join(map(repr, STATES))})", name="state"),
        # Deleting a conversation must not hand its messages' numbers to another one's.
        {"sqlite_autoincrement": True},
    )

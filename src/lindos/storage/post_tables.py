"""The tables of posts. What search looks words up in is made by the migration, for each database its own way."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import sqlalchemy
from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from lindos.storage.tables import Table, UtcDateTime

KEY_BYTES = 16
"""Of the digest by which URIs and names are found; they may be longer than what databases index."""

INDEX_TABLE = "post_words"
"""SQLite: an FTS5 table (and those it keeps itself, named after it). PostgreSQL: (id, tsvector), with a GIN index."""

_Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite wants INTEGER for what is to be its rowid
_Name = Text().with_variant(Text(collation="C"), "postgresql")  # ranges of names go by code points, as in SQLite


class AuthorRow(Table):
    """Somebody who posts."""

    __tablename__ = "post_authors"

    id: Mapped[int] = mapped_column(_Big, primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary(KEY_BYTES))
    author: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(_Name)
    """Of the author's id in the order of names (knowledge/names.py)."""
    handle: Mapped[str] = mapped_column(Text)
    handle_place: Mapped[str | None] = mapped_column(_Name)
    handle_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Since when the handle is known."""

    __table_args__ = (Index(None, "key", unique=True), Index(None, "place"), Index(None, "handle_place"))


class PostRow(Table):
    """A post, as it stands now. The id is made of the moment it was seen, so their order is one."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(_Big, primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary(KEY_BYTES))
    source: Mapped[str] = mapped_column(Text)
    uri: Mapped[str] = mapped_column(Text)
    author_id: Mapped[int] = mapped_column(_Big, ForeignKey("post_authors.id"))
    text: Mapped[str] = mapped_column(Text)
    links: Mapped[str] = mapped_column(Text)
    """A JSON list; empty for none."""
    reply_to: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)
    cursor: Mapped[str | None] = mapped_column(Text)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "key", unique=True), Index(None, "author_id", "id"))


class EarlyRow(Table):
    """What was told of a post before the post itself came."""

    __tablename__ = "post_early"

    key: Mapped[bytes] = mapped_column(LargeBinary(KEY_BYTES), primary_key=True)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    text: Mapped[str] = mapped_column(Text)
    links: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)


class TakedownRow(Table):
    """The last takedown of an author, to know it again when a stream repeats itself."""

    __tablename__ = "post_takedowns"

    author_id: Mapped[int] = mapped_column(_Big, ForeignKey("post_authors.id"), primary_key=True, autoincrement=False)
    source_key: Mapped[bytes] = mapped_column(LargeBinary(KEY_BYTES), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class StreamRow(Table):
    """Where a stream was left."""

    __tablename__ = "post_streams"

    key: Mapped[bytes] = mapped_column(LargeBinary(KEY_BYTES), primary_key=True)
    stream: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(Text)


class PostStateRow(Table):
    """One row: what is counted as posts come and go. Whoever writes posts holds its lock."""

    __tablename__ = "post_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    living: Mapped[int] = mapped_column(BigInteger)
    posts: Mapped[int] = mapped_column(BigInteger)
    """How many there ever were; part of the next one's id."""
    authors: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger)
    vectors: Mapped[int] = mapped_column(BigInteger)
    """How many vectors were ever made."""


class VectorRow(Table):
    """What a post means, as a unit vector of float16."""

    __tablename__ = "post_vectors"

    id: Mapped[int] = mapped_column(_Big, ForeignKey("posts.id"), primary_key=True, autoincrement=False)
    serial: Mapped[int] = mapped_column(BigInteger)
    """Grows from vector to vector, so that those made since can be asked for."""
    vector: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (Index(None, "serial", unique=True),)


STATE_ID = 1


def _table(row: type[Table]) -> sqlalchemy.Table:
    return cast(sqlalchemy.Table, row.__table__)


# Thousands of rows a second are written without making an object of each.
AUTHORS = _table(AuthorRow)
POSTS = _table(PostRow)
EARLY = _table(EarlyRow)
TAKEDOWNS = _table(TakedownRow)
STREAMS = _table(StreamRow)
STATE = _table(PostStateRow)
VECTORS = _table(VectorRow)

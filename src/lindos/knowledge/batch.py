"""A batch of changes, worked out in memory and written in a few statements.

What the batch touches is read once; the changes are then applied to that in order, as if the database were a few
dictionaries; what came of it is written back. Writers take the lock of the counters first, so nothing moves meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.bulk import Values, insert_rows, rows_by_key
from lindos.knowledge.names import handle_place, place
from lindos.knowledge.post import Change, Deleted, Edited, Post, Renamed, TakenDown
from lindos.knowledge.records import (
    SERIAL_BITS,
    chunks,
    claimed_moment,
    clean,
    key_of,
    moment,
    packed_links,
    post_id,
)
from lindos.knowledge.wordindex import WordIndex
from lindos.storage.post_tables import AUTHORS, EARLY, POSTS, STATE, STATE_ID, STREAMS, TAKEDOWNS, VECTORS

_ERASED = {"text": "", "links": ""}
_CHANGING = ("text", "links", "language", "edited_at", "deleted_at")


class Batch:
    """Changes under way in one transaction. `created` and its neighbours count what they came to."""

    def __init__(self, connection: AsyncConnection, index: WordIndex) -> None:
        self._connection = connection
        self._index = index
        self._counters: Values = {}
        self.created = self.edited = self.deleted = self.repeated = 0
        self.changed = False
        """Whether a reader could see a difference."""

    async def run(self, changes: Sequence[Change], cursors: Mapping[str, str]) -> int:
        """Apply all of it; returns the revision that the store has then."""
        statement = select(STATE).where(STATE.c.id == STATE_ID).with_for_update()
        self._counters = dict((await self._connection.execute(statement)).mappings().one())
        # Takedowns go by author: they want to find what came before them written down.
        for taking_down, part in groupby(changes, key=lambda change: isinstance(change, TakenDown)):
            if taking_down:
                await self._take_down([change for change in part if isinstance(change, TakenDown)])
            else:
                for piece in chunks(part):
                    await self._apply(piece)
        await self._move(cursors)
        if self.changed:
            self._counters["revision"] += 1
        self._counters["living"] += self.created - self.deleted
        await self._connection.execute(update(STATE).where(STATE.c.id == STATE_ID).values(**self._counters))
        return self._counters["revision"]

    async def _apply(self, changes: Sequence[Change]) -> None:
        piece = _Piece(self._counters)
        uris = {key_of(change.uri) for change in changes if isinstance(change, Post | Edited | Deleted)}
        names = {key_of(change.author) for change in changes if isinstance(change, Post | Renamed)}
        piece.posts = await rows_by_key(self._connection, POSTS, uris)
        piece.early = await rows_by_key(self._connection, EARLY, uris - piece.posts.keys())
        piece.authors = await rows_by_key(self._connection, AUTHORS, names)
        await asyncio.to_thread(piece.apply, changes)  # off the event loop, where answers are streamed
        await self._free_ids(piece)
        await self._write(piece)
        self.created += piece.created
        self.edited += piece.edited
        self.deleted += piece.deleted
        self.repeated += piece.repeated
        self.changed |= bool(piece.new_posts or piece.altered_posts or piece.altered_authors)

    async def _free_ids(self, piece: _Piece) -> None:
        """Number posts on whose ids are taken: by ones of the same millisecond, a million posts ago."""
        if self._counters["posts"] >> SERIAL_BITS == 0:
            return
        new = [piece.posts[key] for key in piece.new_posts]
        while new:
            ids = [row["id"] for row in new]
            taken = set(await self._connection.scalars(select(POSTS.c.id).where(POSTS.c.id.in_(ids))))
            new = [row for row in new if row["id"] in taken]
            for row in new:
                row["id"] = post_id(row["seen_at"], self._counters["posts"])
                self._counters["posts"] += 1

    async def _write(self, piece: _Piece) -> None:
        await insert_rows(self._connection, AUTHORS, [piece.authors[key] for key in piece.new_authors])
        await self._update(
            AUTHORS,
            [piece.authors[key] for key in piece.altered_authors],
            ("handle", "handle_place", "handle_at"),
        )
        await self._replace(EARLY, EARLY.c.key, piece.altered_early, piece.early.values())
        new = [piece.posts[key] for key in piece.new_posts]
        altered = [piece.posts[key] for key in piece.altered_posts]
        living = {row["id"]: row["text"] for row in new + altered if row["deleted_at"] is None}
        await self._write_posts(new, altered)
        # Before, not while the database works: both want Python's lock, and hand it over at every row.
        await self._index.add(self._connection, await asyncio.to_thread(self._index.prepare, living))

    async def _write_posts(self, new: list[Values], altered: list[Values]) -> None:
        await insert_rows(self._connection, POSTS, new)
        await self._update(POSTS, altered, _CHANGING)
        await self._forget([row["id"] for row in altered])

    async def _take_down(self, changes: Sequence[TakenDown]) -> None:
        # Somebody never met is written down, too: the stream may say it again after their first post.
        piece = _Piece(self._counters)
        piece.authors = await rows_by_key(self._connection, AUTHORS, {key_of(change.author) for change in changes})
        authors = [piece.authors[piece.author(change.author)]["id"] for change in changes]
        await insert_rows(self._connection, AUTHORS, [piece.authors[key] for key in piece.new_authors])
        for author, change in zip(authors, changes, strict=True):
            if await self._is_repeated(author, change):
                continue
            statement = select(POSTS.c.id).where(POSTS.c.author_id == author, POSTS.c.deleted_at.is_(None))
            if change.source:
                statement = statement.where(POSTS.c.source == clean(change.source))
            ids = list(await self._connection.scalars(statement))
            rows = [{"id": number, "deleted_at": moment(change.at), **_ERASED} for number in ids]
            await self._update(POSTS, rows, ("deleted_at", *_ERASED))
            await self._forget(ids)
            self.deleted += len(ids)
            self.changed |= bool(ids)

    async def _is_repeated(self, author: int, change: TakenDown) -> bool:
        """Whether a stream says again what it said before: what the author wrote since then is not meant."""
        row = {"author_id": author, "source_key": key_of(change.source), "at": moment(change.at)}
        same = (TAKEDOWNS.c.author_id == author, TAKEDOWNS.c.source_key == row["source_key"])
        before = await self._connection.scalar(select(TAKEDOWNS.c.at).where(*same))
        if before is not None and row["at"] <= before:
            return True
        await self._connection.execute(delete(TAKEDOWNS).where(*same))
        await insert_rows(self._connection, TAKEDOWNS, [row])
        return False

    async def _move(self, cursors: Mapping[str, str]) -> None:
        rows = {
            key_of(stream): {"key": key_of(stream), "stream": clean(stream), "place": clean(at)}
            for stream, at in cursors.items()
        }
        await self._replace(STREAMS, STREAMS.c.key, rows, rows.values())

    async def _forget(self, ids: Sequence[int]) -> None:
        """Drop what was made of posts' texts."""
        if ids:
            await self._index.remove(self._connection, ids)
            await self._connection.execute(
                delete(VECTORS).where(VECTORS.c.id == bindparam("_id")), [{"_id": number} for number in ids]
            )

    async def _update(self, table: Any, rows: Sequence[Values], columns: Iterable[str]) -> None:
        if rows:
            statement = update(table).where(table.c.id == bindparam("_id"))
            statement = statement.values({column: bindparam(f"_{column}") for column in columns})
            await self._connection.execute(
                statement, [{"_id": row["id"], **{f"_{column}": row[column] for column in columns}} for row in rows]
            )

    async def _replace(self, table: Any, column: Any, gone: Iterable[bytes], rows: Iterable[Values]) -> None:
        """Put rows in the place of those with the keys `gone`; of `rows`, only they are written."""
        keys = set(gone)
        if keys:
            await self._connection.execute(
                delete(table).where(column == bindparam("_key")), [{"_key": key} for key in keys]
            )
            await insert_rows(self._connection, table, [row for row in rows if row["key"] in keys])


class _Piece:
    """The changes of a batch, applied to rows in memory."""

    def __init__(self, counters: Values) -> None:
        self._counters = counters
        self.posts: dict[bytes, Values] = {}
        self.early: dict[bytes, Values] = {}
        self.authors: dict[bytes, Values] = {}
        self.new_posts: dict[bytes, None] = {}  # a set that keeps its order
        self.altered_posts: dict[bytes, None] = {}
        self.new_authors: dict[bytes, None] = {}
        self.altered_authors: dict[bytes, None] = {}
        self.altered_early: dict[bytes, None] = {}
        self.created = self.edited = self.deleted = self.repeated = 0

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case Post():
                self._post(change)
            case Edited():
                self._edit(change)
            case Deleted():
                self._delete(change)
            case Renamed():
                self._rename(self.author(change.author), clean(change.handle), moment(change.at))

    def _post(self, post: Post) -> None:
        key = key_of(post.uri)
        if key in self.posts:
            self.repeated += 1
        else:
            self._create(key, post)
        if post.deleted_at is not None:
            self._delete(Deleted(post.uri, post.deleted_at))

    def _create(self, key: bytes, post: Post) -> None:
        seen_at = moment(post.seen_at)
        author = self.author(post.author)
        if post.handle:
            self._rename(author, clean(post.handle), seen_at)
        row = {
            "id": post_id(seen_at, self._counters["posts"]),
            "key": key,
            "source": clean(post.source),
            "uri": clean(post.uri),
            "author_id": self.authors[author]["id"],
            "text": clean(post.text),
            "links": packed_links(post.links),
            "reply_to": None if post.reply_to is None else clean(post.reply_to),
            "language": clean(post.language),
            "cursor": None if post.cursor is None else clean(post.cursor),
            "seen_at": seen_at,
            "created_at": claimed_moment(post.created_at),
            "edited_at": claimed_moment(post.edited_at),
            "deleted_at": None,
        }
        early = self.early.pop(key, None)
        if early is not None:
            self.altered_early[key] = None
            row |= _told_before(early, row)
        self._counters["posts"] += 1
        self.posts[key] = row
        self.new_posts[key] = None
        self.created += row["deleted_at"] is None

    def author(self, author: str) -> bytes:
        """The key of somebody, who is known from then on."""
        key = key_of(author)
        if key not in self.authors:
            self._counters["authors"] += 1
            name = clean(author)
            self.authors[key] = {
                "id": self._counters["authors"],
                "key": key,
                "author": name,
                "place": place(name),
                "handle": "",
                "handle_place": None,
                "handle_at": None,
            }
            self.new_authors[key] = None
        return key

    def _rename(self, author: bytes, handle: str, at: datetime) -> None:
        row = self.authors[author]
        if row["handle_at"] is not None and at < row["handle_at"]:
            return
        if handle != row["handle"] and author not in self.new_authors:
            self.altered_authors[author] = None
        if handle != row["handle"] or row["handle_at"] is None:
            row |= {"handle": handle, "handle_place": handle_place(handle), "handle_at": at}

    def _edit(self, change: Edited) -> None:
        key, at = key_of(change.uri), moment(change.at)
        row = self.posts.get(key)
        known = row is not None
        if row is None:
            row = self.early.get(key) or {"key": key, "deleted_at": None, "edited_at": None, "language": "", **_ERASED}
        if row["deleted_at"] is not None or (row["edited_at"] is not None and at < row["edited_at"]):
            return
        said = {"text": clean(change.text), "links": packed_links(change.links), "edited_at": at}
        said["language"] = clean(change.language) or row["language"]
        # Who says the same again has edited nothing. Of a post that is still to come all is news.
        if all(row[column] == value for column, value in said.items() if not known or column != "edited_at"):
            return
        row |= said
        if known:
            self._alter(key)
            self.edited += 1
        else:
            self.early[key] = row
            self.altered_early[key] = None

    def _delete(self, change: Deleted) -> None:
        key, at = key_of(change.uri), moment(change.at)
        row = self.posts.get(key)
        if row is None:
            before = self.early.get(key)
            if before is None or before["deleted_at"] is None:
                self.early[key] = {"key": key, "deleted_at": at, "edited_at": None, "language": "", **_ERASED}
                self.altered_early[key] = None
        elif row["deleted_at"] is None:
            row |= {"deleted_at": at, **_ERASED}
            self._alter(key)
            self.deleted += 1

    def _alter(self, key: bytes) -> None:
        if key not in self.new_posts:
            self.altered_posts[key] = None


def _told_before(early: Values, row: Values) -> Values:
    """What a row becomes by what was told of its post before."""
    if early["deleted_at"] is not None:
        return {"deleted_at": early["deleted_at"], **_ERASED}
    if row["edited_at"] is not None and row["edited_at"] > early["edited_at"]:
        return {}
    said = {column: early[column] for column in ("text", "links", "edited_at")}
    return {**said, "language": early["language"] or row["language"]}

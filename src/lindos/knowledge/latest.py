"""The latest posts of certain authors, kept in memory for as long as nothing changes them.

Every question to the assistant wants to know what dozens of sources posted: to ask for all of that anew, source by
source, would take longer than the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.finding import post_rows
from lindos.knowledge.names import Places, places, within
from lindos.knowledge.post import Post
from lindos.knowledge.records import chunks, clean, first_id, post_of
from lindos.storage import Database
from lindos.storage.post_tables import POSTS, STATE, STATE_ID

AT_ONCE = 100
"""Authors that one statement asks for; SQLite joins at most 500 queries to one."""


class Latest:
    """Of each of several authors, named as for `Posts.by`: the `limit` latest living posts seen since `since`, which
    counts to the millisecond."""

    def __init__(self, database: Database, authors: Iterable[str], *, since: datetime, limit: int) -> None:
        self._database = database
        self._meant = {author: places([clean(author)]) for author in authors}
        self._naming = [_named(part) for part in chunks(self._meant.values(), AT_ONCE)]
        self._first = first_id(since)
        self._limit = limit
        self._revision = -1
        self._renewing = asyncio.Lock()
        self._authors: list[_Author] = []
        self._rows: list[_Row] = []
        """What there was when it was looked at last."""
        self._posts: dict[int, Post] = {}
        self._found: dict[str, tuple[Post, ...]] = dict.fromkeys(self._meant, ())

    async def posts(self) -> Mapping[str, tuple[Post, ...]]:
        """The posts of each of them, the latest first, as they are now, whichever process changed them.

        A tuple stays the same object for as long as what is in it stays the same.
        """
        async with self._renewing, self._database.read() as session:
            connection = await session.connection()
            revision = await connection.scalar(select(STATE.c.revision).where(STATE.c.id == STATE_ID)) or 0
            if revision != self._revision and self._meant:
                await self._renew(connection)
            self._revision = revision
        return self._found

    async def _renew(self, connection: AsyncConnection) -> None:
        authors: list[_Author] = []
        for statement, names in self._naming:
            authors += [_Author(*row) for row in await connection.execute(statement, names)]
        rows: list[_Row] = []
        for part in chunks(sorted({author.id for author in authors}), AT_ONCE):
            asked = {f"a{place}": number for place, number in enumerate(part)}
            asked |= {"first": self._first, "most": self._limit}
            rows += [_Row(*row) for row in await connection.execute(_latest_of(len(part)), asked)]
        if rows == self._rows and authors == self._authors:
            return
        # A handle is a part of its posts.
        known = set(self._rows) if authors == self._authors else set()
        self._posts = {row.id: self._posts[row.id] for row in rows if row in known}
        for part in chunks(row.id for row in rows if row not in known):
            for row in await connection.execute(post_rows().where(POSTS.c.id.in_(part))):
                self._posts[row.id] = post_of(row)
        self._rows, self._authors = rows, authors
        self._sort()

    def _sort(self) -> None:
        """Share the posts out among those who were asked for."""
        by_author: dict[int, list[int]] = {}
        for row in self._rows:
            by_author.setdefault(row.author_id, []).append(row.id)
        for name, meant in self._meant.items():
            theirs = {author.id for author in self._authors if author.is_meant(meant)}
            latest = sorted((number for author in theirs for number in by_author.get(author, ())), reverse=True)
            found = tuple(self._posts[number] for number in latest[: self._limit])
            if found != self._found[name]:
                self._found[name] = found


class _Author(NamedTuple):
    """Who is meant by somebody's name."""

    id: int
    place: str
    handle: str
    handle_place: str | None

    def is_meant(self, names: Places) -> bool:
        return within(self.place, names) or within(self.handle_place, names)


class _Row(NamedTuple):
    """Of a post what changes with it."""

    id: int
    author_id: int
    edited_at: Any
    text: str


# Written out, because SQLAlchemy takes longer to put such statements together than databases to answer them.


def _named(meant: Sequence[Places]) -> tuple[TextClause, dict[str, str]]:
    """Asks for the authors whose names are among those meant."""
    equal = [name for one in meant for name in one.equal] or ["="]  # which is nobody's
    ranges = [bounds for one in meant for bounds in one.ranges]
    values = {f"e{place}": name for place, name in enumerate(equal)}
    for place, (low, high) in enumerate(ranges):
        values |= {f"l{place}": low, f"h{place}": high}
    listed = ", ".join(f":e{place}" for place in range(len(equal)))
    either = [
        condition
        for name in ("place", "handle_place")
        for condition in (
            f"{name} IN ({listed})",
            *(f"{name} >= :l{place} AND {name} < :h{place}" for place in range(len(ranges))),
        )
    ]
    return text(f"SELECT id, place, handle, handle_place FROM post_authors WHERE {' OR '.join(either)}"), values


@lru_cache(maxsize=AT_ONCE)
def _latest_of(count: int) -> TextClause:
    """Asks for the latest posts of so many authors."""
    each = (
        f"SELECT * FROM (SELECT id, author_id, edited_at, text FROM posts WHERE author_id = :a{place} "
        f"AND deleted_at IS NULL AND id >= :first ORDER BY id DESC LIMIT :most) AS p{place}"
        for place in range(count)
    )
    return text(" UNION ALL ".join(each))

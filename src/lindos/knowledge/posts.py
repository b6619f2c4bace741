"""Posts: the store of what people publish; every method is one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.batch import Batch
from lindos.knowledge.finding import Hit, PostQuery, Search, latest_posts, measure, post_rows, standing
from lindos.knowledge.post import Change, Post
from lindos.knowledge.ranking import Shares
from lindos.knowledge.records import chunks, clean, key_of, post_of
from lindos.knowledge.wordindex import word_index
from lindos.storage import Database
from lindos.storage.post_tables import POSTS, STATE, STATE_ID, STREAMS

if TYPE_CHECKING:
    from lindos.knowledge.meaning import Meaning


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch of changes came to."""

    created: int = 0
    edited: int = 0
    deleted: int = 0
    repeated: int = 0
    """Posts that were there already."""


@dataclass
class _Known:
    """What a process knows of a database's posts, whoever asked."""

    revision: int = 0
    shares: Shares = field(default_factory=Shares)
    measured: int = -1
    """How many posts there ever were when the shares were measured."""


_KNOWN: WeakKeyDictionary[Database, _Known] = WeakKeyDictionary()


class Posts:
    """The store. Edits, deletions and takedowns reach every reader with the transaction that applies them.

    Text is kept as foreign as it comes, but for NUL and halves of surrogate pairs, which become U+FFFD; in URIs and in
    the names of authors, too.
    """

    def __init__(self, database: Database, *, meaning: Meaning | None = None) -> None:
        """`meaning` lets `search` find posts that say it in other words, too."""
        self._database = database
        self._meaning = meaning
        self._index = word_index(database.dialect)
        self._known = _KNOWN.setdefault(database, _Known())

    @property
    def revision(self) -> int:
        """Grows with every batch, applied in this process, that changed what readers see."""
        return self._known.revision

    async def current_revision(self) -> int:
        """The same, whichever process applied it: one short query."""
        async with self._database.read() as session:
            revision = await session.scalar(select(STATE.c.revision).where(STATE.c.id == STATE_ID))
        self._known.revision = max(self._known.revision, revision or 0)
        return self._known.revision

    async def apply(self, changes: Sequence[Change], *, cursors: Mapping[str, str] | None = None) -> Applied:
        """Apply changes in order, and remember the places of streams with them, in one transaction.

        Applying changes again changes nothing. A batch of a thousand costs little more than one change.
        """
        async with self._database.write() as session:
            batch = Batch(await session.connection(), self._index)
            revision = await batch.run(changes, cursors or {})
        self._known.revision = max(self._known.revision, revision)
        return Applied(batch.created, batch.edited, batch.deleted, batch.repeated)

    async def cursor(self, stream: str) -> str | None:
        """The place a stream was left at."""
        async with self._database.read() as session:
            return await session.scalar(select(STREAMS.c.place).where(STREAMS.c.key == key_of(stream)))

    async def cursors(self) -> dict[str, str]:
        """The places of all streams ever followed, by their names."""
        async with self._database.read() as session:
            rows = await session.execute(select(STREAMS.c.stream, STREAMS.c.place).order_by(STREAMS.c.stream))
            return {row.stream: row.place for row in rows}

    async def get(self, uris: Iterable[str]) -> dict[str, Post]:
        """The posts of those URIs that were ever met, deleted ones (with `deleted_at`, without text) included."""
        wanted = list(uris)
        found: dict[str, Post] = {}
        async with self._database.read() as session:
            for part in chunks({key_of(uri) for uri in wanted}):
                for row in await session.execute(post_rows().where(POSTS.c.key.in_(part))):
                    found[row.uri] = post_of(row)
        return {uri: found[clean(uri)] for uri in wanted if clean(uri) in found}

    async def by(
        self, authors: Sequence[str], *, since: datetime, until: datetime | None = None, limit: int = 1000
    ) -> list[Post]:
        """Living posts of certain authors seen in [since, until), the latest first.

        Each of `authors` is an author id (`did:plc:...`), a handle (`@desk.example`, `desk@host`; case and a leading @
        do not matter), or a domain, which stands for the handle that equals it, handles under it (`x.domain`) and
        accounts at it (`user@domain`). What a post links to or mentions never makes it somebody's.
        """
        if not authors or limit <= 0:
            return []
        query = PostQuery(authors=tuple(authors), since=since, until=until, limit=limit)
        async with self._database.read() as session:
            return [post_of(row) for row in await session.execute(latest_posts(query))]

    async def search(self, query: PostQuery) -> list[Hit]:
        """Living posts, the best first."""
        if query.limit <= 0:
            return []
        async with self._database.read() as session:
            connection = await session.connection()
            if not query.text.strip():
                return [Hit(post_of(row), 0.0) for row in await connection.execute(latest_posts(query))]
            known = await standing(connection)
            shares = await self._shares(connection, known.posts)
            return await Search(connection, self._index, shares, known, self._meaning).run(query)

    async def count(self) -> int:
        """How many living posts there are; answered without counting them one by one."""
        async with self._database.read() as session:
            return await session.scalar(select(STATE.c.living).where(STATE.c.id == STATE_ID)) or 0

    async def compact(self) -> None:
        """Bring the index of words into order: quicker, and without what deleted posts left in it. Takes seconds."""
        async with self._database.write() as session:
            await self._index.compact(await session.connection())

    async def _shares(self, connection: AsyncConnection, posts: int) -> Shares:
        """How common words are; measured again when a tenth of all posts is new."""
        known = self._known
        if known.measured < 0 or posts > known.measured * 1.1 + 100:
            texts = await measure(connection)
            known.shares = await asyncio.to_thread(Shares.of, texts)
            known.measured = posts  # last: whoever gives up meanwhile has measured nothing
        return known.shares

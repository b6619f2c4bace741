"""Meaning: vectors of posts, made behind the posts' backs, and the posts nearest to a question.

Posts are found by their words at once and by their meaning soon. Vectors go with the text they were made of, in the
transaction that changes or deletes it; a copy of them in memory is only ever a hint whose findings are looked up again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.records import POST_COLUMNS, SERIAL_BITS, clean
from lindos.knowledge.wordindex import Scope, freshness
from lindos.storage import Database
from lindos.storage.post_tables import AUTHORS, POSTS, STATE, STATE_ID, VECTORS

LEAST_LIKENESS = 0.3
"""Cosine below which texts have nothing to do with each other, as far as MiniLM knows."""
_BATCH = 128
_LOADED = 1024
"""Vectors read at once; the event loop waits while they are unpacked."""
_PAUSE_SECONDS = 1.0
_LATE = 60_000 << SERIAL_BITS
"""As a distance of ids, how late a post may be written: further back is looked only now and then."""
WHOLE_SECONDS = 300.0
"""How often all posts are looked at for one without a vector, such as an old one that was edited."""


class Embeds(Protocol):
    """What makes vectors of texts: lindos.knowledge.embedding.Embedder."""

    width: int

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, width]."""
        ...


class Meaning:
    """Vectors of a store's posts. `follow` keeps making them; `nearest` asks for posts like a text.

    The latest `most` posts get vectors, and about as many are held in memory, at 1.5 kB each with MiniLM.
    """

    def __init__(self, database: Database, embeds: Embeds, *, most: int = 200_000) -> None:
        self._database = database
        self._embeds = embeds
        self._near = _Near(embeds.width, most)
        self._most = most
        self._first = 0
        """The id from which on posts are looked at."""
        self._whole_at = 0.0
        """When all are looked at again."""

    async def follow(self) -> None:
        """Make vectors of whatever has none, the latest posts first, until cancelled."""
        while True:
            if not await self.embed():
                await asyncio.sleep(_PAUSE_SECONDS)

    async def embed(self) -> int:
        """Make some vectors that are missing; returns how many were looked at, 0 when none are missing."""
        async with self._database.read() as session:
            texts = await self._missing(await session.connection())
        if texts:
            vectors = await asyncio.to_thread(self._embeds, list(texts.values()))
            await self._keep(texts, vectors)
        await self.load()
        return len(texts)

    async def load(self) -> None:
        """Take vectors that were made meanwhile, here or in other processes, into memory."""
        async with self._database.read() as session:
            while await self._load(await session.connection()) == _LOADED:
                pass

    async def nearest(
        self,
        connection: AsyncConnection,
        text: str,
        scope: Scope,
        now: int,
        limit: int,
        own: Sequence[int] | None = None,
    ) -> Sequence[tuple[float, Row[*tuple[Any, ...]]]]:
        """The posts most like a text and fresh, the best first, with their likeness (a cosine) times their freshness.

        `now` is the id of the present; of `own`, where it is given, are the posts that are looked at.
        """
        await self._load(connection)
        (question,) = await asyncio.to_thread(self._embeds, [clean(text)])
        # Conditions are looked at in the database only: with some there, more than are wanted must be asked for.
        many = 10 * limit if scope.conditions else 2 * limit
        ids = await asyncio.to_thread(_nearest, *self._near.held, question, scope, now, many, own)
        asked = select(*POST_COLUMNS, VECTORS.c.vector).join_from(POSTS, AUTHORS, AUTHORS.c.id == POSTS.c.author_id)
        asked = asked.join(VECTORS, VECTORS.c.id == POSTS.c.id).where(POSTS.c.id.in_(ids), *scope.conditions)
        rows = list(await connection.execute(asked))
        found = [(float(_unpacked(row.vector) @ question), row) for row in rows]
        found = [(likeness * freshness(row.id, now), row) for likeness, row in found if likeness >= LEAST_LIKENESS]
        return sorted(found, key=lambda one: one[0], reverse=True)[:limit]

    async def _missing(self, connection: AsyncConnection) -> dict[int, str]:
        """Some posts without a vector, the latest first. All are looked at only at times: that takes long."""
        ids = select(POSTS.c.id).order_by(POSTS.c.id.desc())
        whole = time.monotonic() >= self._whole_at
        if whole:
            self._first = await connection.scalar(ids.offset(self._most - 1).limit(1)) or 0
        newest = await connection.scalar(ids.limit(1)) or 0
        missing = select(POSTS.c.id, POSTS.c.text).where(
            POSTS.c.id >= self._first, POSTS.c.deleted_at.is_(None), ~exists().where(VECTORS.c.id == POSTS.c.id)
        )
        rows = await connection.execute(missing.order_by(POSTS.c.id.desc()).limit(_BATCH))
        texts = {row.id: row.text for row in rows}
        if len(texts) < _BATCH:
            self._first = max(self._first, newest - _LATE)
            self._whole_at = time.monotonic() + WHOLE_SECONDS if whole else self._whole_at
        return texts

    async def _keep(self, texts: Mapping[int, str], vectors: NDArray[np.float32]) -> None:
        """Write vectors of those posts that say still what the vectors were made of."""
        async with self._database.write() as session:
            connection = await session.connection()
            made = await connection.scalar(select(STATE.c.vectors).where(STATE.c.id == STATE_ID).with_for_update()) or 0
            now = select(POSTS.c.id, POSTS.c.text).where(POSTS.c.id.in_(texts), POSTS.c.deleted_at.is_(None))
            same = {row.id for row in await connection.execute(now) if row.text == texts[row.id]}
            rows = [
                {"id": number, "serial": made + place, "vector": vector.astype(np.float16).tobytes()}
                for place, (number, vector) in enumerate(zip(texts, vectors, strict=True), start=1)
                if number in same
            ]
            if rows:
                gone = delete(VECTORS).where(VECTORS.c.id == bindparam("_id"))
                await connection.execute(gone, [{"_id": row["id"]} for row in rows])
                await connection.execute(insert(VECTORS), rows)
            await connection.execute(update(STATE).where(STATE.c.id == STATE_ID).values(vectors=made + len(texts)))

    async def _load(self, connection: AsyncConnection) -> int:
        newer = select(VECTORS.c.id, VECTORS.c.serial, VECTORS.c.vector).where(VECTORS.c.serial > self._near.serial)
        rows = list(await connection.execute(newer.order_by(VECTORS.c.serial).limit(_LOADED)))
        for row in rows:
            self._near.add(row.id, row.serial, _unpacked(row.vector))
        return len(rows)


def _unpacked(vector: bytes) -> NDArray[np.float32]:
    return np.frombuffer(vector, np.float16).astype(np.float32)


def _nearest(
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    question: NDArray[np.float32],
    scope: Scope,
    now: int,
    limit: int,
    own: Sequence[int] | None,
) -> list[int]:
    """The ids of the nearest vectors in a scope's times."""
    within = (ids >= scope.first) & (ids < scope.behind)
    if own is not None:
        within &= np.isin(ids, np.array(own, np.int64))
    scores = np.where(within, (vectors @ question) * freshness(ids, now), -np.inf)
    if limit < len(ids):
        best = np.argpartition(-scores, limit)[:limit]
        ids, scores = ids[best], scores[best]
    return ids[np.isfinite(scores)].tolist()


class _Near:
    """Vectors in memory. Some may be out of date: whoever asks looks again at what it finds."""

    def __init__(self, width: int, most: int) -> None:
        self._most = most
        self._count = 0
        self._ids = np.zeros(16, np.int64)
        self._vectors = np.zeros((16, width), np.float32)
        self._places: dict[int, int] = {}
        self.serial = 0
        """Of the vector taken last."""

    def add(self, number: int, serial: int, vector: NDArray[np.float32]) -> None:
        place = self._places.get(number)
        if place is None:
            if self._count == len(self._ids):
                self._make_room()
            place = self._places[number] = self._count
            self._count += 1
        self._ids[place], self._vectors[place] = number, vector
        self.serial = max(self.serial, serial)

    @property
    def held(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ids, and the vectors [ids, width]."""
        return self._ids[: self._count], self._vectors[: self._count]

    def _make_room(self) -> None:
        """Copies are made, so that whoever searches meanwhile goes on in what was there."""
        keep = np.arange(self._count)
        if self._count > self._most:
            keep = np.sort(np.argsort(self._ids[: self._count])[-self._most :])
        size = min(2 * self._count, self._most + self._most // 8 + 16)
        ids, vectors = np.zeros(size, np.int64), np.zeros((size, self._vectors.shape[1]), np.float32)
        ids[: len(keep)], vectors[: len(keep)] = self._ids[keep], self._vectors[keep]
        self._ids, self._vectors, self._count = ids, vectors, len(keep)
        self._places = {int(number): place for place, number in enumerate(ids[: len(keep)])}

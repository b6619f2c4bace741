"""The index of words: which posts hold which, in the way of the database at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, column, func, literal_column, select, table, text
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.records import SERIAL_BITS, chunks
from lindos.knowledge.words import is_beginning, words
from lindos.storage.post_tables import POSTS

MOST_SCORED = 4000
"""How many posts with a question's words are compared at most, the latest of them. A match costs about 1.5 us."""
LONG_POST = 60.0
"""Words of a post whose length halves what they tell: about what BM25 makes of it where posts have twenty."""
HALF_LIFE_HOURS = 24
"""After which a post has lost half of what freshness adds, which falls as 1 / (1 + age)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which posts are looked at."""

    first: int
    """The lowest id."""
    behind: int
    """Above the highest id."""
    conditions: tuple[ColumnElement[bool], ...] = ()
    """On columns of POSTS."""


class WordIndex(Protocol):
    """What a database must know to do."""

    async def remove(self, connection: AsyncConnection, ids: Sequence[int]) -> None:
        """Forget the words of these posts."""
        ...

    def prepare(self, texts: Mapping[int, str]) -> list[Any]:
        """What `add` takes of posts' texts: the long part of it, which wants no database."""
        ...

    async def add(self, connection: AsyncConnection, prepared: list[Any]) -> None:
        """Remember the words of posts which it does not know yet."""
        ...

    def best(self, weights: Mapping[str, float], scope: Scope, now: int, limit: int) -> Select[Any]:
        """Asks for the ids of posts with any of the words, those first that fit best and are fresh.

        `weights` say how much a word tells; `now` is the id of the present.
        """
        ...

    def latest(self, question: Sequence[str], every: bool, scope: Scope, limit: int) -> Select[Any]:
        """Asks for the ids of the latest posts with any, or with every one, of the words."""
        ...

    async def compact(self, connection: AsyncConnection) -> None:
        """Bring the index into order, and what was forgotten off the disk."""
        ...


class SqliteIndex:
    """FTS5. It holds a copy of the words, so that forgetting them needs nothing else."""

    _table = table("post_words", column("rowid", BigInteger))
    _id = _table.c.rowid
    _all = literal_column("post_words")  # as FTS5 calls all columns of a table at once

    async def remove(self, connection: AsyncConnection, ids: Sequence[int]) -> None:
        # In ascending order, here and below: FTS5 writes to the disk whenever ids turn back.
        rows = [{"id": number} for number in sorted(ids)]
        if rows:
            await connection.execute(text("DELETE FROM post_words WHERE rowid = :id"), rows)

    def prepare(self, texts: Mapping[int, str]) -> list[Any]:
        rows = [(number, " ".join(words(texts[number]))) for number in sorted(texts)]
        return [json.dumps(rows, ensure_ascii=False)] if rows else []

    async def add(self, connection: AsyncConnection, prepared: list[Any]) -> None:
        # One statement for all, during which Python is free for other work; row by row it is asked for each time.
        pair = "json_extract(value, '$[0]'), json_extract(value, '$[1]')"
        statement = f"INSERT INTO post_words (rowid, words) SELECT {pair} FROM json_each(?)"
        for rows in prepared:
            await connection.exec_driver_sql(statement, (rows,))

    def best(self, weights: Mapping[str, float], scope: Scope, now: int, limit: int) -> Select[Any]:
        # bm25 weighs words by itself; it is negative, the best the least.
        found = self._found(list(weights), " OR ", scope, func.bm25(self._all).label("score"))
        latest = found.order_by(self._id.desc()).limit(MOST_SCORED).subquery()
        return select(latest.c.rowid).order_by(latest.c.score * freshness(latest.c.rowid, now)).limit(limit)

    def latest(self, question: Sequence[str], every: bool, scope: Scope, limit: int) -> Select[Any]:
        found = self._found(question, " AND " if every else " OR ", scope)
        return found.order_by(self._id.desc()).limit(limit)

    async def compact(self, connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO post_words (post_words) VALUES ('optimize')"))

    def _found(self, question: Sequence[str], joint: str, scope: Scope, *columns: ColumnElement[Any]) -> Select[Any]:
        # Words hold letters, digits and pictures only: between quotes nothing of them is syntax.
        wanted = joint.join(f'"{word}"*' if is_beginning(word) else f'"{word}"' for word in question)
        found = select(self._id, *columns).where(self._all.op("MATCH")(wanted))
        found = found.where(self._id >= scope.first, self._id < scope.behind)
        if scope.conditions:
            found = found.join_from(self._table, POSTS, POSTS.c.id == self._id).where(*scope.conditions)
        return found


class PostgresIndex:
    """A tsvector of the words and a GIN index. How well posts fit is the sum of their words' weights."""

    _table = table("post_words", column("id", BigInteger), column("words"))
    _id = _table.c.id

    async def remove(self, connection: AsyncConnection, ids: Sequence[int]) -> None:
        for part in chunks(ids):
            await connection.execute(text("DELETE FROM post_words WHERE id = ANY(:ids)"), {"ids": part})

    def prepare(self, texts: Mapping[int, str]) -> list[Any]:
        return [{"id": number, "words": words(said)} for number, said in texts.items()]

    async def add(self, connection: AsyncConnection, prepared: list[Any]) -> None:
        if prepared:
            statement = "INSERT INTO post_words (id, words) VALUES (:id, array_to_tsvector(CAST(:words AS TEXT[])))"
            await connection.execute(text(statement), prepared)

    def best(self, weights: Mapping[str, float], scope: Scope, now: int, limit: int) -> Select[Any]:
        found = self._found(list(weights), " | ", scope, self._table.c.words)
        latest = found.order_by(self._id.desc()).limit(MOST_SCORED).subquery()
        # A word that stands in a post once counts in BM25 by its weight, less in a long post; ranking.py is exact.
        fits = [case((self._holds(latest.c.words, word), weight), else_=0.0) for word, weight in weights.items()]
        score = sum(fits[1:], start=fits[0]) / (1.0 + func.length(latest.c.words) / LONG_POST)
        return select(latest.c.id).order_by((score * freshness(latest.c.id, now)).desc()).limit(limit)

    def latest(self, question: Sequence[str], every: bool, scope: Scope, limit: int) -> Select[Any]:
        return self._found(question, " & " if every else " | ", scope).order_by(self._id.desc()).limit(limit)

    async def compact(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT gin_clean_pending_list('ix_post_words_words')"))

    def _found(self, question: Sequence[str], joint: str, scope: Scope, *columns: ColumnElement[Any]) -> Select[Any]:
        found = select(self._id, *columns).where(self._holds(self._table.c.words, *question, joint=joint))
        found = found.where(self._id >= scope.first, self._id < scope.behind)
        if scope.conditions:
            found = found.join_from(self._table, POSTS, POSTS.c.id == self._id).where(*scope.conditions)
        return found

    @staticmethod
    def _holds(vector: ColumnElement[Any], *question: str, joint: str = "") -> ColumnElement[bool]:
        # Between quotes nothing of a word is syntax: they hold letters, digits and pictures only.
        wanted = joint.join(f"'{word}':*" if is_beginning(word) else f"'{word}'" for word in question)
        return vector.op("@@")(cast(wanted, TSQUERY))


def freshness(number: Any, now: int) -> Any:
    """By what the score of a post, by its id (or a column or array of ids), is multiplied: 1 now, 1/2 long ago."""
    return 0.5 + 0.5 / (1.0 + (now - number) / float((HALF_LIFE_HOURS * 3_600_000) << SERIAL_BITS))


_INDEXES: dict[str, type[WordIndex]] = {"sqlite": SqliteIndex, "postgresql": PostgresIndex}


def word_index(dialect: str) -> WordIndex:
    """The index of a database, by the name of its dialect."""
    return _INDEXES[dialect]()

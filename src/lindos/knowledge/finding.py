"""Finding posts: what a query means in SQL, and the order of what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, literal_column, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.names import Places, places
from lindos.knowledge.post import Post
from lindos.knowledge.ranking import Shares, Sought, fused, relevance, sought
from lindos.knowledge.records import POST_COLUMNS, SERIAL_BITS, clean, first_id, moment, post_of
from lindos.knowledge.wordindex import Scope, WordIndex, freshness
from lindos.knowledge.words import question_words
from lindos.storage.post_tables import AUTHORS, POSTS, STATE, STATE_ID

if TYPE_CHECKING:
    from lindos.knowledge.meaning import Meaning

FEWEST_CANDIDATES = 60
"""Posts that are ranked word by word, at least, where there are so many."""
_SAMPLES, _SAMPLE = 16, 256
_LAST = (1 << 63) - 1
_AUTHOR = literal_column("+posts.author_id")
"""The plus keeps SQLite from going by authors where it shall go by words."""
_ID = literal_column("+posts.id")
"""Likewise, from going by time where it shall go by authors."""
FEW = 1000
"""Posts of a query's authors that are read one by one; where there are more, words find them sooner."""
MOST_OWN = 20_000
"""Posts of a query's authors that are compared by meaning, the latest of them."""


@dataclass(frozen=True, slots=True)
class PostQuery:
    """What to look for. The text is words, not a query language; nothing in it can be an error."""

    text: str = ""
    """Empty: the latest posts."""
    meaning: str = ""
    """What is meant, in a whole sentence, where `text` has only some of its words; empty: `text`."""
    since: datetime | None = None
    """Seen at or after this."""
    until: datetime | None = None
    """Seen before this."""
    authors: tuple[str, ...] = ()
    """Handles, author ids or domains, as in `Posts.by`; empty: anybody."""
    excluded_authors: tuple[str, ...] = ()
    language: str = ""
    """`en` finds `en-GB`, too; empty: any."""
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """A post that was found."""

    post: Post
    score: float
    """Larger is better; comparable within one search only."""


def post_rows() -> Select[*tuple[Any, ...]]:
    """Asks for posts as `post_of` wants them."""
    return select(*POST_COLUMNS).join_from(POSTS, AUTHORS, AUTHORS.c.id == POSTS.c.author_id)


def latest_posts(query: PostQuery) -> Select[*tuple[Any, ...]]:
    """Asks for the living posts that a query looks at, whatever they say, the latest first."""
    scope = _scope(query, POSTS.c.author_id)
    found = post_rows().where(POSTS.c.deleted_at.is_(None), POSTS.c.id >= scope.first, POSTS.c.id < scope.behind)
    # The ids are exact to the millisecond.
    if query.since is not None:
        found = found.where(POSTS.c.seen_at >= moment(query.since))
    if query.until is not None:
        found = found.where(POSTS.c.seen_at < moment(query.until))
    return found.where(*scope.conditions).order_by(POSTS.c.id.desc()).limit(query.limit)


def _scope(query: PostQuery, author: ColumnElement[int]) -> Scope:
    first = 0 if query.since is None else first_id(query.since)
    behind = _LAST if query.until is None else min(first_id(query.until) + (1 << SERIAL_BITS), _LAST)
    conditions: list[ColumnElement[bool]] = []
    if query.authors:
        conditions.append(_by(author, query.authors))
    if query.excluded_authors:
        conditions.append(not_(_by(author, query.excluded_authors)))
    if query.language:
        claimed, wanted = func.lower(POSTS.c.language), clean(query.language).lower()
        conditions.append(or_(claimed == wanted, claimed.startswith(wanted + "-", autoescape=True)))
    return Scope(first, behind, tuple(conditions))


def _by(author: ColumnElement[int], names: Sequence[str]) -> ColumnElement[bool]:
    meant = places(map(clean, names))
    by_id = select(AUTHORS.c.id).where(_among(AUTHORS.c.place, meant))
    by_handle = select(AUTHORS.c.id).where(_among(AUTHORS.c.handle_place, meant))
    return author.in_(by_id.union(by_handle))


def _among(name: ColumnElement[Any], meant: Places) -> ColumnElement[bool]:
    return or_(name.in_(meant.equal), *(and_(name >= low, name < high) for low, high in meant.ranges))


@dataclass(frozen=True, slots=True)
class Standing:
    """How much there is to search."""

    posts: int
    """How many posts there ever were."""
    living: int
    newest: int
    """The id of the newest post."""


async def standing(connection: AsyncConnection) -> Standing:
    newest = select(func.max(POSTS.c.id)).scalar_subquery()
    asked = select(STATE.c.posts, STATE.c.living, newest).where(STATE.c.id == STATE_ID)
    posts, living, last = (await connection.execute(asked)).one()
    return Standing(posts, living, last or 0)


async def measure(connection: AsyncConnection) -> list[str]:
    """Texts of living posts from all times, to measure words on."""
    living = select(POSTS.c.text).where(POSTS.c.deleted_at.is_(None)).order_by(POSTS.c.id)
    most = _SAMPLES * _SAMPLE
    texts = list(await connection.scalars(living.limit(most)))
    if len(texts) < most:
        return texts
    first, last = (await connection.execute(select(func.min(POSTS.c.id), func.max(POSTS.c.id)))).one()
    texts = []
    for sample in range(1, _SAMPLES + 1):
        spot = last - (last - first) * sample // _SAMPLES
        texts += await connection.scalars(living.where(POSTS.c.id >= spot).limit(_SAMPLE))
    return texts


Scored = tuple[float, Row[Any]]


class Search:
    """One search, for words and, where it is there, for meaning."""

    def __init__(
        self,
        connection: AsyncConnection,
        index: WordIndex,
        shares: Shares,
        standing: Standing,
        meaning: Meaning | None = None,
    ) -> None:
        self._connection = connection
        self._meaning = meaning
        self._index = index
        self._shares = shares
        self._standing = standing

    async def run(self, query: PostQuery) -> list[Hit]:
        """The best posts for a query that is not empty, the best first."""
        # Ages count from the newest post, so that a replay finds what was found then.
        now = self._standing.newest if query.until is None else first_id(query.until)
        own = await self._own(query) if query.authors else None
        best = await self._by_words(query, now, own)
        if self._meaning is not None:
            scope = _scope(query, _AUTHOR)
            alike = await self._meaning.nearest(
                self._connection, query.meaning or query.text, scope, now, self._enough(query), own
            )
            best = _fused(best, _ordered(alike, query))
        return [Hit(post_of(row), score) for score, row in best[: query.limit]]

    async def _own(self, query: PostQuery) -> list[int]:
        """The ids of posts by a query's authors, the latest first."""
        scope = _scope(query, POSTS.c.author_id)
        asked = select(POSTS.c.id).where(POSTS.c.id >= scope.first, POSTS.c.id < scope.behind, *scope.conditions)
        return list(await self._connection.scalars(asked.order_by(_ID.desc()).limit(MOST_OWN)))

    async def _by_words(self, query: PostQuery, now: int, own: Sequence[int] | None) -> list[Scored]:
        question = sought(question_words(query.text), self._shares, self._standing.living)
        weights = {word: self._shares.weight(word) for word in question.all}
        if own is not None and len(own) <= FEW:
            # Common words are in everybody's posts: looking there for the few that are meant takes ever longer.
            rows = await self._connection.execute(post_rows().where(POSTS.c.id.in_(own), POSTS.c.deleted_at.is_(None)))
            scored = [(relevance(weights, row.text, self._shares) * _fresh(row, now), row) for row in rows]
            return _ordered([one for one in scored if one[0] > 0], query)
        found: dict[int, Scored] = {}
        for asked in self._asked(question, weights, query, now):
            if len(found) >= query.limit:
                break
            for row in await self._connection.execute(_rows_of(asked)):
                found[row.id] = (relevance(weights, row.text, self._shares) * _fresh(row, now), row)
        return _ordered(found.values(), query)

    def _enough(self, query: PostQuery) -> int:
        return max(FEWEST_CANDIDATES, 2 * query.limit)

    def _asked(
        self, question: Sought, weights: Mapping[str, float], query: PostQuery, now: int
    ) -> Iterator[Select[Any]]:
        """What is asked until enough was found."""
        scope = _scope(query, _AUTHOR)
        enough = self._enough(query)
        if question.rare:
            yield self._index.best({word: weights[word] for word in question.rare}, scope, now, enough)
        if question.common:
            # Where rare words find little (they may be misspelt), the latest posts with the others stand in.
            yield self._index.latest(question.common, True, scope, enough)
        if len(question.common) > 1:
            yield self._index.latest(question.common, False, scope, enough)


def _rows_of(asked: Select[Any]) -> Select[*tuple[Any, ...]]:
    ids = asked.subquery()
    return (
        select(*POST_COLUMNS)
        .join_from(ids, POSTS, POSTS.c.id == ids.c[0])
        .join(AUTHORS, AUTHORS.c.id == POSTS.c.author_id)
    )


def _fresh(row: Row[Any], now: int) -> float:
    return freshness(first_id(row.seen_at), now)


def _ordered(found: Iterable[Scored], query: PostQuery) -> list[Scored]:
    """What is within a query's times, the best first; of equally good ones the later."""
    within = [one for one in found if _is_within(one[1].seen_at, query)]
    return sorted(within, key=lambda one: (one[0], one[1].id), reverse=True)


def _fused(*rankings: Sequence[Scored]) -> list[Scored]:
    rows = {row.id: row for ranking in rankings for _, row in ranking}
    scores = fused([row.id for _, row in ranking] for ranking in rankings)
    return sorted(
        ((score, rows[number]) for number, score in scores.items()), key=lambda one: (one[0], one[1].id), reverse=True
    )


def _is_within(seen_at: datetime, query: PostQuery) -> bool:
    """Whether a time is within a query's, to the microsecond; ids are exact to the millisecond."""
    return (query.since is None or seen_at >= moment(query.since)) and (
        query.until is None or seen_at < moment(query.until)
    )

"""Posts: the store of what people publish; every method is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lindos.knowledge.post import Change, Post
from lindos.storage import Database


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch of changes came to."""

    created: int = 0
    edited: int = 0
    deleted: int = 0
    repeated: int = 0
    """Posts that were there already."""


@dataclass(frozen=True, slots=True)
class PostQuery:
    """What to look for. The text is words, not a query language; nothing in it can be an error."""

    text: str = ""
    """Empty: the latest posts."""
    since: datetime | None = None
    """Seen at or after this."""
    until: datetime | None = None
    """Seen before this."""
    authors: tuple[str, ...] = ()
    """Handles, author ids or domains, as in `Posts.by`; empty: anybody."""
    excluded_authors: tuple[str, ...] = ()
    language: str = ""
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """A post that was found."""

    post: Post
    score: float
    """Larger is better; comparable within one search only."""


class Posts:
    """The store. Edits, deletions and takedowns reach every reader with the transaction that applies them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, changes: Sequence[Change], *, cursors: Mapping[str, str] | None = None) -> Applied:
        """Apply changes in order, and remember the places of streams with them, in one transaction."""
        raise NotImplementedError

    async def cursor(self, stream: str) -> str | None:
        """The place a stream was left at."""
        raise NotImplementedError

    async def get(self, uris: Iterable[str]) -> dict[str, Post]:
        """The posts of those URIs that were ever met, deleted ones (with `deleted_at`, without text) included."""
        raise NotImplementedError

    async def by(
        self, authors: Sequence[str], *, since: datetime, until: datetime | None = None, limit: int = 1000
    ) -> list[Post]:
        """Living posts of certain authors seen in [since, until), the latest first.

        Each of `authors` is an author id (`did:plc:...`), a handle (`@desk.example`, `desk@host`; case and a leading @
        do not matter), or a domain, which stands for the handle that equals it, handles under it (`x.domain`) and
        accounts at it (`user@domain`). What a post links to or mentions never makes it somebody's.
        """
        raise NotImplementedError

    async def search(self, query: PostQuery) -> list[Hit]:
        """Living posts, the best first."""
        raise NotImplementedError

    async def count(self) -> int:
        """How many living posts there are; answered without counting them one by one."""
        raise NotImplementedError

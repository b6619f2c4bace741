"""Posts as rows and rows as posts: what foreign text becomes before a database sees it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Row

from lindos.knowledge.post import Post
from lindos.storage.post_tables import AUTHORS, KEY_BYTES, POSTS

SERIAL_BITS = 20
"""Of a post's id: its number, by which posts of one millisecond differ. The bits above are the milliseconds."""
_LAST_MILLISECOND = (1 << (63 - SERIAL_BITS)) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
CHUNK = 1000
"""Values one statement asks for: databases have a limit, and plan once for all statements of one length."""

Item = TypeVar("Item")

POST_COLUMNS = (
    POSTS.c.id,
    POSTS.c.source,
    POSTS.c.uri,
    POSTS.c.text,
    POSTS.c.links,
    POSTS.c.reply_to,
    POSTS.c.language,
    POSTS.c.cursor,
    POSTS.c.seen_at,
    POSTS.c.created_at,
    POSTS.c.edited_at,
    POSTS.c.deleted_at,
    AUTHORS.c.author,
    AUTHORS.c.handle,
)
"""What `post_of` wants of a row of POSTS joined with AUTHORS."""


def clean(text: str) -> str:
    """What every database takes: no NUL, no half of a surrogate pair."""
    return text if text.isascii() and "\x00" not in text else _NO_TEXT.sub("\ufffd", text)


def key_of(text: str) -> bytes:
    """By which a URI or a name is found, however long it is."""
    return _short_key(text) if len(text) < 200 else _digest(text)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(clean(text).encode(), digest_size=KEY_BYTES).digest()


_short_key = lru_cache(maxsize=1 << 13)(_digest)


def moment(at: datetime) -> datetime:
    """A moment in UTC. One without a zone is taken for UTC, one outside UTC's calendar moves to its edge."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return (datetime.min if at.year == 1 else datetime.max).replace(tzinfo=UTC)


def claimed_moment(at: datetime | None) -> datetime | None:
    """As `moment`, for what others say."""
    return None if at is None else moment(at)


def first_id(at: datetime) -> int:
    """The smallest id of posts seen in the millisecond of this moment; grows with it."""
    since = moment(at) - _EPOCH
    milliseconds = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return min(max(milliseconds, 0), _LAST_MILLISECOND) << SERIAL_BITS


def post_id(at: datetime, number: int) -> int:
    """The id of the `number`th post, seen then."""
    return first_id(at) | (number & ((1 << SERIAL_BITS) - 1))


def packed_links(links: Sequence[str]) -> str:
    return json.dumps([clean(link) for link in links], ensure_ascii=False) if links else ""


def post_of(row: Row[Any]) -> Post:
    """The post that a row of POST_COLUMNS holds."""
    return Post(
        source=row.source,
        uri=row.uri,
        author=row.author,
        text=row.text,
        seen_at=row.seen_at,
        created_at=row.created_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        handle=row.handle,
        language=row.language,
        links=tuple(json.loads(row.links)) if row.links else (),
        reply_to=row.reply_to,
        cursor=row.cursor,
    )


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """The items, some at a time."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part

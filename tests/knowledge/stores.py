"""Stores of posts to test on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lindos.knowledge import Hit, Post, Posts
from lindos.storage import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Work = Callable[[Posts], Awaitable[None]]


def on_store(location: Path | str, work: Work) -> None:
    async def main() -> None:
        async with await Database.open(location) as database:
            await work(Posts(database))

    asyncio.run(main())


def at(seconds: float) -> datetime:
    """Some seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def post(uri: str, text: str = "", seconds: float = 0, *, author: str = "did:plc:ann", **fields: Any) -> Post:
    return Post(source=fields.pop("source", "test"), uri=uri, author=author, text=text, seen_at=at(seconds), **fields)


def uris(found: list[Hit] | list[Post]) -> list[str]:
    return [one.post.uri if isinstance(one, Hit) else one.uri for one in found]

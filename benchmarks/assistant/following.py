"""A process that applies posts at a rate, as a stream that is followed does, until it is ended."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from benchmarks.posts.timeline import timeline
from lindos.knowledge import Posts
from lindos.storage import Database, database_location

BATCH_SECONDS = 0.2
LONGEST = 600.0
"""Seconds after which it ends by itself."""


async def follow(data: Path, rate: float) -> None:
    """Apply `rate` posts a second, in batches as streams do."""
    posts_left = chain.from_iterable(timeline(1_000_000, seed=1))
    started, applied = time.monotonic(), 0
    async with await Database.open(database_location(data)) as database:
        posts = Posts(database)
        while (passed := time.monotonic() - started) < LONGEST:
            now = datetime.now(UTC)
            batch = []
            while applied < rate * passed:
                post = next(posts_left)
                batch.append(replace(post, uri=f"{post.uri}-live", seen_at=now, created_at=now))
                applied += 1
            await posts.apply(batch, cursors={"benchmark": str(applied)})
            await asyncio.sleep(BATCH_SECONDS)


if __name__ == "__main__":
    asyncio.run(follow(Path(sys.argv[1]), float(sys.argv[2])))

"""Meaning: vectors of posts, made while the server runs, so that answers find what is said in other words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lindos.knowledge.embedding import Embedder, embedding_files
from lindos.knowledge.meaning import Meaning
from lindos.storage import Database

log = logging.getLogger("lindos.server")

AGAIN_SECONDS = 30


@asynccontextmanager
async def understanding(database: Database) -> AsyncIterator[Meaning]:
    """Make vectors of a store's posts for the length of the block. Raises EmbeddingsMissingError."""
    embedder = await asyncio.to_thread(lambda: Embedder(embedding_files()))
    meaning = Meaning(database, embedder)
    task = asyncio.create_task(_keep(meaning), name="meaning")
    try:
        yield meaning
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _keep(meaning: Meaning) -> None:
    while True:
        try:
            await meaning.follow()
        except Exception:  # posts are found by their words meanwhile
            log.exception("no vectors of posts are made just now; trying again in %s s", AGAIN_SECONDS)
        await asyncio.sleep(AGAIN_SECONDS)

"""Following: how it ends, and what it leaves to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import pytest

from lindos.knowledge import Change, Posts
from lindos.knowledge.posts import Applied
from lindos.knowledge.streams import Batch, Counters, News, StreamError, follow, following, parse_source, parse_sources
from lindos.knowledge.streams.batching import BREATH, batched
from lindos.knowledge.streams.stream import Piece
from lindos.storage import Database, StorageError
from tests.knowledge.stores import post


class Steady:
    """Two batches at once."""

    name = "steady"

    def __init__(self) -> None:
        self.counters = Counters()

    async def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        for number in range(int(cursor or "0"), 2):
            yield Batch([post(f"x:{number}", "hello")], str(number + 1))

    def place(self, cursor: str) -> None:
        return None


class Held(Posts):
    """Does not write before it may; `fault` is raised in place of writing."""

    def __init__(self, database: Database, fault: StorageError | None = None) -> None:
        super().__init__(database)
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        self.fault = fault

    async def apply(self, changes: Sequence[Change], *, cursors: Mapping[str, str] | None = None) -> Applied:
        self.asked.set()
        await self.may.wait()
        if self.fault is not None:
            raise self.fault
        return await super().apply(changes, cursors=cursors)


def test_a_batch_under_way_is_stored_before_following_ends(tmp_path: Path):
    async def work() -> None:
        async with await Database.open(tmp_path / "lindos.db") as database:
            posts, stream = Held(database), Steady()
            task = asyncio.create_task(follow(posts, [stream]))
            await posts.asked.wait()
            task.cancel()
            await asyncio.sleep(0.05)
            assert not task.done()
            posts.may.set()
            await asyncio.wait({task})
            assert task.cancelled()
            assert (await posts.count(), await posts.cursor("steady"), stream.counters.created) == (1, "1", 1)
            await follow(posts, [stream])
            assert (await posts.count(), await posts.cursor("steady")) == (2, "2")

    asyncio.run(work())


@pytest.mark.parametrize("fault", [None, StorageError("the disk is full")])
def test_a_store_that_does_not_get_on_holds_up_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: StorageError | None
):
    """Whether it never answers or only ever refuses."""
    monkeypatch.setattr(following, "END_SECONDS", 0.1)

    async def work() -> None:
        async with await Database.open(tmp_path / "lindos.db") as database:
            posts = Held(database, fault)
            heard: list[News] = []
            task = asyncio.create_task(follow(posts, [Steady()], heard.append))
            await posts.asked.wait()
            if fault is not None:
                posts.may.set()
                await asyncio.sleep(0.05)
                assert [news.of_store for news in heard] == [True]
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert await posts.count() == 0

    asyncio.run(work())


def test_another_jetstream_is_named_by_its_address():
    assert parse_source("bluesky:wss://jet.example").name == "bluesky:jet.example"
    assert parse_source("bluesky:wss://ann:secret@jet.example:9").name == "bluesky:jet.example:9"
    assert parse_source("bluesky-v1:wss://jet.example").name == "bluesky-v1"
    with pytest.raises(StreamError, match="says already where it is"):
        parse_source("bluesky:wss://jet.example", url="wss://other.example")
    with pytest.raises(StreamError, match="there is no source"):
        parse_source("bluesky:somebody.example")
    assert len(parse_sources(["bluesky", "bluesky:wss://jet.example"])) == 2
    with pytest.raises(StreamError, match="named twice"):
        parse_sources(["bluesky-v1:wss://a.example", "bluesky-v1"])


def test_a_source_that_always_has_more_leaves_turns_to_others():
    async def work() -> None:
        async def ready() -> AsyncGenerator[Piece]:
            for number in range(1000):
                yield Piece((post(f"x:{number}"),))

        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(other())
        batches = [batch async for batch in batched(ready(), seconds=60)]
        task.cancel()
        assert sum(len(batch.changes) for batch in batches) == 1000
        assert turns >= 1000 // BREATH

    asyncio.run(work())

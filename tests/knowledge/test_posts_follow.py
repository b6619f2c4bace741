"""`lindos posts follow` as a process: killed at any moment, again and again, it has exactly the right posts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lindos.knowledge import PostQuery, Posts
from lindos.storage import Database
from tests.knowledge.servers.jetstream import Jetstream

PATIENCE = 120
ACCOUNTS = [f"did:plc:writer{n}" for n in range(7)]
LEFT = "did:plc:left"


class World:
    """What happens on a network, numbered, and what should be known of it in the end: texts by URI."""

    def __init__(self, server: Jetstream, seed: int) -> None:
        self.server = server
        self.known: dict[str, str] = {}
        self.gone: set[str] = set()
        self._random = random.Random(seed)
        self._number = 0

    def turn(self) -> None:
        """Something happens: mostly a new post, now and then an edit, a delete, nonsense, a takedown."""
        draw, did = self._random.random(), self._random.choice([*ACCOUNTS, LEFT])
        living = list(self.known)
        self._number += 1
        rkey, text = f"p{self._number}", f"post number {self._number} 🗳️"
        if draw < 0.08 and living:
            uri = self._random.choice(living)
            self.server.delete(uri.split("/")[2], uri.rpartition("/")[2])
            self._forget(uri)
        elif draw < 0.11:  # a delete that comes before its post
            self.server.delete(did, rkey)
            self.server.create(did, rkey, text)
            self.gone.add(f"at://{did}/app.bsky.feed.post/{rkey}")
        elif draw < 0.25 and living:
            uri = self._random.choice(living)
            self.server.update(uri.split("/")[2], uri.rpartition("/")[2], f"edited by {text}")
            self.known[uri] = f"edited by {text}"
        elif draw < 0.28:
            self.server.garble(
                self._random.choice(["{", "[]", '{"did":5}', "\x00", '{"$type":"message","payload":{}}'])
            )
        elif draw < 0.29:
            self.server.account(LEFT, self._random.choice(["takendown", "deactivated"]))
            for uri in [uri for uri in living if LEFT in uri]:
                self._forget(uri)
        else:
            self.server.create(did, rkey, text)
            self.known[f"at://{did}/app.bsky.feed.post/{rkey}"] = text

    def _forget(self, uri: str) -> None:
        self.gone.add(uri)
        del self.known[uri]

    async def check(self, data: Path) -> None:
        async with await Database.open(data / "lindos.db") as database:
            posts = Posts(database)
            living = await posts.search(PostQuery(limit=1_000_000))
            assert {hit.post.uri: hit.post.text for hit in living} == self.known
            assert await posts.count() == len(living) == len(self.known)
            gone = await posts.get(self.gone)
            assert all(post.deleted_at is not None and post.text == "" for post in gone.values())


async def started(*arguments: str | Path, data: Path) -> asyncio.subprocess.Process:
    command = ["-m", "lindos", "posts", "follow", *map(str, arguments), "--data", str(data)]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with open(data / "log", "ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=log, stderr=log, env=environment | {"COLUMNS": "200"}
        )


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await done():
            await asyncio.sleep(0.05)


async def kill_loop(kind: str, data: Path, kills: int, seed: int) -> None:
    moments = random.Random(seed)
    drops = random.Random(seed + 1)
    async with Jetstream(plan=lambda _: drops.choice([None, 400, 1500])) as server:
        world = World(server, seed)
        # Minutes ago: v1 goes back five seconds when it resumes, also to before it first came.
        server.create(ACCOUNTS[0], "before", "from before we came")
        server.live = True
        ended = asyncio.Event()

        async def happen() -> None:
            # What happens before a beginning is stored is nobody's loss.
            async with await Database.open(data / "lindos.db") as database:
                await until(lambda: begun(Posts(database), name(kind, server)))
            while not ended.is_set():
                for _ in range(5):
                    world.turn()
                await asyncio.sleep(0.02)

        happening = asyncio.create_task(happen())
        for _ in range(kills):
            connections = len(server.subprotocols)
            process = await started(kind, "--url", server.url, data=data)
            # From the moment of connecting on, so that kills fall on work and not on the start of Python.
            await until(lambda seen=connections: more(server, seen))
            await asyncio.sleep(moments.uniform(0, 1.2))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        ended.set()
        await happening
        server.plan = lambda _: None
        last = server.create(ACCOUNTS[0], "last", "the end")
        world.known[f"at://{ACCOUNTS[0]}/app.bsky.feed.post/last"] = "the end"
        process = await started(kind, "--url", server.url, data=data)
        place = str(last.time_us) if kind == "bluesky-v1" else f"{last.seq} {last.time_us}"
        try:
            async with await Database.open(data / "lindos.db") as database:
                await until(lambda: reached(Posts(database), name(kind, server), place))
        finally:
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        await world.check(data)


def name(kind: str, server: Jetstream) -> str:
    return kind if kind == "bluesky-v1" else f"bluesky:127.0.0.1:{server.port}"


async def begun(posts: Posts, stream: str) -> bool:
    return await posts.cursor(stream) is not None


async def connected(server: Jetstream) -> bool:
    return bool(server.subprotocols)


async def more(server: Jetstream, seen: int) -> bool:
    return len(server.subprotocols) > seen


async def reached(posts: Posts, name: str, place: str) -> bool:
    return await posts.cursor(name) == place


@pytest.mark.parametrize("kind", ["bluesky", "bluesky-v1"])
def test_killed_at_random_moments_it_has_exactly_the_right_posts(kind: str, tmp_path: Path):
    asyncio.run(kill_loop(kind, tmp_path, kills=3, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bluesky", "bluesky-v1"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_many_times_it_has_exactly_the_right_posts(kind: str, seed: int, tmp_path: Path):
    asyncio.run(kill_loop(kind, tmp_path, kills=30, seed=100 + seed))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals, tmp_path: Path):
    async def main() -> None:
        async with Jetstream() as server:
            process = await started("bluesky", "--url", server.url, data=tmp_path)
            await until(lambda: connected(server))
            server.create(ACCOUNTS[0], "a", "hello")
            async with await Database.open(tmp_path / "lindos.db") as database:
                await until(lambda: counted(Posts(database), 1))
            process.send_signal(number)
            assert await process.wait() == 0

    asyncio.run(main())
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "1 new posts" in log
    assert "1 posts are kept" in log


async def counted(posts: Posts, number: int) -> bool:
    return await posts.count() == number

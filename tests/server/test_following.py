"""A server that follows streams itself: what comes is counted and found, what goes is gone, whatever ends between."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lindos.cli.main import main
from lindos.knowledge import Posts
from lindos.knowledge.streams import Backoff, Batch, Counters
from lindos.server import Settings, following
from lindos.server.following import UNSAVED, Following, public
from lindos.specs import SpecError
from lindos.storage import Database
from tests.knowledge.stores import post
from tests.knowledge.test_posts_follow import World
from tests.server.events import ask, create
from tests.server.network import Network, network
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served, wait_until

PATIENCE = 120
NOWHERE = "http://127.0.0.1:9"
"""Where no model answers."""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as found:
        yield found


@contextmanager
def following_server(data: Path, *sources: str) -> Iterator[httpx.Client]:
    settings = Settings(port=0, data=data, personas=Path("nowhere"), follow=sources)
    with (
        served(settings, lambda: ScriptedChatModel("I do not know.")) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
    ):
        yield client


def news(client: httpx.Client) -> dict[str, Any]:
    return client.get("/api/news").json()


def count(client: httpx.Client) -> int:
    return news(client)["posts"]["count"]


def stream(client: httpx.Client) -> dict[str, Any]:
    (found,) = news(client)["streams"]
    return found


def test_a_post_that_comes_is_counted_and_found_and_one_that_is_deleted_is_gone(tmp_path: Path, net: Network):
    with following_server(tmp_path, net.source) as client:
        wait_until(lambda: stream(client)["live"], "it does not connect")
        assert stream(client) == {"name": net.name, "live": True, "words": "live, 0 new"}
        uri = net.post("ferry", "The ferry to Port Ellery is cancelled, says the harbour master.")
        wait_until(lambda: count(client) == 1, "the post does not come")
        assert stream(client)["words"].startswith("live, 1 new")
        question = "What is the latest news about the ferry to Port Ellery?"
        answer = ask(client, create(client), question)[-1][1]["answer"]
        assert "is cancelled, says the harbour master" in answer["text"]
        assert [source["uri"] for source in answer["basis"]["sources"]] == [uri]
        net.delete("ferry")
        wait_until(lambda: count(client) == 0, "the deletion does not come")
        assert "cancelled" not in ask(client, create(client), question)[-1][1]["answer"]["text"]


def test_stops_and_restarts_lose_and_double_nothing(tmp_path: Path, net: Network):
    net.jetstream.live = True
    world = World(net.jetstream, seed=11)
    draws = random.Random(11)

    def happen(number: int) -> None:
        for _ in range(number):
            net.do(world.turn)

    for _ in range(3):
        with following_server(tmp_path, net.source) as client:
            wait_until(lambda client=client: stream(client)["live"], "it does not connect")
            wait_until(lambda: place(tmp_path, net.name) is not None, "it does not begin")
            before = count(client)
            happen(draws.randrange(50, 200))
            wait_until(lambda client=client, before=before: count(client) != before, "nothing comes")
            happen(draws.randrange(50))  # while it ends
        happen(draws.randrange(100))
    last = net.do(lambda: net.jetstream.create("did:plc:writer0", "last", "the end"))
    world.known["at://did:plc:writer0/app.bsky.feed.post/last"] = "the end"
    with following_server(tmp_path, net.source):
        wait_until(lambda: place(tmp_path, net.name) == f"{last.seq} {last.time_us}", "it does not catch up")
    asyncio.run(world.check(tmp_path))


def place(data: Path, name: str) -> str | None:
    async def work() -> str | None:
        async with await Database.open(data / "lindos.db") as database:
            return await Posts(database).cursor(name)

    return asyncio.run(work())


def test_a_process_that_ends_anyhow_goes_on_where_it_was(tmp_path: Path, net: Network):
    net.jetstream.live = True
    world = World(net.jetstream, seed=12)
    for end in (signal.SIGKILL, signal.SIGTERM):
        with process(tmp_path, "--follow", net.source) as (running, client):
            wait_until(lambda client=client: stream(client)["live"], "it does not connect")
            wait_until(lambda: place(tmp_path, net.name) is not None, "it does not begin")
            before = count(client)
            for number in range(200):
                net.do(world.turn)
                if number == 100:
                    wait_until(lambda client=client, before=before: count(client) != before, "nothing comes")
            running.send_signal(end)
            assert running.wait(PATIENCE) == (0 if end == signal.SIGTERM else -end)
            assert running.stderr is not None
            assert "Traceback" not in running.stderr.read()
        for _ in range(50):
            net.do(world.turn)
    last = net.do(lambda: net.jetstream.create("did:plc:writer0", "last", "the end"))
    world.known["at://did:plc:writer0/app.bsky.feed.post/last"] = "the end"
    with process(tmp_path, "--follow", net.source):
        wait_until(lambda: place(tmp_path, net.name) == f"{last.seq} {last.time_us}", "it does not catch up")
    asyncio.run(world.check(tmp_path))


@contextmanager
def process(data: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`lindos serve`, listening; its model never comes."""
    command = [sys.executable, "-m", "lindos", "serve", "--port", "0", "--upstream", NOWHERE, "--data", str(data)]
    environment = {**os.environ, "HOME": str(data), "COLUMNS": "200"}
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stderr is not None
            found = re.search(r"http://[\d.]+:\d+", running.stderr.readline())
            assert found
            with httpx.Client(base_url=found[0], timeout=PATIENCE) as client:
                wait_until(lambda: answers(client), "it does not answer")
                yield running, client
        finally:
            running.kill()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_a_network_that_is_down_is_told_of_and_found_again(tmp_path: Path, net: Network):
    net.down()
    with following_server(tmp_path, net.source) as client:
        wait_until(lambda: "trying again in" in stream(client)["words"], "nothing is told")
        assert not stream(client)["live"]
        assert "no connection" in stream(client)["words"]
        net.up()
        wait_until(lambda: stream(client)["live"], "it does not come back")
        net.post("a", "hello")
        wait_until(lambda: count(client) == 1, "the post does not come")


def test_a_source_that_gives_up_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0.2)
    path = tmp_path / "private" / "posts.jsonl"
    with following_server(tmp_path / "data", f"file:{path}") as client:
        wait_until(lambda: "No such file" in stream(client)["words"], "nothing is told")
        assert "private" not in str(news(client)), "folders are nobody's business"
        assert stream(client)["name"] == "file:posts.jsonl"
        assert client.get("/health").status_code == 200
        path.parent.mkdir()
        path.write_text('{"uri": "x:1", "author": "desk.example", "text": "hello"}\n')
        wait_until(lambda: count(client) == 1, "the file is not read")
        assert stream(client) == {"name": "file:posts.jsonl", "live": True, "words": "live, 1 new"}


def test_a_store_that_cannot_be_written_is_told_of_and_nothing_is_lost(tmp_path: Path, net: Network):
    with following_server(tmp_path, net.source) as client:
        wait_until(lambda: stream(client)["live"], "it does not connect")
        full = "CREATE TRIGGER full BEFORE INSERT ON posts BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        execute(tmp_path, full)
        net.post("a", "hello")
        wait_until(lambda: stream(client)["words"] == UNSAVED, "nothing is told")
        assert not stream(client)["live"]
        execute(tmp_path, "DROP TRIGGER full")
        wait_until(lambda: count(client) == 1, "the post is lost")
        wait_until(lambda: stream(client)["live"], "it is still in trouble")


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "lindos.db")) as database, database:
        database.execute(statement)


class Broken:
    """A stream with an error of its own, until it is begun for the third time."""

    name = "broken"

    def __init__(self) -> None:
        self.counters = Counters()
        self.begun = 0

    async def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        self.begun += 1
        if self.begun < 3:
            raise ZeroDivisionError("secret")
        self.counters.connected = True
        yield Batch([post("x:1", "hello")], "1", ("connected",))
        await asyncio.Event().wait()

    def place(self, cursor: str) -> None:
        return None


def test_an_error_of_ours_ends_nothing(tmp_path: Path):
    async def work() -> None:
        async with await Database.open(tmp_path / "lindos.db") as database:
            posts, broken = Posts(database), Broken()
            stream = Following(posts, broken, backoff=Backoff(0.05, 0.05))
            task = asyncio.create_task(stream.run())
            said = set()
            async with asyncio.timeout(PATIENCE):
                while not stream.live or not await posts.count():
                    said.add(stream.words)
                    await asyncio.sleep(0.01)
            assert any(words.startswith(following.BROKEN) for words in said)
            assert "secret" not in str(said)
            assert stream.words == "live, 1 new"
            task.cancel()
            await asyncio.wait({task})

    asyncio.run(work())


def test_what_is_far_behind_and_where_something_is_missing_is_said(tmp_path: Path):
    broken = Broken()
    stream = Following(Posts.__new__(Posts), broken)
    broken.counters.connected = True
    broken.counters.behind, broken.counters.gaps, broken.counters.created = 3600.0, 2, 12_345
    assert stream.words == "live, 12,345 new, 60 min behind, 2 gaps"
    broken.counters.behind, broken.counters.gaps = 59.0, 1
    assert stream.words == "live, 12,345 new, 1 gap"


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["blusky"], "there is no source 'blusky'; did you mean bluesky?"),
        (["bluesky:ftp://x"], "no address of a Jetstream"),
        (["mastodon"], "did you mean mastodon:HOST?"),
        (["hackernews", "bluesky", "hackernews"], "hackernews is named twice"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "chat"])
def test_a_source_that_is_written_wrongly_is_refused_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    sources: list[str],
    words: str,
):
    with pytest.raises(SpecError, match=re.escape(words)):
        Settings.parse({"follow": sources})
    options = [part for source in sources for part in ("--follow", source)]
    monkeypatch.setattr(sys, "argv", ["lindos", verb, "--upstream", NOWHERE, "--data", str(tmp_path), *options])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "lindos.db").exists()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("feed:https://ann:pw@a.example/x.xml?key=SECRET#top", "feed:https://a.example/x.xml"),
        ("https://a.example/x?key=1 is gone for good (410)", "https://a.example/x is gone for good (410)"),
        ("no connection: wss://u:p@b.example:99/sub?cursor=1; trying again in 1.0 s", None),
        ("mastodon:a.example", "mastodon:a.example"),
        ("12/s and/or more", "12/s and/or more"),
    ],
)
def test_what_is_shown_tells_no_secrets(said: str, shown: str | None):
    assert public(said) == (shown or "no connection: wss://b.example:99/sub trying again in 1.0 s")

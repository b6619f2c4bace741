"""Both Jetstreams against a server that speaks them: resuming, gaps, slow readers, garbage."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from lindos.knowledge import Post
from lindos.knowledge.streams import StreamError
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.jetstream1 import REWIND, Jetstream1
from lindos.knowledge.streams.jetstream2 import Jetstream2
from lindos.knowledge.streams.socket import HARD_LIMIT
from tests.knowledge.servers.jetstream import Jetstream, commit, micros
from tests.knowledge.servers.memory import Memory, follow_until

ALICE, BOB = "did:plc:alice", "did:plc:bob"
VERSIONS = pytest.mark.parametrize("version", [Jetstream1, Jetstream2])


def quick() -> Backoff:
    return Backoff(0.01, 0.05)


def beginning(server: Jetstream, stream: Jetstream1 | Jetstream2) -> str:
    """A cursor from which all comes that the server has."""
    return "1" if isinstance(stream, Jetstream2) else str(micros(server.began))


@VERSIONS
def test_posts_edits_deletes_and_takedowns_arrive(version):
    async def main() -> None:
        async with Jetstream() as server:
            store, stream = Memory(), version(server.url, backoff=quick())
            store.places[stream.name] = beginning(server, stream)
            server.create(ALICE, "a", "first")
            server.create(ALICE, "b", "second")
            server.create(BOB, "c", "third")
            server.happen(BOB, "commit", commit("create", "like", None) | {"collection": "app.bsky.feed.like"})
            server.update(ALICE, "a", "first, corrected")
            server.delete(ALICE, "b")
            server.delete(ALICE, "never met")
            server.identity(ALICE, "alice.example")
            server.account(BOB, "takendown")
            server.account(ALICE, None)
            server.delete(ALICE, "never-met")
            server.create(ALICE, "d", "last")
            await follow_until(store, [stream], lambda: "d" in store.texts())
            assert store.texts() == {"a": "first, corrected", "d": "last"}
            assert store.renames() == [(ALICE, "alice.example")]
            counters = stream.counters
            assert (counters.received, counters.malformed, counters.skipped) == (12, 1, 2)
            assert (counters.created, counters.edited, counters.deleted) == (5, 1, 3)
            assert counters.at is not None
            assert abs(counters.at - stream.place(store.places[stream.name])) < timedelta(milliseconds=1)

    asyncio.run(main())


def test_what_is_asked_for():
    async def main() -> None:
        async with Jetstream() as server:
            for version in (Jetstream1, Jetstream2):
                stream = version(server.url)
                await follow_until(Memory(), [stream], lambda stream=stream: stream.counters.connected)
            assert server.paths == ["/subscribe", "/xrpc/network.bsky.jetstream.subscribeEvents"]
            assert server.asked == [
                {"wantedCollections": ["app.bsky.feed.post"]},
                {"collections": ["app.bsky.feed.post"], "kinds": ["commit", "identity", "account"]},
            ]
            assert server.subprotocols == [None, "xrpc.v1.json"]

    asyncio.run(main())


def test_version_2_goes_on_at_the_last_message_and_version_1_a_little_before():
    async def main() -> None:
        for version in (Jetstream1, Jetstream2):
            async with Jetstream(plan=lambda n: 3 if n == 0 else None) as server:
                events = [server.create(ALICE, f"p{n}", "x") for n in range(5)]
                store, stream = Memory(), version(server.url, backoff=quick())
                store.places[stream.name] = beginning(server, stream)
                await follow_until(store, [stream], lambda store=store: "p4" in store.texts())
                cursor = int(server.asked[1]["cursor"][0])
                assert cursor == (events[2].seq if version is Jetstream2 else events[2].time_us - REWIND)
                uris = [change.uri for change in store.told if isinstance(change, Post)]
                assert len(uris) > len(set(uris)) == 5
                assert stream.counters.reconnects == 1

    asyncio.run(main())


@VERSIONS
def test_a_server_that_breaks_off_again_and_again_loses_nothing(version):
    async def main() -> None:
        async with Jetstream(plan=lambda n: 1 + n * 7 % 40) as server:
            for n in range(200):
                server.create(ALICE, f"p{n}", f"text {n}")
            store, stream = Memory(), version(server.url, backoff=quick())
            store.places[stream.name] = beginning(server, stream)
            await follow_until(store, [stream], lambda: "p199" in store.texts())
            assert store.texts() == {f"p{n}": f"text {n}" for n in range(200)}
            assert stream.counters.gaps == 0
            assert stream.counters.reconnects > 4

    asyncio.run(main())


def test_a_server_that_finds_us_too_slow_is_forgiven():
    words = json.dumps({"$type": "error", "error": "ConsumerTooSlow", "message": "read faster"})

    async def main() -> None:
        async with Jetstream(plan=lambda n: 2 if n == 0 else None, farewell=lambda n: words) as server:
            for n in range(4):
                server.create(ALICE, f"p{n}", "x")
            store, stream, news = Memory(), Jetstream2(server.url, backoff=quick()), []
            store.places[stream.name] = beginning(server, stream)
            await follow_until(store, [stream], lambda: "p3" in store.texts(), news)
            assert (stream.counters.slow, stream.counters.reconnects, stream.counters.gaps) == (1, 1, 0)
            assert any("ConsumerTooSlow" in text for text in news)

    asyncio.run(main())


def test_a_cursor_that_version_2_keeps_no_more_is_a_gap_that_is_told():
    async def main() -> None:
        async with Jetstream() as server:
            for n in range(20):
                server.create(ALICE, f"p{n}", "x")
            server.kept = 10
            store, stream, news = Memory(), Jetstream2(server.url, backoff=quick()), []
            store.places[stream.name] = f"{server.log[4].seq} {server.log[4].time_us}"
            await follow_until(store, [stream], lambda: "p19" in store.texts(), news)
            assert sorted(store.texts()) == sorted(f"p{n}" for n in range(10, 20))
            assert stream.counters.gaps == 1
            assert [query["cursor"][0] for query in server.asked] == [
                str(server.log[4].seq),
                str(server.log[4].time_us),
            ]
            assert sum("there is a gap" in text for text in news) == 1

    asyncio.run(main())


def test_without_a_time_version_2_goes_on_from_now():
    async def main() -> None:
        async with Jetstream() as server:
            for n in range(20):
                server.create(ALICE, f"p{n}", "x")
            server.kept = 10
            store, stream = Memory(), Jetstream2(server.url, backoff=quick())
            store.places[stream.name] = str(server.log[4].seq)
            task = follow_until(store, [stream], lambda: "new" in store.texts())
            waiting = asyncio.create_task(task)
            while len(server.subprotocols) < 1:
                await asyncio.sleep(0.01)
            server.create(ALICE, "new", "x")
            await waiting
            assert list(store.texts()) == ["new"]
            assert stream.counters.gaps == 1
            assert "cursor" not in server.asked[1]

    asyncio.run(main())


def test_where_numbers_are_others_version_2_goes_on_by_the_time():
    async def main() -> None:
        async with Jetstream() as server:
            server.create(ALICE, "a", "x")
            store, stream, news = Memory(), Jetstream2(server.url, backoff=quick()), []
            time_us = server.log[0].time_us
            store.places[stream.name] = f"999999999 {time_us}"
            await follow_until(store, [stream], lambda: "a" in store.texts(), news)
            assert stream.counters.gaps == 0
            assert server.asked[1]["cursor"] == [str(time_us - 5_000_000)]
            assert store.places[stream.name] == f"{server.log[0].seq} {time_us}"
            assert any("others than before" in text for text in news)

    asyncio.run(main())


def test_where_numbers_are_others_and_no_time_is_known_there_is_a_gap():
    async def main() -> None:
        async with Jetstream() as server:
            server.create(ALICE, "a", "x")
            store, stream, news = Memory(), Jetstream2(server.url, backoff=quick()), []
            store.places[stream.name] = "999999999"
            waiting = asyncio.create_task(follow_until(store, [stream], lambda: "b" in store.texts(), news))
            while len(server.subprotocols) < 2:
                await asyncio.sleep(0.01)
            server.create(ALICE, "b", "x")
            await waiting
            assert list(store.texts()) == ["b"]
            assert stream.counters.gaps == 1

    asyncio.run(main())


def test_a_time_that_version_2_keeps_no_more_is_a_gap_though_no_number_was_given():
    """As after the first connection, when no message has come yet."""

    async def main() -> None:
        async with Jetstream() as server:
            for n in range(20):
                server.create(ALICE, f"p{n}", "x")
            server.kept = 10
            store, stream = Memory(), Jetstream2(server.url, backoff=quick())
            store.places[stream.name] = str(server.log[4].time_us)
            await follow_until(store, [stream], lambda: "p19" in store.texts())
            assert stream.counters.gaps == 1

    asyncio.run(main())


def test_version_1_goes_back_as_far_as_ever_after_an_outage():
    stream = Jetstream1("ws://127.0.0.1:1", backoff=quick())

    async def main() -> None:
        store = Memory()
        store.places[stream.name] = str(10**15)
        await follow_until(store, [stream], lambda: stream.counters.reconnects >= 8)

    asyncio.run(main())
    assert f"cursor={10**15 - REWIND}" in stream._address(str(10**15))


def test_version_1_that_silently_begins_later_is_found_out():
    async def main() -> None:
        async with Jetstream(began=datetime.now(UTC) - timedelta(hours=36)) as server:
            server.create(ALICE, "a", "x")
            store, stream, news = Memory(), Jetstream1(server.url, backoff=quick()), []
            store.places[stream.name] = str(server.log[0].time_us - 3600 * 10**6)
            await follow_until(store, [stream], lambda: "a" in store.texts(), news)
            assert stream.counters.gaps == 1
            assert any("60 minutes" in text for text in news)
            # Where it was left a moment before, nothing is missing.
            again, stream = Memory(), Jetstream1(server.url, backoff=quick())
            again.places[stream.name] = str(server.log[0].time_us)
            await follow_until(again, [stream], lambda: "a" in again.texts())
            assert stream.counters.gaps == 0

    asyncio.run(main())


@VERSIONS
def test_garbage_between_posts_is_counted_and_survived(version):
    async def main() -> None:
        async with Jetstream() as server:
            server.create(ALICE, "a", "x")
            for raw in ("", "{", "[]", "null", "[" * 50_000, b"\xff\xfe\xfd", "x" * (2 << 20), '{"$type":"message"}'):
                server.garble(raw)
            server.happen(ALICE, "commit", commit("create", "half", {"text": "\ud83d"}))
            server.create(ALICE, "late", "x").time_us = 2**57
            server.create(ALICE, "b", "x")
            store, stream = Memory(), version(server.url, backoff=quick())
            store.places[stream.name] = beginning(server, stream)
            await follow_until(store, [stream], lambda: "b" in store.texts())
            assert list(store.texts()) == ["a", "b"]
            assert (stream.counters.malformed, stream.counters.reconnects) == (10, 0)

    asyncio.run(main())


@VERSIONS
def test_a_message_too_large_to_be_taken_does_not_stand_in_the_way_forever(version):
    async def main() -> None:
        async with Jetstream() as server:
            server.create(ALICE, "a", "x")
            server.garble("x" * (HARD_LIMIT + 1))
            store, stream, news = Memory(), version(server.url, backoff=quick()), []
            store.places[stream.name] = beginning(server, stream)
            waiting = asyncio.create_task(follow_until(store, [stream], lambda: "b" in store.texts(), news))
            while not any("cursor" not in query for query in server.asked):
                await asyncio.sleep(0.01)
            while len(server.subprotocols) < len(server.asked):
                await asyncio.sleep(0.01)
            server.create(ALICE, "b", "x")
            await waiting
            assert stream.counters.gaps == 1
            assert stream.counters.malformed >= 2

    asyncio.run(main())


@VERSIONS
def test_a_slow_store_slows_the_reading(version):
    """What is read ahead is bounded, and so is what lies in memory."""

    async def main() -> None:
        async with Jetstream() as server:
            for n in range(8_000):
                server.create(ALICE, f"p{n}", "x" * 200)
            store, stream = Memory(seconds=0.3), version(server.url, backoff=quick())
            store.places[stream.name] = beginning(server, stream)
            await follow_until(store, [stream], lambda: len(store.batches) == 3)
            assert max(store.batches) <= 1000
            # Three batches stored, one in hand, one read ahead, and a socket's worth.
            assert stream.counters.received <= 5_200

    asyncio.run(main())


@VERSIONS
def test_a_store_that_fails_for_a_while_loses_nothing(version, monkeypatch):
    monkeypatch.setattr("lindos.knowledge.streams.following.Backoff", lambda last: Backoff(0.01, 0.02))

    async def main() -> None:
        async with Jetstream() as server:
            for n in range(10):
                server.create(ALICE, f"p{n}", "x")
            store, stream, news = Memory(failing=3), version(server.url, backoff=quick()), []
            store.places[stream.name] = beginning(server, stream)
            await follow_until(store, [stream], lambda: len(store.texts()) == 10, news)
            assert sum("the disk is full" in text for text in news) == 3
            assert "the store works again" in news
            assert stream.counters.created == 10

    asyncio.run(main())


@VERSIONS
def test_a_server_that_is_not_there_is_waited_for(version):
    async def main() -> None:
        server = Jetstream()
        async with server:
            pass
        store, stream, news = Memory(), version(server.url, backoff=quick()), []
        store.places[stream.name] = beginning(server, stream)
        server.create(ALICE, "a", "x")
        waiting = asyncio.create_task(follow_until(store, [stream], lambda: "a" in store.texts(), news))
        while stream.counters.reconnects < 3:
            await asyncio.sleep(0.01)
        async with server:
            await waiting

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "ftp://x", "ws://", "wss://[", "ws://h:99999", "http://"])
def test_an_address_that_is_none_is_refused(url):
    for version in (Jetstream1, Jetstream2):
        with pytest.raises(StreamError, match="no address"):
            version(url)


def test_cursors_of_one_server_are_not_taken_to_another():
    assert Jetstream2().name == "bluesky"
    assert Jetstream2("https://jetstream.example/").name == "bluesky:jetstream.example"
    assert Jetstream1("wss://jetstream.example").name == "bluesky-v1"

"""What becomes of changes: met twice, out of order, taken back, killed half-way; on either database."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lindos.knowledge import Applied, Deleted, Edited, Post, PostQuery, Posts, Renamed, TakenDown
from lindos.storage import Database
from tests.knowledge.stores import NOON, at, on_store, post, uris

Location = Path | str


def test_what_is_told_is_kept(location: Location):
    whole = Post(
        source="bluesky",
        uri="at://did:plc:ann/app.bsky.feed.post/1",
        author="did:plc:ann",
        text="Lindos is on Rhodes — see for yourself 🏛",
        seen_at=at(1.234567),
        created_at=datetime(2026, 3, 1, 13, 0, 1, tzinfo=timezone(timedelta(hours=1))),
        handle="ann.example",
        language="en",
        links=("https://rhodes.example/?a=1", "https://lindos.example"),
        reply_to="at://did:plc:bob/app.bsky.feed.post/9",
        cursor="17",
    )
    bare = Post(source="test", uri="u:2", author="bob", text="", seen_at=at(2))

    async def work(posts: Posts) -> None:
        assert await posts.apply([whole, bare], cursors={"bluesky": "17"}) == Applied(created=2)
        assert await posts.get([whole.uri, "u:2", "u:3"]) == {whole.uri: whole, "u:2": bare}
        assert await posts.count() == 2
        assert await posts.cursor("bluesky") == "17"
        assert await posts.cursor("mastodon:host") is None

    on_store(location, work)
    on_store(location, lambda posts: _is_there(posts, whole))


async def _is_there(posts: Posts, wanted: Post) -> None:
    assert (await posts.get([wanted.uri]))[wanted.uri] == wanted


def test_a_post_met_again_stays_as_it_was_met_first(location: Location):
    async def work(posts: Posts) -> None:
        first = post("u:1", "first words")
        await posts.apply([first, post("u:1", "within the batch", 1)])
        revision = posts.revision
        assert await posts.apply([post("u:1", "second words", 2)]) == Applied(repeated=1)
        assert (await posts.get(["u:1"]))["u:1"] == first
        assert await posts.search(PostQuery("second")) == []
        assert (await posts.count(), posts.revision) == (1, revision)

    on_store(location, work)


def test_an_edit_replaces_words_and_links_everywhere(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", "the harbour is open", links=("https://a.example",), language="en")])
        change = Edited("u:1", "the lighthouse is shut", at(5), links=("https://b.example",))
        assert await posts.apply([change]) == Applied(edited=1)
        (found,) = await posts.search(PostQuery("lighthouse"))
        assert found.post.text == "the lighthouse is shut"
        assert (found.post.links, found.post.language) == (("https://b.example",), "en")
        assert (found.post.edited_at, found.post.seen_at) == (at(5), NOON)
        assert await posts.search(PostQuery("harbour")) == []
        assert await posts.apply([change]) == Applied()

    on_store(location, work)


def test_an_older_edit_does_not_undo_a_newer_one(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", "one"), Edited("u:1", "three", at(30))])
        assert await posts.apply([Edited("u:1", "two", at(20))]) == Applied()
        await posts.apply([Edited("u:2", "three", at(30)), Edited("u:2", "two", at(20))])
        await posts.apply([post("u:2", "one", 40)])
        assert {one.text for one in (await posts.get(["u:1", "u:2"])).values()} == {"three"}

    on_store(location, work)


def test_an_edit_that_comes_before_its_post_wins(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([Edited("u:1", "as it should read", at(9), language="en")])
        assert await posts.get(["u:1"]) == {}
        assert await posts.count() == 0
        assert await posts.apply([post("u:1", "as it read", 3, language="fr")]) == Applied(created=1)
        kept = (await posts.get(["u:1"]))["u:1"]
        assert kept == post("u:1", "as it should read", 3, edited_at=at(9), language="en")
        assert uris(await posts.search(PostQuery("should"))) == ["u:1"]
        assert (await posts.apply([Edited("u:1", "at last", at(10))])).edited == 1

    on_store(location, work)


def test_early_edits_of_several_posts_stay_apart(location: Location):
    """One known from the database beside one that is new."""

    async def work(posts: Posts) -> None:
        await posts.apply([Edited("u:1", "one", at(5), language="en")])
        await posts.apply([Edited("u:1", "one more", at(6)), Edited("u:2", "two words", at(6), language="en")])
        await posts.apply([Deleted("u:3", at(6)), Edited("u:2", "two more", at(7))])
        await posts.apply([post(f"u:{n}", "as it read", n) for n in (1, 2, 3)])
        found = await posts.get(["u:1", "u:2", "u:3"])
        assert [found[uri].text for uri in found] == ["one more", "two more", ""]
        assert [(found[uri].language, found[uri].links) for uri in ("u:1", "u:2")] == [("en", ())] * 2
        assert uris(await posts.search(PostQuery("more"))) == ["u:2", "u:1"]

    on_store(location, work)


@pytest.mark.parametrize("together", [True, False])
def test_what_is_deleted_before_it_comes_stays_deleted(location: Location, together: bool):
    changes = [
        Edited("u:1", "never to be read", at(1)),
        Deleted("u:1", at(2)),
        Edited("u:1", "nor this", at(3)),
        post("u:1", "nor the first words", 4, links=("https://a.example",)),
        Edited("u:1", "nor this", at(5)),
    ]

    async def work(posts: Posts) -> None:
        for batch in [changes] if together else [[change] for change in changes]:
            await posts.apply(batch)
        assert (await posts.get(["u:1"]))["u:1"] == post("u:1", "", 4, deleted_at=at(2))
        assert await posts.search(PostQuery("read words this")) == []
        assert await posts.search(PostQuery()) == []
        assert await posts.count() == 0

    on_store(location, work)


def test_a_deletion_takes_text_and_links_at_once(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", "regrettable words", links=("https://a.example",)), post("u:2", "other words")])
        assert await posts.apply([Deleted("u:1", at(5)), Deleted("u:1", at(6))]) == Applied(deleted=1)
        assert (await posts.get(["u:1"]))["u:1"] == post("u:1", "", deleted_at=at(5))
        assert uris(await posts.search(PostQuery("regrettable words"))) == ["u:2"]
        assert uris(await posts.search(PostQuery())) == ["u:2"]
        assert await posts.by(["did:plc:ann"], since=NOON) == [post("u:2", "other words")]
        assert await posts.count() == 1

    on_store(location, work)


def test_deleted_words_are_nowhere_in_the_file_once_it_was_compacted(tmp_path: Path):
    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{n}", f"xylophone{n} and words that stay") for n in range(50)])
        await posts.apply([Edited("u:0", "nothing", at(1)), *(Deleted(f"u:{n}", at(1)) for n in range(1, 50))])
        assert await posts.search(PostQuery(" ".join(f"xylophone{n}" for n in range(50)))) == []
        await posts.compact()

    on_store(tmp_path / "lindos.db", work)
    assert [path.name for path in tmp_path.iterdir()] == ["lindos.db"]
    assert b"xylophone" not in (tmp_path / "lindos.db").read_bytes()


def test_a_takedown_takes_all_an_author_wrote_and_not_what_comes_later(location: Location):
    old = [post(f"u:{n}", "cheap pills", n, source="a" if n % 2 else "b") for n in range(6)]
    other = post("u:other", "cheap flights", author="did:plc:bob")
    gone = TakenDown("did:plc:ann", at(10))

    async def work(posts: Posts) -> None:
        await posts.apply([*old, other])
        assert await posts.apply([gone]) == Applied(deleted=6)
        assert uris(await posts.search(PostQuery("cheap"))) == ["u:other"]
        new = post("u:new", "cheap again", 20)
        assert await posts.apply([old[0], new, Edited("u:1", "cheap", at(21))]) == Applied(created=1, repeated=1)
        assert sorted(uris(await posts.search(PostQuery("cheap")))) == ["u:new", "u:other"]
        assert await posts.apply([gone]) == Applied(), "a stream that says it again does not mean what came since"
        assert await posts.apply([replace(gone, at=at(30)), TakenDown("did:plc:nobody", at(30))]) == Applied(deleted=1)
        assert await posts.count() == 1

    on_store(location, work)


def test_a_takedown_of_somebody_unknown_is_known_again(location: Location):
    changes = [TakenDown("did:plc:ann", at(1)), TakenDown("did:plc:bob", at(1)), post("u:1", "since then", 2)]

    async def work(posts: Posts) -> None:
        assert await posts.apply(changes) == Applied(created=1)
        assert await posts.apply(changes) == Applied(repeated=1)
        assert await posts.count() == 1
        assert await posts.apply([post("u:2", "first words", 3, author="did:plc:bob")]) == Applied(created=1)
        assert uris(await posts.by(["did:plc:bob"], since=NOON)) == ["u:2"]

    on_store(location, work)


def test_a_takedown_within_a_batch_and_of_one_source(location: Location):
    async def work(posts: Posts) -> None:
        changes = [
            post("u:1", "one", source="a"),
            post("u:2", "two", source="b"),
            TakenDown("did:plc:ann", at(1), source="a"),
            post("u:3", "three", 2, source="a"),
        ]
        assert await posts.apply(changes) == Applied(created=3, deleted=1)
        assert uris(await posts.search(PostQuery())) == ["u:3", "u:2"]

    on_store(location, work)


def test_a_new_handle_is_for_old_posts_too(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", "words", handle="ann.example")])
        await posts.apply([Renamed("did:plc:ann", "ann.agency.example", at(5))])
        assert (await posts.get(["u:1"]))["u:1"].handle == "ann.agency.example"
        assert uris(await posts.by(["agency.example"], since=NOON)) == ["u:1"]
        assert await posts.by(["ann.example"], since=NOON) == []
        await posts.apply([Renamed("did:plc:ann", "older.example", at(4)), post("u:2", handle="older.example")])
        assert {one.name for one in (await posts.get(["u:1", "u:2"])).values()} == {"ann.agency.example"}
        await posts.apply([Renamed("did:plc:bob", "bob.example", at(5)), post("u:3", author="did:plc:bob")])
        assert (await posts.get(["u:3"]))["u:3"].handle == "bob.example"
        await posts.apply([Renamed("did:plc:bob", "", at(6))])
        assert await posts.by(["bob.example"], since=NOON) == []

    on_store(location, work)


def test_a_batch_that_fails_leaves_nothing_not_even_its_cursor(location: Location):
    async def work(posts: Posts) -> None:
        await posts.apply([], cursors={"s": "1"})
        broken: Sequence[Post] = [post("u:1", "fine"), replace(post("u:2"), seen_at="yesterday")]  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            await posts.apply(broken, cursors={"s": "2"})
        assert await posts.get(["u:1"]) == {}
        assert (await posts.count(), await posts.cursor("s")) == (0, "1")

    on_store(location, work)


def test_the_revision_grows_with_what_readers_see(location: Location):
    async def work(posts: Posts) -> None:
        seen = [posts.revision]
        for change in (
            post("u:1"),
            Edited("u:1", "x", at(1)),
            Renamed("did:plc:ann", "a.example", at(1)),
            Deleted("u:1", at(2)),
        ):
            await posts.apply([change])
            seen.append(posts.revision)
            assert await posts.current_revision() == posts.revision
        assert seen == sorted(set(seen))
        await posts.apply([post("u:1"), Deleted("u:1", at(9))], cursors={"s": "1"})
        assert posts.revision == seen[-1]

    on_store(location, work)


def test_what_another_process_applied_is_seen(location: Location):
    async def work(posts: Posts) -> None:
        before = await posts.current_revision()
        async with await Database.open(location) as database:
            await Posts(database).apply([post("u:1", "from elsewhere")])
        assert posts.revision == before
        assert await posts.current_revision() > before
        assert uris(await posts.search(PostQuery("elsewhere"))) == ["u:1"]

    on_store(location, work)


def test_several_may_write_at_once(location: Location):
    async def work(posts: Posts) -> None:
        async with await Database.open(location) as database:
            other = Posts(database)
            batches = [
                [post(f"u:{n}", f"n{n}", n / 1000, author=f"a{n % 7}") for n in range(i, i + 60)]
                for i in range(0, 600, 40)
            ]
            await asyncio.gather(*(posts.apply(one) if i % 2 else other.apply(one) for i, one in enumerate(batches)))
        assert await posts.count() == 620
        assert uris(await posts.search(PostQuery(limit=1000))) == [f"u:{n}" for n in reversed(range(620))]

    on_store(location, work)


def test_foreign_text_of_every_kind_is_kept(location: Location):
    odd = "a\x00b\ud800c\udfff\U0001f3db"
    long = "x" * 300_000

    async def work(posts: Posts) -> None:
        changes = [
            post(odd, odd, author=odd, handle=odd, language=odd, links=(odd,), reply_to=odd, cursor=odd, source=odd),
            post(f"at://{long}", long + " needle", author=long, handle=long, source=long),
            post(
                "u:3",
                "word " * 50_000 + "needle",
                created_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
            ),
            post("u:4", "ages", created_at=datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))),
            post("u:5", "naïve", created_at=datetime(2026, 1, 1)),
        ]
        assert (await posts.apply(changes, cursors={odd: odd, long: long})).created == 5
        assert (await posts.apply(changes)).repeated == 5
        kept = await posts.get([odd, f"at://{long}", "u:3", "u:4", "u:5"])
        assert len(kept) == 5
        clean = "a\ufffdb\ufffdc\ufffd\U0001f3db"
        assert (kept[odd].uri, kept[odd].text, kept[odd].links, kept[odd].handle) == (clean, clean, (clean,), clean)
        assert kept[f"at://{long}"].text == long + " needle"
        assert kept["u:5"].created_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert uris(await posts.by([long], since=NOON)) == [f"at://{long}"]
        assert uris(await posts.by([odd], since=NOON)) == [clean]
        assert await posts.cursor(odd) == clean
        assert await posts.cursor(long) == long
        await posts.apply([Edited(odd, odd + odd, at(1)), Deleted(f"at://{long}", at(1)), TakenDown(odd, at(2))])
        assert await posts.count() == 3

    on_store(location, work)


@pytest.mark.parametrize("year", [1, 1969, 1970, 2248, 2300, 9999])
def test_any_clock_will_do(location: Location, year: int):
    then = datetime(year, 7, 1, 12, tzinfo=UTC)
    second = timedelta(seconds=1)

    async def work(posts: Posts) -> None:
        await posts.apply([replace(post(f"u:{n}", "tick"), seen_at=then + n * second) for n in range(3)])
        assert uris(await posts.search(PostQuery(since=then + second))) == ["u:2", "u:1"]
        assert uris(await posts.search(PostQuery("tick", since=then + second, until=then + 2 * second))) == ["u:1"]
        assert uris(await posts.by(["did:plc:ann"], since=then, until=then + 2 * second)) == ["u:1", "u:0"]

    on_store(location, work)


def test_ids_stay_apart_after_a_million_posts_in_one_millisecond(tmp_path: Path):
    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{n}", "early") for n in range(10)])
        async with posts._database.write() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("UPDATE post_state SET posts = posts + (1 << 20) - 5")
        assert (await posts.apply([post(f"v:{n}", "late") for n in range(10)])).created == 10
        assert await posts.count() == 20
        assert len(await posts.search(PostQuery("early late"))) == 20

    on_store(tmp_path / "lindos.db", work)


def _follow(path: Path, batch: int) -> None:
    """Apply a stream of posts, edits and deletions from wherever it was left, until killed or at its end."""

    async def work(posts: Posts) -> None:
        place = int(await posts.cursor("s") or 0)
        for start in range(max(place - 3, 0), 3000, batch):  # streams repeat a little where they go on
            changes = [change for n in range(start, min(start + batch, 3000)) for change in _said(n)]
            await posts.apply(changes, cursors={"s": str(start + batch)})

    on_store(path, work)


def _said(n: int) -> list[Post | Edited | Deleted]:
    said: list[Post | Edited | Deleted] = [post(f"u:{n}", f"number{n} spoken", n)]
    if n % 5 == 4:
        said.append(Edited(f"u:{n - 2}", f"number{n - 2} mended", at(n)))
    if n % 7 == 6:
        said.append(Deleted(f"u:{n - 1}", at(n)))
    return said


def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path):
    path = tmp_path / "lindos.db"
    context = multiprocessing.get_context("spawn")
    for kill in range(4):
        process = context.Process(target=_follow, args=(path, 37))
        process.start()
        deadline = time.monotonic() + 60
        while _cursor(path) < 600 * (kill + 1) and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    reached = _cursor(path)
    assert 0 < reached <= 3000 + 37
    _follow(path, 100)

    async def work(posts: Posts) -> None:
        kept = await posts.get(f"u:{n}" for n in range(3000))
        assert len(kept) == 3000
        living = {uri for uri, one in kept.items() if one.deleted_at is None}
        assert living == {f"u:{n}" for n in range(3000) if n % 7 != 5 or n == 2999}
        assert await posts.count() == len(living)
        for n in (2, 7, 1002, 2997):
            hits = await posts.search(PostQuery(f"number{n}"))
            assert [hit.post.text for hit in hits] == ([f"number{n} mended"] if n % 5 == 2 else [f"number{n} spoken"])
        assert sorted(uris(await posts.search(PostQuery("spoken mended", limit=4000)))) == sorted(living)

    on_store(path, work)


def _cursor(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as connection:
            (row,) = connection.execute("SELECT place FROM post_streams")
            return int(row[0])
    except (sqlite3.OperationalError, ValueError):
        return 0

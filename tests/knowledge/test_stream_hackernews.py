"""Hacker News against a server that numbers its items."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.knowledge import Deleted, Edited, Post
from lindos.knowledge.streams import StreamError
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.hackernews import CHUNK, FIRST, TOGETHER, HackerNews
from lindos.knowledge.streams.stream import MalformedError
from tests.knowledge.servers.memory import Memory, follow_until
from tests.knowledge.servers.web import Answer, Asked, Handle, Web

TIME = 1_783_175_888


class Site:
    """Items by number; raw bytes are answered as they are."""

    def __init__(self, latest: int) -> None:
        self.items: dict[int, Any] = {number: comment(number) for number in range(1, latest + 1)}
        self.latest: Any = latest
        self.updates: list[Any] = []
        self.open = self.most = 0

    def handle(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/v0/").removesuffix(".json")
        if name == "maxitem":
            return Answer(json.dumps(self.latest).encode())
        if name == "updates":
            return Answer(json.dumps({"items": self.updates, "profiles": ["somebody"]}).encode())
        item = self.items.get(int(name.removeprefix("item/")))
        return Answer(item if isinstance(item, bytes) else json.dumps(item).encode())


def comment(number: int, **fields: Any) -> dict[str, Any]:
    own = {"id": number, "type": "comment", "by": "ann", "time": TIME, "text": f"comment {number}", "parent": 1}
    return own | fields


def followed(
    site: Site, done: Callable[[Memory, Web], bool], cursor: str | None = None, handle: Handle | None = None
) -> tuple[Memory, HackerNews, Web]:
    web, store, found = Web(handle or site.handle), Memory(), []

    async def main() -> None:
        async with web:
            stream = HackerNews(f"{web.url}/v0/", poll=0.01, backoff=Backoff(0.01, 0.02))
            found.append(stream)
            if cursor is not None:
                store.places[stream.name] = cursor
            await follow_until(store, [stream], lambda: done(store, web))

    asyncio.run(main())
    return store, found[0], web


def test_items_are_posts():
    site = Site(3)
    story = {
        "type": "story",
        "title": "Results &amp; counts",
        "url": "https://news.example/a",
        "text": None,
        "parent": None,
    }
    site.items[2] = comment(2, **story)
    site.items[3] = comment(3, text='A<p>B <a href="https:&#x2F;&#x2F;x.example&#x2F;1" rel="nofollow">x</a>', parent=2)
    store, _, _ = followed(site, lambda store, web: len(store.told) == 3)
    first, second, third = store.posts()
    assert first.uri == "https://news.ycombinator.com/item?id=1"
    assert (second.text, second.links, second.reply_to) == ("Results & counts", ("https://news.example/a",), None)
    assert third == Post(
        source="hackernews",
        uri="https://news.ycombinator.com/item?id=3",
        author="ann",
        text="A\n\nB x",
        seen_at=third.seen_at,
        created_at=datetime.fromtimestamp(TIME, UTC),
        links=("https://x.example/1",),
        reply_to="https://news.ycombinator.com/item?id=2",
    )


def test_the_first_time_it_begins_a_little_back_and_then_goes_on():
    site = Site(FIRST + 50)
    store, stream, _ = followed(site, lambda store, web: len(store.told) == FIRST)
    place = store.places[stream.name]
    assert json.loads(place) == [FIRST + 50, []]
    site.latest = FIRST + 60
    site.items |= {number: comment(number) for number in range(FIRST + 51, FIRST + 61)}
    again, _, _ = followed(site, lambda store, web: len(store.told) == 10, cursor=place)
    assert [post.uri.rpartition("=")[2] for post in again.posts()] == [str(FIRST + n) for n in range(51, 61)]


def test_a_long_absence_is_made_up_for_in_parts():
    site = Site(CHUNK * 2 + 30)
    store, _, _ = followed(site, lambda store, web: len(store.told) == CHUNK * 2 + 20, cursor="[10,[]]")
    assert store.batches[:3] == [CHUNK, CHUNK, 20]
    assert len({post.uri for post in store.posts()}) == CHUNK * 2 + 20


def test_what_is_not_there_yet_is_asked_for_again():
    site = Site(12)
    site.items[11] = None

    def done(store: Memory, web: Web) -> bool:
        if store.places.get("hackernews") == "[12,[11]]":
            site.items[11] = comment(11)
        return any(post.uri.endswith("=11") for post in store.posts())

    store, stream, _ = followed(site, done, cursor="[10,[]]")
    assert store.places[stream.name] == "[12,[]]"
    assert len(store.told) == 2


def test_edits_and_deletes_are_told():
    site = Site(10)
    site.items[4] = comment(4, text="comment 4, corrected")
    site.items[5] = {"id": 5, "deleted": True, "time": TIME, "type": "comment"}
    site.items[6] = comment(6, dead=True)
    site.updates = [4, 5, 6, 99, "x", None, True, -1]
    store, _, _ = followed(site, lambda store, web: len(store.told) >= 4, cursor="[10,[]]")
    post, edit, *gone = store.told[:4]
    assert isinstance(edit, Edited)
    assert isinstance(post, Post)
    assert edit.text == post.text == "comment 4, corrected"
    assert [one.uri[-1] for one in gone if isinstance(one, Deleted)] == ["5", "6"]


def test_nonsense_is_counted_and_survived():
    site = Site(9)
    site.items |= {
        2: b"{",
        3: [],
        4: comment(99),
        5: comment(5, by=None),
        6: comment(6, by="a\nb"),
        7: b"x" * (2 << 20),
    }
    site.items[8] = comment(8, time="then", url="javascript:alert(1)", parent="x", title=7, text=8)
    store, stream, _ = followed(site, lambda store, web: stream_done(store, 9), cursor="[0,[]]")
    assert [post.uri[-1] for post in store.posts()] == ["1", "8", "9"]
    assert (stream.counters.malformed, stream.counters.misdated) == (6, 1)
    assert (store.posts()[1].text, store.posts()[1].links) == ("7\n\n8", ())


def stream_done(store: Memory, number: int) -> bool:
    return any(post.uri.endswith(f"={number}") for post in store.posts())


def test_a_server_that_fails_is_asked_again():
    site = Site(5)
    turn = iter(range(10**6))

    def handle(asked: Asked) -> Answer:
        number = next(turn)
        return Answer(status=503) if number in (0, 3, 5) else Answer(b"null") if number == 7 else site.handle(asked)

    _, stream, _ = followed(site, lambda store, web: stream_done(store, 5), cursor="[0,[]]", handle=handle)
    assert stream.counters.reconnects >= 1
    assert stream.counters.gaps == 0


def test_not_too_many_items_are_asked_for_at_a_time():
    site, most, open_now = Site(100), 0, 0
    web = Web(site.handle)
    serve = web._serve

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            writer.close()
            raise
        await serve(reader, writer)
        open_now -= 1

    web._serve = counting  # type: ignore[method-assign]
    store = Memory()

    async def main() -> None:
        async with web:
            await follow_until(store, [HackerNews(f"{web.url}/v0", poll=0.01)], lambda: len(store.told) == 100)

    asyncio.run(main())
    assert 1 < most <= TOGETHER + 1


def test_an_address_that_is_none_is_refused():
    with pytest.raises(StreamError, match="no address"):
        HackerNews("ftp://x")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}) | st.just([])


@given(st.dictionaries(st.sampled_from(["id", "by", "time", "text", "title", "url", "parent", "dead"]), VALUES))
def test_whatever_an_item_is_it_is_read_or_refused(fields: dict[str, Any]):
    with suppress(MalformedError):
        for change in HackerNews()._item(7, comment(7) | fields, True):
            assert change.uri.endswith("=7") if isinstance(change, Post | Edited | Deleted) else False
            getattr(change, "text", "").encode()

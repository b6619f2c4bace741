"""A Mastodon server followed: its events, what was missed, its HTML."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.knowledge import Deleted, Edited, Post
from lindos.knowledge.streams import StreamError
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.html import html_text
from lindos.knowledge.streams.mastodon import MAX_PAGES, PAGE, Mastodon
from lindos.knowledge.streams.sse import MAX_EVENT, Event, EventReader
from lindos.knowledge.streams.statuses import status_changes
from lindos.knowledge.streams.stream import Counters, MalformedError
from tests.knowledge.servers.mastodon import FIRST, Instance, status
from tests.knowledge.servers.memory import Memory, follow_until
from tests.knowledge.servers.web import Answer, Asked, Web

SEEN = datetime(2026, 12, 1, tzinfo=UTC)


def one(fields: dict[str, Any], *, edited: bool = False) -> Any:
    return status_changes("social.example", status(FIRST) | fields, SEEN, Counters(), edited=edited)


def test_a_status_has_its_fields():
    content = (
        '<p>See <a href="https://news.example/long/path" rel="nofollow"><span class="invisible">https://</span>'
        '<span class="ellipsis">news.example/long</span><span class="invisible">/path</span></a><br>'
        '<a href="https://social.example/@bob" class="u-url mention">@<span>bob</span></a> '
        '<a href="https://social.example/tags/x" class="mention hashtag" rel="tag">#<span>x</span></a></p>'
        "<p>two &amp; &lt;3</p>"
    )
    (post,) = one(
        {
            "content": content,
            "spoiler_text": "counting",
            "in_reply_to_id": str(FIRST - 5),
            "language": "en-GB",
            "account": {"acct": "Ann"},
            "card": {"url": "https://card.example/"},
        }
    )
    assert post == Post(
        source="mastodon:social.example",
        uri=f"https://social.example/statuses/{FIRST}",
        author="ann@social.example",
        text="counting\n\nSee https://news.example/long/path\n@bob #x\n\ntwo & <3",
        seen_at=SEEN,
        created_at=post.created_at,
        language="en",
        links=("https://news.example/long/path", "https://card.example/"),
        reply_to=f"https://social.example/statuses/{FIRST - 5}",
        cursor=str(FIRST),
    )
    assert post.created_at is not None


def test_people_of_elsewhere_keep_their_home():
    assert one({"account": {"acct": "bob@Elsewhere.example"}})[0].author == "bob@elsewhere.example"


@pytest.mark.parametrize("fields", [{"visibility": "private"}, {"visibility": "direct"}, {"reblog": {"id": "5"}}])
def test_what_is_not_for_everybody_or_somebody_elses_is_passed_over(fields: dict[str, Any]):
    assert one(fields) == ()


def test_an_edited_status_is_an_edit():
    post, edit = one({"content": "<p>new</p>"}, edited=True)
    assert edit == Edited(post.uri, "new", SEEN, (), "en")
    assert len(one({"edited_at": "2026-07-04T14:00:00Z"})) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"id": None},
        {"id": 5},
        {"id": "a/b"},
        {"content": None},
        {"content": "\ud83d"},
        {"account": None},
        {"account": {"acct": ""}},
        {"account": {"acct": "@host"}},
        {"account": {"acct": "a@b@c"}},
        {"account": {"acct": "a b"}},
        {"in_reply_to_id": {"a": 1}},
    ],
)
def test_what_is_no_status_is_malformed(fields: dict[str, Any]):
    with pytest.raises(MalformedError):
        one(fields)


def followed(
    instance: Instance, act: Callable[[Memory, Mastodon], Any], *, cursor: str = "", token: str = ""
) -> tuple[Memory, Mastodon, list[str]]:
    """Follow an instance while something is done with it."""
    store, news, found = Memory(), [], []

    async def main() -> None:
        async with Web(instance.handle) as web:
            stream = Mastodon("social.example", token=token, url=web.url, backoff=Backoff(0.01, 0.02))
            found.append(stream)
            if cursor:
                store.places[stream.name] = cursor
            ended = asyncio.Event()
            waiting = asyncio.create_task(follow_until(store, [stream], ended.is_set, news))
            acting = asyncio.create_task(act(store, stream))
            await asyncio.wait([waiting, acting], return_when=asyncio.FIRST_COMPLETED, timeout=60)
            ended.set()
            acting.cancel()
            await waiting
            with suppress(asyncio.CancelledError):
                await acting

    asyncio.run(main())
    return store, found[0], news


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.005)


def last(store: Memory, number: int) -> bool:
    return any(post.uri.endswith(str(number)) for post in store.posts())


def test_posts_edits_and_deletes_arrive():
    instance = Instance(token="secret")

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: stream.counters.connected)
        instance.post(FIRST + 1)
        instance.post(FIRST + 2)
        instance.say(":thump\n")
        instance.tell("status.update", status(FIRST + 1, "<p>corrected</p>"))
        instance.tell("delete", str(FIRST + 2))
        instance.tell("filters_changed", "{}")
        instance.post(FIRST + 3)
        await until(lambda: last(store, FIRST + 3))

    store, stream, _ = followed(instance, act, token="secret")
    assert store.texts() == {str(FIRST + 1): "corrected", str(FIRST + 3): f"status {FIRST + 3}"}
    assert store.places == {"mastodon:social.example": str(FIRST + 3)}
    assert stream.counters.malformed == 0
    place = stream.place(str(FIRST + 3))
    assert place == datetime.fromtimestamp(1_795_000_000, UTC)


def test_what_was_missed_is_asked_for_page_by_page():
    instance = Instance(page=10)
    instance.statuses = [status(FIRST + n) for n in range(95)]

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: last(store, FIRST + 94))

    store, stream, _ = followed(instance, act, cursor=str(FIRST + 30))
    assert {post.uri.rpartition("/")[2] for post in store.posts()} == {str(FIRST + n) for n in range(95)}
    assert stream.counters.gaps == 0
    asked = [asked.query for asked in instance.asked if "timelines" in asked.path]
    assert int(asked[1]["min_id"]) == FIRST + 30 - (300_000 << 16)


def test_nothing_is_lost_over_many_broken_connections():
    instance = Instance(plan=lambda n: n % 4 + 1)
    instance.statuses = [status(FIRST)]

    async def act(store: Memory, stream: Mastodon) -> None:
        for n in range(1, 50):
            instance.post(FIRST + n)
            await asyncio.sleep(0.005)
        await until(lambda: len({post.uri for post in store.posts()}) == 50)
        await until(lambda: stream.counters.reconnects > 3)

    _, stream, _ = followed(instance, act, cursor=str(FIRST))
    assert stream.counters.gaps == 0


def test_what_another_server_sends_late_is_still_found():
    """Its id is of when it was written, before the last one that we met."""
    instance = Instance()
    late = FIRST - (60_000 << 16)
    instance.statuses = [status(FIRST), status(late)]

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: last(store, late))

    followed(instance, act, cursor=str(FIRST))


def test_too_much_missed_is_a_gap_that_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lindos.knowledge.streams.mastodon.MAX_PAGES", 2)
    assert MAX_PAGES * PAGE == 2000
    instance = Instance(page=10)
    instance.statuses = [status(FIRST + n) for n in range(95)]

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: stream.counters.gaps == 1)

    _, _, news = followed(instance, act, cursor=str(FIRST))
    assert any("there is a gap" in text for text in news)


def test_without_a_token_it_is_said_what_to_do():
    with pytest.raises(StreamError, match="LINDOS_MASTODON_TOKEN"):
        followed(Instance(token="secret"), lambda store, stream: asyncio.sleep(60))


def test_a_token_is_not_carried_to_other_hosts():
    home, other = Instance(token="secret"), Instance()

    async def main() -> None:
        async with Web(other.handle) as elsewhere:
            about = {"configuration": {"urls": {"streaming": f"ws://127.0.0.1:{elsewhere.port}"}}}

            def handle(asked: Asked) -> Answer:
                if asked.path == "/api/v1/timelines/public":
                    return Answer(status=302, headers={"Location": f"{elsewhere.url}/api/v1/timelines/public"})
                home.about = about
                return home.handle(asked)

            async with Web(handle) as web:
                stream = Mastodon("social.example", token="secret", url=web.url, backoff=Backoff(0.01, 0.02))
                store = Memory()
                store.places[stream.name] = str(FIRST)
                await follow_until(store, [stream], lambda: len(other.asked) > 0)

    asyncio.run(main())
    assert {asked.path for asked in other.asked} == {"/api/v1/timelines/public"}
    assert all("authorization" not in asked.headers for asked in other.asked)


def test_nonsense_is_counted_and_survived():
    instance = Instance()

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: stream.counters.connected)
        for data in ("{", "[]", "null", "[" * 50_000, '{"id": "1"}', json.dumps(status(FIRST, "\ud83d"))):
            instance.tell("update", data)
        instance.tell("delete", "a/b")
        instance.tell("update", "x" * (MAX_EVENT + 10))
        instance.say(b"data: \xff\xfe\nevent: update\n\n")
        instance.post(FIRST + 1)
        await until(lambda: last(store, FIRST + 1))

    store, stream, _ = followed(instance, act)
    assert len(store.told) == 1
    assert (stream.counters.malformed, stream.counters.skipped, stream.counters.reconnects) == (8, 1, 0)


def test_a_silent_connection_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lindos.knowledge.streams.mastodon.SILENCE", 0.2)

    async def act(store: Memory, stream: Mastodon) -> None:
        await until(lambda: stream.counters.reconnects == 2)

    followed(Instance(), act)


@pytest.mark.parametrize("host", ["", "a b", "https://x", "x/y", "ü.example", "-" * 300])
def test_a_host_that_is_none_is_refused(host: str):
    with pytest.raises(StreamError):
        Mastodon(host)


LINES = st.sampled_from(
    ["event: update", "event:delete", "data: a", "data:b", "data", ": thump", "", "id: 5", "data: é🗳", "retry: 9", "x"]
)


@given(st.lists(LINES, max_size=30), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(1, 9), max_size=60))
def test_however_bytes_are_cut_the_events_are_the_same(lines: list[str], end: str, cuts: list[int]):
    body = "".join(line + end for line in [*lines, "", "data: end", "", ""]).encode()
    whole = EventReader().feed(body)
    reader, found, place = EventReader(), [], 0
    for cut in [*cuts, len(body)]:
        found += reader.feed(body[place : place + cut])
        place += cut
    assert found == whole
    assert found[-1] == Event("message", "end")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_whatever_bytes_come_events_are_text(chunks: list[bytes]):
    reader = EventReader()
    for chunk in chunks:
        for event in reader.feed(chunk):
            event.data.encode()


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 50_000))
def test_a_long_event_is_not_kept(times: int, size: int):
    reader = EventReader()
    found = []
    for _ in range(times):
        found += reader.feed(b"data: ")
        for _ in range(MAX_EVENT // 50_000 + 2):
            found += reader.feed(b"x" * 50_000)
            assert len(reader._rest) <= MAX_EVENT + 50_000
        found += reader.feed(b"x" * size + b"\n\ndata: ok\n\n")
    assert [(event.data, event.too_long) for event in found] == [("", True), ("ok", False)] * times


MARKS = "<p>|</p>|<a href='https://x.example'>|<a href=javascript:x>|</a>|<br>|<![|<!--|<script>|<!DOCTYPE|<?|<li>"
OTHERS = "&amp;|&#0;|&#xd800;|<|>|a| b |<pre>|</pre>|\x00|é🗳"
HTML = st.lists(st.sampled_from([*MARKS.split("|"), *OTHERS.split("|")]), max_size=30).map("".join)


@given(HTML | st.text())
def test_whatever_html_is_it_becomes_text(html: str):
    text, addresses = html_text(html)
    text.encode()
    assert not re.search(r"\n{3,}", text)
    assert set(addresses) <= {"https://x.example"} or "http" in html


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.just({}) | st.just([]) | st.just({"acct": "a"})
FIELDS = ["id", "content", "account", "created_at", "edited_at", "in_reply_to_id", "spoiler_text", "card", "language"]


@given(st.dictionaries(st.sampled_from([*FIELDS, "visibility", "reblog"]), VALUES))
def test_whatever_a_status_is_it_is_read_or_refused(fields: dict[str, Any]):
    with suppress(MalformedError):
        for change in one(fields):
            assert isinstance(change, Post | Edited | Deleted)
            (change.uri + getattr(change, "text", "")).encode()
            assert (getattr(change, "created_at", None) or SEEN) <= SEEN + timedelta(hours=1)

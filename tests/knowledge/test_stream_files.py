"""JSONL files: every form of a line, bad ones named, growing, replaced, resumed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.knowledge import Deleted, Edited, Post
from lindos.knowledge.streams import JsonLines, StreamError, exported, follow
from lindos.knowledge.streams.bluesky import MAX_MESSAGE
from lindos.knowledge.streams.lines import LineReader
from lindos.knowledge.streams.stream import Counters, MalformedError
from tests.knowledge.servers.jetstream import Event, commit
from tests.knowledge.servers.memory import Memory, follow_until

NOW = datetime(2026, 7, 4, 15, tzinfo=UTC)


def line(number: int, **fields: Any) -> str:
    return json.dumps({"uri": f"x:{number}", "author": "desk.example", "text": f"text {number}"} | fields)


def read(text: str, **options: Any) -> tuple[Any, ...]:
    return LineReader("file:a", Counters(), **options).read(text.encode(), NOW)


def imported(path: Path, store: Memory, **options: Any) -> tuple[JsonLines, list[str]]:
    stream, news = JsonLines(path, **options), []
    asyncio.run(follow(store, [stream], lambda one: news.append(one.text)))
    return stream, news


def test_a_line_is_our_own_record():
    record = {
        "created_at": "2026-07-04T14:00:00Z",
        "handle": "desk",
        "lang": "en-GB",
        "links": ["https://a.example", "javascript:x", 5],
        "reply_to": "x:0",
        "seen_at": "2020-01-01T00:00:00Z",
        "whatever": 1,
    }
    (post,) = read(line(1, **record))
    assert post == Post(
        source="file:a",
        uri="x:1",
        author="desk.example",
        text="text 1",
        seen_at=NOW,
        created_at=datetime(2026, 7, 4, 14, tzinfo=UTC),
        handle="desk",
        language="en",
        links=("https://a.example",),
        reply_to="x:0",
    )


def test_when_things_were_seen_is_believed_only_where_it_was_asked_for():
    old = datetime(2020, 1, 1, tzinfo=UTC)
    assert read(line(1, seen_at="2020-01-01T00:00:00Z"))[0].seen_at == NOW
    assert read(line(1, seen_at="2020-01-01T00:00:00Z"), keep_times=True)[0].seen_at == old
    assert read(line(1, seen_at="2031-01-01T00:00:00Z"), keep_times=True)[0].seen_at == NOW
    replayed = json.dumps({"at": "2020-01-01T00:00:00Z", "post": json.loads(line(1))})
    assert read(replayed)[0].seen_at == NOW
    assert read(replayed, keep_times=True)[0].seen_at == old


def test_lines_of_replays_and_of_jetstream_are_read():
    assert read('{"at": "2026-07-04T14:00:00Z", "edit": {"uri": "x:1", "text": "new"}}') == (Edited("x:1", "new", NOW),)
    assert read('{"delete": {"uri": "x:1"}}') == (Deleted("x:1", NOW),)
    event = Event(7, 1783175888085434, "did:plc:ann", "commit", commit("create", "3k", {"text": "hi"}))
    (post,) = read(str(event.v1()))
    assert (post.source, post.uri, post.text) == ("file:a", "at://did:plc:ann/app.bsky.feed.post/3k", "hi")
    assert read('{"at": "x", "ask": "who won?"}') == read('{"event": {}}') == read('{"model": []}') == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"text": "a"}',
        '{"uri": "x:1"}',
        line(1, author=""),
        line(1, author=5),
        line(1, uri=" x"),
        line(1, uri="x" * 3000),
        line(1, text=None),
        line(1, text="\ud83d"),
        '{"post": 5}',
        '{"edit": {"uri": "x:1"}}',
        '{"delete": {}}',
    ],
)
def test_what_is_no_line_is_malformed(text: str):
    with pytest.raises(MalformedError):
        read(text)


def test_what_is_exported_comes_back_the_same():
    (post,) = read(line(1, created_at="2026-07-04T14:00:00Z", links=["https://a.example"], handle="d", language="en"))
    assert read(exported(post), keep_times=True) == (post,)


def test_an_import_goes_on_where_it_was_and_names_bad_lines(tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    path.write_text(f"{line(1)}\n\nnonsense\n{line(2)}")
    stream, news = imported(path, store)
    assert store.texts() == {"x:1": "text 1", "x:2": "text 2"}
    assert (stream.counters.received, stream.counters.malformed) == (3, 1)
    assert [text for text in news if text.startswith("line")] == ["line 3: not JSON"]
    with path.open("a") as file:
        file.write(f"\n{line(3)}\nmore nonsense\n")
    stream, news = imported(path, store)
    assert [post.uri for post in store.posts()] == ["x:1", "x:2", "x:3"]
    assert [text for text in news if text.startswith("line")] == ["line 6: not JSON"]
    assert imported(path, store)[0].counters.received == 0
    assert imported(path, store, again=True)[0].counters.received == 5


def test_a_last_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    path.write_text(f"{line(1)}\n{line(2)[:20]}")
    stream, _ = imported(path, store)
    assert (list(store.texts()), stream.counters.malformed) == (["x:1"], 1)
    path.write_text(f"{line(1)}\n{line(2)}\n")
    stream, _ = imported(path, store)
    assert (list(store.texts()), stream.counters.malformed) == (["x:1", "x:2"], 0)


def test_another_file_under_the_same_name_is_read_from_its_beginning(tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    path.write_text("".join(f"{line(n)}\n" for n in range(5)))
    imported(path, store)
    path.write_text("".join(f"{line(n)}\n" for n in range(5, 20)))
    imported(path, store)
    assert [post.uri for post in store.posts()] == [f"x:{n}" for n in range(20)]


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    giant = line(2, text="x" * (3 * MAX_MESSAGE))
    path.write_text(f"{line(1)}\n{giant}\n{line(3)}\n{giant}")
    stream, _ = imported(path, store)
    assert list(store.texts()) == ["x:1", "x:3"]
    assert stream.counters.malformed == 2


def test_only_some_bad_lines_are_named(tmp_path: Path):
    path = tmp_path / "posts.jsonl"
    path.write_text("nonsense\n" * 1000)
    stream, news = imported(path, Memory())
    assert stream.counters.malformed == 1000
    assert len(news) == 5


def test_a_file_that_grows_is_followed_over_half_lines_and_rotation(tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    path.write_text(f"{line(1)}\n{line(2)[:20]}")

    async def main() -> None:
        stream = JsonLines(path, growing=True)
        waiting = asyncio.create_task(follow_until(store, [stream], lambda: "x:5" in store.texts()))
        await seen(store, "x:1")
        with path.open("a") as file:
            file.write(f"{line(2)[20:]}\n")
        await seen(store, "x:2")
        path.rename(tmp_path / "old")
        await asyncio.sleep(0.3)
        path.write_text(f"{line(3)}\n")
        await seen(store, "x:3")
        path.write_text("")  # cut short in place
        await asyncio.sleep(0.5)
        path.write_text(f"{line(5)}\n")
        await waiting

    asyncio.run(main())
    assert [post.uri for post in store.posts()] == ["x:1", "x:2", "x:3", "x:5"]


async def seen(store: Memory, uri: str) -> None:
    async with asyncio.timeout(60):
        while uri not in store.texts():
            await asyncio.sleep(0.01)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    for growing in (False, True):
        with pytest.raises(StreamError, match="No such file"):
            imported(tmp_path / "none.jsonl", Memory(), growing=growing)
    with pytest.raises(StreamError, match="directory"):
        imported(tmp_path, Memory())


@pytest.mark.parametrize(
    "cursor", ["", "{", "[]", "5", '{"at": -1}', '{"at": 10, "line": 1, "mark": 7}', '{"at": null}']
)
def test_a_cursor_that_is_none_means_the_beginning(cursor: str, tmp_path: Path):
    path, store = tmp_path / "posts.jsonl", Memory()
    path.write_text(f"{line(1)}\n")
    store.places[f"file:{path}"] = cursor
    imported(path, store)
    assert list(store.texts()) == ["x:1"]


@given(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=60), st.integers(1, 400))
def test_wherever_an_import_is_ended_nothing_is_lost_or_doubled(tmp_path_factory: Any, kinds: list[int], size: int):
    """Lines of all kinds, ended after any batch and resumed by its cursor."""
    path = tmp_path_factory.mktemp("files") / "posts.jsonl"
    made = {0: line, 1: lambda n: "nonsense", 2: lambda n: "", 3: lambda n: line(n, text="y" * size)}
    path.write_text("".join(f"{made[kind](n)}\n" for n, kind in enumerate(kinds)))

    async def main() -> list[str]:
        found, cursor = [], None
        while True:
            batches = JsonLines(path).changes(cursor)
            batch = await anext(batches, None)
            await batches.aclose()
            if batch is None:
                return found
            found += [change.uri for change in batch.changes if isinstance(change, Post)]
            cursor = batch.cursor

    assert asyncio.run(main()) == [f"x:{n}" for n, kind in enumerate(kinds) if kind in (0, 3)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list("abcde")), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["uri", "author", "text", "post", "edit", "delete", "at", "links", "lang", "handle", "reply_to", "kind", "did"]


@given(st.binary(max_size=100) | st.dictionaries(st.sampled_from(KEYS), JSON).map(lambda d: json.dumps(d).encode()))
def test_whatever_a_line_is_it_is_read_or_refused(data: bytes):
    with suppress(MalformedError):
        for change in LineReader("file:a", Counters(), keep_times=True).read(data, NOW):
            (getattr(change, "uri", "") + getattr(change, "text", "")).encode()
            assert getattr(change, "seen_at", NOW) <= NOW + timedelta(0)

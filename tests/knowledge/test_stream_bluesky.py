"""Bluesky's records, field by field, as recorded and as nobody should send them."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.knowledge import Deleted, Edited, Post, Renamed, TakenDown
from lindos.knowledge.streams.bluesky import MAX_MESSAGE, Told, commit_changes, read_json
from lindos.knowledge.streams.jetstream1 import Jetstream1, event_changes
from lindos.knowledge.streams.jetstream2 import Jetstream2
from lindos.knowledge.streams.stream import Counters, LostError, MalformedError
from tests.knowledge.servers.jetstream import Event, commit, micros

SEEN = datetime(2026, 7, 4, 15, tzinfo=UTC)
DID = "did:plc:eygmaihciaxprqvxpfvl6flk"
AT = SEEN - timedelta(hours=1)
TOLD = Told(DID, SEEN, AT, "7")


def post_of(record: dict[str, Any], counters: Counters | None = None) -> Post:
    (post,) = commit_changes(TOLD, commit("create", "3kabc", record), counters or Counters())
    assert isinstance(post, Post)
    return post


def facet(text: str, shown: str, address: Any, kind: str = "app.bsky.richtext.facet#link") -> dict[str, Any]:
    start = text.encode().index(shown.encode())
    index = {"byteStart": start, "byteEnd": start + len(shown.encode())}
    return {"index": index, "features": [{"$type": kind, "uri": address}]}


def test_a_post_has_its_fields():
    record = {
        "text": "Counting goes on 🗳️",
        "createdAt": "2026-07-04T14:38:06.240Z",
        "langs": ["en-GB", "de"],
        "reply": {"parent": {"uri": f"at://{DID}/app.bsky.feed.post/3kroot", "cid": "x"}},
    }
    assert post_of(record) == Post(
        source="bluesky",
        uri=f"at://{DID}/app.bsky.feed.post/3kabc",
        author=DID,
        text="Counting goes on 🗳️",
        seen_at=SEEN,
        created_at=datetime(2026, 7, 4, 14, 38, 6, 240_000, tzinfo=UTC),
        language="en",
        reply_to=f"at://{DID}/app.bsky.feed.post/3kroot",
        cursor="7",
    )


def test_links_go_by_bytes_of_utf_8_and_show_what_the_text_cuts_off():
    text = "🗳️🇬🇷 read example.com/res... and www.youtube.com/watch?v=V5lD..."
    second = facet(text, "www.youtube.com/watch?v=V5lD...", "https://www.youtube.com/watch?v=V5lDo-jw8mA")
    first = facet(text, "example.com/res...", "https://example.com/results/2026")
    post = post_of({"text": text, "facets": [second, first]})
    assert post.text == text
    assert post.links == ("https://example.com/results/2026", "https://www.youtube.com/watch?v=V5lDo-jw8mA")


@pytest.mark.parametrize(
    ("start", "end"), [(1, 4), (0, 2), (-1, 4), (4, 4), (5, 2), (0, 99), (True, 4), (0.0, 4), (None, 4), ("0", "4")]
)
def test_a_facet_that_fits_no_characters_is_no_link(start, end):
    broken = {
        "index": {"byteStart": start, "byteEnd": end},
        "features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com"}],
    }
    assert post_of({"text": "🗳 x", "facets": [broken]}).links == ()
    whole = broken | {"index": {"byteStart": 0, "byteEnd": 4}}
    assert post_of({"text": "🗳 x", "facets": [whole]}).links == ("https://example.com",)


def test_mentions_tags_and_scripts_are_no_links():
    text = "@a #b c"
    facets = [
        facet(text, "@a", None, "app.bsky.richtext.facet#mention"),
        facet(text, "#b", "https://tag.example", "app.bsky.richtext.facet#tag"),
        facet(text, "c", "javascript:alert(1)"),
    ]
    assert post_of({"text": text, "facets": facets}).links == ()


def test_cards_are_links_also_beside_a_quoted_post():
    card = {"$type": "app.bsky.embed.external", "external": {"uri": "https://news.example/a", "title": "t"}}
    quoting = {"$type": "app.bsky.embed.recordWithMedia", "record": {}, "media": card}
    assert post_of({"text": "", "embed": card}).links == ("https://news.example/a",)
    assert post_of({"text": "", "embed": quoting}).links == ("https://news.example/a",)


@pytest.mark.parametrize(
    "claim", ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "2031-01-01T00:00:00Z", "yesterday", "", None, 5, {}]
)
def test_a_time_that_cannot_be_is_not_kept_but_the_post_is(claim):
    counters = Counters()
    post = post_of({"text": "a", "createdAt": claim}, counters)
    assert (post.text, post.created_at, counters.misdated) == ("a", None, 1)


def test_a_text_loses_what_no_database_keeps():
    assert post_of({"text": "a\x00b\x1b[2Jc\r\nd"}).text == "ab[2Jc\nd"


def test_an_update_is_an_edit_for_whoever_met_the_post_and_a_post_for_others():
    post, edit = commit_changes(TOLD, commit("update", "3kabc", {"text": "new"}), Counters())
    assert isinstance(post, Post)
    assert edit == Edited(post.uri, "new", AT)
    assert post.edited_at == AT
    assert post.text == "new"


def test_deletes_lack_a_record():
    (deleted,) = commit_changes(TOLD, commit("delete", "3kabc", None), Counters())
    assert deleted == Deleted(f"at://{DID}/app.bsky.feed.post/3kabc", SEEN)


def test_accounts_take_their_posts_with_them_and_renames_are_told():
    def told(kind: str, body: dict[str, Any]) -> tuple[Any, ...]:
        event = {"did": DID, "time_us": micros(AT), "kind": kind, kind: body}
        return event_changes(event, SEEN, Counters())

    for status in ("deactivated", "takendown", "suspended", "deleted"):
        assert told("account", {"active": False, "status": status}) == (TakenDown(DID, AT),)
    for status in ("of a later protocol", None):
        assert told("account", {"active": False, "status": status}) == (TakenDown(DID, AT),)
    assert told("account", {"active": False}) == (TakenDown(DID, AT),)
    for status in ("throttled", "desynchronized"):
        assert told("account", {"active": False, "status": status}) == ()
    assert told("account", {"active": True}) == ()
    assert told("identity", {"did": DID, "handle": "Desk.Example"}) == (Renamed(DID, "desk.example", AT),)
    assert told("identity", {"did": DID}) == ()
    assert told("identity", {"did": DID, "handle": "handle.invalid"}) == (Renamed(DID, "", AT),)


@pytest.mark.parametrize(
    "broken",
    [
        commit("create", "3k", {}),
        commit("create", "3k", {"text": None}),
        commit("create", "3k", {"text": ["a"]}),
        commit("create", "3k", {"text": "half \ud83d"}),
        commit("create", "3k", None),
        commit("create", "../etc", {"text": "a"}),
        commit("create", "", {"text": "a"}),
        commit("create", "a b", {"text": "a"}),
        commit("explode", "3k", {"text": "a"}),
        commit("create", "3k", {"text": "a"}) | {"rkey": 5},
        commit("create", "3k", {"text": "a"}) | {"record": "a"},
    ],
)
def test_what_is_no_post_is_malformed(broken):
    with pytest.raises(MalformedError):
        commit_changes(TOLD, broken, Counters())


@pytest.mark.parametrize("did", [None, 5, "", "plc:x", "did:plc:", "did:plc:a b", "did:plc:" + "x" * 600, "did:plc:ü"])
def test_somebody_must_have_done_it(did):
    event = {"did": did, "time_us": 1783175888085434, "kind": "commit", "commit": commit("delete", "3k", None)}
    with pytest.raises(MalformedError):
        event_changes(event, SEEN, Counters())


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "5", "null", '"a"', "[" * 100_000, "9" * 5000, b"\xff\xfe", " " * (MAX_MESSAGE + 1)]
)
def test_a_message_must_be_an_object(message):
    with pytest.raises(MalformedError):
        read_json(message)


def test_the_recorded_sample_is_read(shared: Path):
    sample = shared / "data" / "bluesky-jetstream-sample" / "expected_v1.jsonl"
    counters = Counters()
    changes = []
    for line in sample.read_text(encoding="utf-8").splitlines():
        changes += event_changes(read_json(line), SEEN, counters)
    posts = [change for change in changes if isinstance(change, Post)]
    assert len(posts) == 17
    assert [type(change) for change in changes if not isinstance(change, Post)] == [Deleted]
    assert counters.misdated == 0
    assert all(post.created_at is not None and post.text for post in posts if not post.links)
    video = next(post for post in posts if post.text.startswith("www.youtube.com"))
    assert video.text == "www.youtube.com/watch?v=V5lD..."
    assert video.links == ("https://www.youtube.com/watch?v=V5lDo-jw8mA",)
    assert {post.language for post in posts} >= {"en", "ja"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
RICH = {
    "text": "🗳️ look www.example.com/a...",
    "createdAt": "2026-07-04T14:38:06.240Z",
    "langs": ["en"],
    "facets": [facet("🗳️ look www.example.com/a...", "www.example.com/a...", "https://www.example.com/a/b")],
    "embed": {"external": {"uri": "https://www.example.com/a/b"}},
    "reply": {"parent": {"uri": f"at://{DID}/app.bsky.feed.post/3kroot"}},
}
VALID = [
    Event(7, 1783175888085434, DID, "commit", commit("create", "3k", RICH)),
    Event(8, 1783175888085435, DID, "commit", commit("update", "3k", RICH)),
    Event(9, 1783175888085436, DID, "commit", commit("delete", "3k", None)),
    Event(10, 1783175888085437, DID, "identity", {"did": DID, "handle": "a.example"}),
    Event(11, 1783175888085438, DID, "account", {"active": False, "status": "deleted"}),
]


@st.composite
def mutated(draw: st.DrawFn, frames: list[str]) -> str:
    """A valid frame in which one place holds something else, or nothing."""
    value = json.loads(draw(st.sampled_from(frames)))
    holder, steps = value, draw(st.integers(1, 7))
    for step in range(steps):
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if step == steps - 1 or not isinstance(holder[key], dict | list) or not holder[key]:
            if draw(st.booleans()):
                holder[key] = draw(JSON)
            else:
                del holder[key]
            break
        holder = holder[key]
    return json.dumps(value)


def check(changes: tuple[Any, ...]) -> None:
    """What a store may rely on, whatever was sent."""
    for change in changes:
        for text in [getattr(change, name, "") or "" for name in ("uri", "text", "author", "handle", "reply_to")]:
            assert "\x00" not in text
            text.encode()
        if isinstance(change, Post):
            assert change.created_at is None or change.created_at.tzinfo is not None
            assert all(link.startswith("http") for link in change.links)
            assert len(change.uri.encode()) <= 2000


@given(mutated([str(event.v1()) for event in VALID]) | JSON.map(json.dumps) | st.text())
def test_version_1_reads_or_refuses_whatever_comes(message):
    stream = Jetstream1()
    with contextlib.suppress(MalformedError):
        check(stream._reader("")(read_json(message)).changes)


@given(mutated([str(event.v2()) for event in VALID]) | JSON.map(json.dumps) | st.text())
def test_version_2_reads_or_refuses_whatever_comes(message):
    stream = Jetstream2()
    with contextlib.suppress(MalformedError, LostError):
        check(stream._reader("")(read_json(message)).changes)


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(message):
    with contextlib.suppress(MalformedError):
        read_json(message)

"""RSS and Atom against a server: politely asked, edits told, nothing believed."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.knowledge import Edited, Post
from lindos.knowledge.streams import StreamError
from lindos.knowledge.streams.backoff import Backoff
from lindos.knowledge.streams.entries import read_feed
from lindos.knowledge.streams.feeds import REMEMBERED, Feed
from lindos.knowledge.streams.fetch import MAX_BODY, MAX_WAIT, client, fetch, retry_after
from lindos.knowledge.streams.stream import LostError, MalformedError
from tests.knowledge.servers.memory import Memory, follow_until
from tests.knowledge.servers.web import Answer, Asked, Web

SATURDAY = "Sat, 04 Jul 2026 14:00:00 GMT"


def rss(*items: dict[str, str], language: str = "en-us") -> bytes:
    listed = "".join(
        "<item>" + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in item.items()) + "</item>"
        for item in items
    )
    words = f'<?xml version="1.0"?><rss version="2.0"><channel><title>T</title><language>{language}</language>'
    return f"{words}{listed}</channel></rss>".encode()


def item(number: int, title: str = "", **fields: str) -> dict[str, str]:
    return {
        "title": title or f"entry {number}",
        "guid": f"tag:{number}",
        "link": f"https://else.example/{number}",
    } | fields


def quick(url: str) -> Feed:
    return Feed(url, poll=0.01, backoff=Backoff(0.01, 0.02))


def served(
    handle: Any, done: Any, *, cursor: str | None = None, path: str = "/feed.xml"
) -> tuple[Memory, Feed, Web, list[str]]:
    """Follow a feed on a server until something is so of its store and itself."""
    web, store, news = Web(handle), Memory(), []
    found: list[Feed] = []

    async def main() -> None:
        async with web:
            feed = quick(f"{web.url}/feed.xml")
            found.append(feed)
            if cursor is not None:
                store.places[feed.name] = cursor
            await follow_until(store, [feed], lambda: done(store, feed, web), news)

    asyncio.run(main())
    return store, found[0], web, news


def test_entries_are_posts_of_the_feeds_host():
    body = rss(
        item(
            1,
            "A &amp; B",
            description='<p>One <a href="/two">two</a></p><p>three</p>',
            pubDate=SATURDAY,
        ),
        item(2, guid="http://127.0.0.1/own"),
        item(3, guid="https://victim.example/claimed"),
    )
    store, feed, web, _ = served(lambda asked: Answer(body), lambda store, feed, web: len(store.told) == 3)
    third, second, first = store.posts()
    assert first.text == "A & B\n\nOne two\n\nthree"
    assert first.author == "127.0.0.1"
    assert first.links == ("https://else.example/1", f"{web.url}/two")
    assert first.created_at == datetime(2026, 7, 4, 14, tzinfo=UTC)
    assert first.language == "en"
    assert first.uri == f"{web.url}/feed.xml#tag:1"
    assert second.uri == "http://127.0.0.1/own"
    assert third.uri == f"{web.url}/feed.xml#https://victim.example/claimed"
    assert {post.author for post in store.posts()} == {"127.0.0.1"}
    assert {post.source for post in store.posts()} == {feed.name}


def test_it_is_asked_whether_something_changed():
    def handle(asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == '"v1"':
            return Answer(status=304)
        return Answer(rss(item(1)), headers={"ETag": '"v1"', "Last-Modified": "Sat, 04 Jul 2026 14:00:00 GMT"})

    store, feed, web, _ = served(handle, lambda store, feed, web: len(web.asked) > 4)
    assert store.batches == [1]
    assert all(asked.headers["if-none-match"] == '"v1"' for asked in web.asked[1:])
    assert all(asked.headers["if-modified-since"].startswith("Sat") for asked in web.asked[1:])
    # Another process goes on with the same questions, and tells nothing again.
    again, _, web, _ = served(handle, lambda store, feed, web: len(web.asked) > 2, cursor=store.places[feed.name])
    assert web.asked[0].headers["if-none-match"] == '"v1"'
    assert again.told == []


def test_what_changes_is_edited_and_what_vanishes_stays():
    bodies = [rss(item(1), item(2)), rss(item(2, "entry 2, corrected")), rss(item(3)), rss(item(1), item(3))]
    turn = iter(range(10**6))
    handle = lambda asked: Answer(bodies[min(next(turn), 3)])  # noqa: E731
    store, feed, _, _ = served(handle, lambda store, feed, web: len(web.asked) > 6)
    texts = [(type(change), change.text) for change in store.told if isinstance(change, Post | Edited)]
    assert texts == [
        (Post, "entry 2"),
        (Post, "entry 1"),
        (Post, "entry 2, corrected"),
        (Edited, "entry 2, corrected"),
        (Post, "entry 3"),
    ]
    assert feed.counters.deleted == 0


def test_where_it_has_moved_for_good_it_is_asked_from_then_on():
    def handle(asked: Asked) -> Answer:
        if asked.path == "/feed.xml":
            return Answer(status=301, headers={"Location": "/new.xml"})
        return Answer(rss(item(1)))

    store, _, web, news = served(handle, lambda store, feed, web: len(web.asked) > 5)
    assert [asked.path for asked in web.asked].count("/feed.xml") == 1
    assert sum("has moved to" in text for text in news) == 1
    assert store.posts()[0].author == "127.0.0.1"
    served(handle, lambda store, feed, web: len(store.told) == 1)


def test_where_it_has_moved_to_nothing_it_is_asked_at_home_again():
    """A stray redirect to a page that is no feed, and a new home that is gone later."""
    turn = iter(range(10**6))

    def handle(asked: Asked) -> Answer:
        number = next(turn)
        if asked.path == "/feed.xml" and number < 7:
            return Answer(status=301, headers={"Location": "/login.html" if number < 2 else "/new.xml"})
        if asked.path == "/login.html":
            return Answer(b"<html>Log in</html>")
        return Answer(status=404) if number > 4 and asked.path == "/new.xml" else Answer(rss(item(number)))

    store, _, web, _ = served(handle, lambda store, feed, web: len(web.asked) > 12)
    asked = [asked.path for asked in web.asked]
    assert asked[:5] == ["/feed.xml", "/login.html", "/feed.xml", "/new.xml", "/new.xml"]
    assert set(asked[9:]) == {"/feed.xml"}
    assert len(store.posts()) > 4


def test_nothing_tells_what_whoever_follows_it_keeps_secret():
    first, second = (Feed(f"https://ann:secret@h.example/feed.xml?key={key}") for key in ("K1", "K2"))
    told = "".join([first.name, first.uri_of("tag:1"), first.host, first.address])
    assert not [secret for secret in ("secret", "K1", "ann") if secret in told]
    assert first.name.startswith("feed:https://h.example/feed.xml")
    assert first.name != second.name
    assert first.uri_of("tag:1") != second.uri_of("tag:1")
    assert Feed("https://h.example/feed.xml").name == "feed:https://h.example/feed.xml"

    async def main() -> None:
        async with client() as http:
            await fetch(http, "http://ann:secret@127.0.0.1:1/feed.xml?key=K")

    with pytest.raises(LostError) as raised:
        asyncio.run(main())
    assert "secret" not in str(raised.value)


def test_entries_without_ids_are_told_apart():
    home = "https://h.example/"
    alike = [{"title": title, "link": home} for title in ("first", "second")]
    alone = {"title": "third", "link": f"{home}3"}
    one, two, three = read_feed(rss(*alike, alone), "application/rss+xml", home)
    assert one.id != two.id
    assert three.id == f"{home}3"
    store, _, _, _ = served(lambda asked: Answer(rss(*alike)), lambda store, feed, web: len(web.asked) > 4)
    assert sorted(post.text for post in store.posts()) == ["first", "second"]
    assert len(store.told) == 2


def test_of_two_entries_with_one_id_the_first_counts():
    body = rss(item(1, "new"), item(1, "old"))
    store, _, _, _ = served(lambda asked: Answer(body), lambda store, feed, web: len(web.asked) > 4)
    assert [post.text for post in store.posts()] == ["new"]
    assert len(store.told) == 1


def test_an_answer_without_a_body_may_say_how_it_is_packed():
    def handle(asked: Asked) -> Answer:
        headers = {"ETag": '"v1"', "Content-Encoding": "gzip"}
        if asked.headers.get("if-none-match"):
            return Answer(status=304, headers=headers)
        return Answer(gzip.compress(rss(item(1))), headers=headers)

    _, feed, _, _ = served(handle, lambda store, feed, web: len(web.asked) > 3)
    assert (feed.counters.malformed, feed.counters.reconnects) == (0, 0)


def test_where_it_is_for_now_it_is_asked_anew_each_time():
    def handle(asked: Asked) -> Answer:
        if asked.path == "/feed.xml":
            return Answer(status=302, headers={"Location": "/new.xml"})
        return Answer(rss(item(1)))

    _, _, web, _ = served(handle, lambda store, feed, web: len(web.asked) > 7)
    assert [asked.path for asked in web.asked[:6]] == ["/feed.xml", "/new.xml"] * 3


def test_a_feed_that_is_gone_is_given_up():
    web, store = Web(lambda asked: Answer(status=410)), Memory()

    async def main() -> None:
        async with web:
            await follow_until(store, [quick(f"{web.url}/feed.xml")], lambda: False)

    with pytest.raises(StreamError, match="gone for good"):
        asyncio.run(main())
    assert len(web.asked) == 1


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_other_refusals_are_waited_out(status: int):
    turn = iter(range(10**6))

    def handle(asked: Asked) -> Answer:
        return Answer(status=status, headers={"Retry-After": "0"}) if next(turn) < 3 else Answer(rss(item(1)))

    _, feed, _, news = served(handle, lambda store, feed, web: len(store.told) == 1)
    assert feed.counters.reconnects == 3
    assert sum(str(status) in text for text in news) == 3


def test_how_long_to_stay_away_is_read_within_bounds():
    at = datetime(2026, 7, 4, 14, tzinfo=UTC)
    assert retry_after("120") == 120
    assert retry_after("Sat, 04 Jul 2026 14:02:00 GMT", at) == 120
    assert retry_after("Sat, 04 Jul 2026 13:00:00 GMT", at) == 0
    assert retry_after("9" * 300) == MAX_WAIT
    assert [retry_after(value) for value in (None, "", "soon", "-5", "²")] == [None] * 5


def packed(body: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(b"x" * (MAX_BODY + 1)), "gzip", "more than"),
        (packed(b"x" * (MAX_BODY + 1), 15), "deflate", "more than"),
        (b"x" * (MAX_BODY + 1), "", "more than"),
        (gzip.compress(rss(item(1)))[:-20], "gzip", "packed wrongly"),
        (b"no gzip", "gzip", "packed wrongly"),
        (rss(item(1)), "zstd", "not asked for"),
        (rss(item(1)), "br", "not asked for"),
        (b"", "", "no feed"),
        (b"<html><body>Log in</body></html>", "", "no feed"),
        (b"\x00\xff\xfe" * 100, "", "no feed"),
    ],
)
def test_what_is_no_feed_or_too_much_is_counted_and_survived(body: bytes, encoding: str, reason: str):
    turn = iter(range(10**6))
    headers = {"Content-Encoding": encoding} if encoding else {}

    def handle(asked: Asked) -> Answer:
        return Answer(body, headers=headers) if next(turn) == 0 else Answer(rss(item(1)))

    _, feed, _, news = served(handle, lambda store, feed, web: len(store.told) == 1)
    assert feed.counters.malformed == 1
    assert reason in news[0]


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (lambda b: packed(b, 15), "deflate")])
def test_packed_answers_are_unpacked(pack: Any, encoding: str):
    body = pack(rss(item(1)))
    headers = {"Content-Encoding": encoding}
    served(lambda asked: Answer(body, headers=headers), lambda store, feed, web: len(store.told) == 1)


def test_a_location_out_of_the_web_is_not_gone_to(tmp_path: Path):
    secret = tmp_path / "feed.xml"
    secret.write_bytes(rss(item(1)))
    for place in (f"file://{secret}", "ftp://127.0.0.1/", "javascript:alert(1)"):
        web = Web(lambda asked, place=place: Answer(status=302, headers={"Location": place}))
        store, news = Memory(), []

        async def main(web: Web = web, store: Memory = store, news: list[str] = news) -> None:
            async with web:
                await follow_until(store, [quick(f"{web.url}/feed.xml")], lambda: len(news) > 1, news)

        asyncio.run(main())
        assert store.told == []


def test_a_server_that_runs_in_circles_is_left():
    handle = lambda asked: Answer(status=302, headers={"Location": asked.path})  # noqa: E731
    _, _, _, news = served(handle, lambda store, feed, web: feed.counters.reconnects == 2)
    assert "leads from one address to the next" in news[0]


def test_a_body_that_names_a_file_of_ours_is_no_feed(tmp_path: Path):
    ours = tmp_path / "feed.xml"
    ours.write_bytes(rss(item(1)))
    with pytest.raises(MalformedError):
        read_feed(str(ours).encode(), "application/rss+xml", "https://h.example/")


def test_charsets_and_atom_are_understood():
    head = '<?xml version="1.0" encoding="iso-8859-1"?><rss version="2.0"><channel>'
    latin = f"{head}<item><title>Été</title></item></channel></rss>".encode("latin-1")
    assert [entry.text for entry in read_feed(latin, "application/rss+xml", "https://h.example/")] == ["Été"]
    atom = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="fr"><title>x</title><entry>
    <id>https://h.example/1</id><title type="text">1 &lt; 2</title><updated>2026-07-04T14:00:00+02:00</updated>
    <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a</p><p>b</p></div></content></entry></feed>"""
    (entry,) = read_feed(atom.encode(), "application/atom+xml", "https://h.example/")
    assert (entry.id, entry.text, entry.language) == ("https://h.example/1", "1 < 2\n\na\n\nb", "fr")
    assert entry.created_at == datetime(2026, 7, 4, 12, tzinfo=UTC)


def test_entities_that_multiply_do_not():
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'
    body = f'{bomb}<rss version="2.0"><channel><item><title>&e12;</title></item></channel></rss>'
    assert sum(len(entry.text) for entry in read_feed(body.encode(), "application/rss+xml", "")) < 100


def test_the_memory_of_a_feed_is_bounded():
    body = rss(*(item(n) for n in range(REMEMBERED + 500)))
    store, feed, _, _ = served(lambda asked: Answer(body), lambda store, feed, web: feed.name in store.places)
    state = json.loads(store.places[feed.name])
    assert len(store.told) == REMEMBERED + 500
    assert len(state["s"]) == REMEMBERED * 24


def test_scripts_in_entries_are_not_text():
    html = "<p onclick=x>a<script>alert(1)</script><style>b{}</style></p><!-- c -->d<a href='javascript:x'>e</a>"
    (entry,) = read_feed(rss(item(1, "t", description=html)), "application/rss+xml", "https://h.example/")
    assert entry.text.startswith("t\n\na\n\nde")
    assert entry.links == ("https://else.example/1",)


@pytest.mark.parametrize("url", ["", "x", "file:///etc/hosts", "https://", "https://[", "https://a b", "gopher://x"])
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(StreamError):
        Feed(url)


def check(entries: list[Any]) -> None:
    for entry in entries:
        assert entry.id
        assert "\x00" not in entry.text + entry.id
        (entry.text + entry.id).encode()
        assert all(link.startswith("http") for link in entry.links)


@given(st.binary(max_size=400))
def test_bytes_are_read_or_refused(body: bytes):
    try:
        check(read_feed(body, "application/rss+xml", "https://h.example/"))
    except MalformedError:
        return


VALID = rss(item(1, "A &amp; B", description="<p>x</p>", pubDate=SATURDAY), item(2))


@given(
    st.integers(0, len(VALID)),
    st.integers(0, 40),
    st.binary(max_size=40) | st.sampled_from([b"<", b"&", b"]]>", b"<![", b"&#xD800;", b"&#0;"]),
)
def test_feeds_with_a_place_overwritten_are_read_or_refused(at: int, length: int, other: bytes):
    try:
        check(read_feed(VALID[:at] + other + VALID[at + length :], "application/rss+xml", "https://h.example/"))
    except MalformedError:
        return

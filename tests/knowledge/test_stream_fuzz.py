"""Long fuzzing of every parser of foreign input: each reads or refuses whatever comes, by no other error."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.knowledge.streams.bluesky import read_json
from lindos.knowledge.streams.entries import read_feed
from lindos.knowledge.streams.html import html_text
from lindos.knowledge.streams.jetstream1 import Jetstream1
from lindos.knowledge.streams.jetstream2 import Jetstream2
from lindos.knowledge.streams.lines import LineReader
from lindos.knowledge.streams.sse import EventReader
from lindos.knowledge.streams.statuses import status_changes
from lindos.knowledge.streams.stream import Counters, LostError, MalformedError
from tests.knowledge.servers.mastodon import FIRST, status
from tests.knowledge.test_stream_bluesky import SEEN, VALID, check, mutated
from tests.knowledge.test_stream_feeds import VALID as FEED
from tests.knowledge.test_stream_feeds import check as check_entries
from tests.knowledge.test_stream_files import line

EXAMPLES = 1500
V1 = [str(event.v1()) for event in VALID]
V2 = [str(event.v2()) for event in VALID]
LINES = [line(1, links=["https://a.example"]), json.dumps({"edit": {"uri": "x:1", "text": "a"}}), *V1]
STATUSES = [json.dumps(status(FIRST, "<p>a <a href='https://x.example'>b</a></p>", card={"url": "https://y.example"}))]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A feed with several places overwritten."""
    body = FEED
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 60))
        body = (
            body[:at]
            + draw(st.binary(max_size=20) | st.sampled_from([b"<![CDATA[", b"<!DOCTYPE", b"&x;"]))
            + body[at + length :]
        )
    return body


def read_events(chunks: list[bytes]) -> None:
    """However the bytes are cut, the events are the same."""
    apart, whole = EventReader(), EventReader()
    assert [event for chunk in chunks for event in apart.feed(chunk)] == list(whole.feed(b"".join(chunks)))


PARSERS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any]]] = {
    "v1": (mutated(V1), lambda text: check(Jetstream1()._reader("")(read_json(text)).changes)),
    "v2": (mutated(V2), lambda text: check(Jetstream2()._reader("")(read_json(text)).changes)),
    "lines": (mutated(LINES), lambda text: check(LineReader("a", Counters()).read(text.encode(), SEEN))),
    "statuses": (mutated(STATUSES), lambda text: check(status_changes("a", read_json(text), SEEN, Counters()))),
    "feeds": (spoiled(), lambda body: check_entries(read_feed(body, "application/rss+xml", "https://h.example/"))),
    "html": (st.text(alphabet="<>&/!-[]='\"apbr#;x0 \n\x00", max_size=80), html_text),
    "events": (st.lists(st.binary(max_size=60) | st.text("\r\n:da ", max_size=9).map(str.encode)), read_events),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_whatever_comes_is_read_or_refused(name: str):
    inputs, parse = PARSERS[name]

    @settings(max_examples=EXAMPLES)
    @given(inputs)
    def fuzz(foreign: Any) -> None:
        with suppress(MalformedError, LostError):
            parse(foreign)

    fuzz()

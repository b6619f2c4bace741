"""Sources as people name them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from lindos.knowledge.streams.feeds import Feed
from lindos.knowledge.streams.files import JsonLines
from lindos.knowledge.streams.following import refuse_twice
from lindos.knowledge.streams.hackernews import DEFAULT_URL as HACKERNEWS_URL
from lindos.knowledge.streams.hackernews import HackerNews
from lindos.knowledge.streams.jetstream1 import DEFAULT_URL as V1_URL
from lindos.knowledge.streams.jetstream1 import Jetstream1
from lindos.knowledge.streams.jetstream2 import DEFAULT_URL as V2_URL
from lindos.knowledge.streams.jetstream2 import Jetstream2
from lindos.knowledge.streams.mastodon import TOKEN, Mastodon
from lindos.knowledge.streams.stream import Stream, StreamError

SOURCES = {
    "bluesky": "all of Bluesky, by Jetstream v2 (bluesky:wss://HOST: by another server)",
    "bluesky-v1": "all of Bluesky, by Jetstream v1 (or bluesky-v1:wss://HOST)",
    "mastodon:HOST": "the public timeline of a Mastodon server; "
    f"{TOKEN} holds a token of an account there (several: HOST=TOKEN HOST=TOKEN)",
    "feed:URL": "an RSS or Atom feed (an http address alone will do)",
    "hackernews": "Hacker News",
    "file:PATH": "a JSONL file, for as long as it grows",
}
"""How sources are named, and what each is."""


def parse_sources(texts: Sequence[str]) -> list[Stream]:
    """The streams that words name, each another one. Raises StreamError."""
    streams = [parse_source(text) for text in texts]
    refuse_twice(streams)
    hosts = [stream.host for stream in streams if isinstance(stream, Mastodon)]
    if len(hosts) > 1 and _lone_token(os.environ):
        named = " ".join(f"{host}=TOKEN" for host in hosts)
        raise StreamError(f"{TOKEN} holds one token, which is not for every server; write {TOKEN}='{named}'")
    return streams


def parse_source(text: str, *, url: str | None = None, environment: Mapping[str, str] = os.environ) -> Stream:
    """The stream that a word names; `url` is another server that speaks the same. Raises StreamError."""
    kind, _, rest = text.strip().partition(":")
    if kind.lower() in ("http", "https"):
        kind, rest = "feed", text.strip()
    if kind.lower() in ("bluesky", "bluesky-v1") and "://" in rest:
        if url:
            raise _placed(text)
        url, rest = rest, ""
    make: Callable[[], Stream] | None = {
        ("bluesky", False): lambda: Jetstream2(url or V2_URL),
        ("bluesky-v1", False): lambda: Jetstream1(url or V1_URL),
        ("hackernews", False): lambda: HackerNews(url or HACKERNEWS_URL),
        ("mastodon", True): lambda: Mastodon(rest, token=_token(rest, environment), url=url or ""),
        ("feed", True): lambda: Feed(rest),
        ("file", True): lambda: JsonLines(Path(rest).expanduser(), growing=True),
    }.get((kind.lower(), bool(rest)))
    if make is None:
        raise StreamError(_unknown(text, kind.lower()))
    if url and kind.lower() in ("feed", "file"):
        raise _placed(text)
    return make()


def _token(host: str, environment: Mapping[str, str]) -> str:
    """The token for a Mastodon server: of `HOST=TOKEN HOST=TOKEN ...` its own, else the only one that there is."""
    tokens = dict(pair.split("=", 1) for pair in environment.get(TOKEN, "").split() if "=" in pair)
    return tokens.get(host, "") or _lone_token(environment)


def _lone_token(environment: Mapping[str, str]) -> str:
    value = environment.get(TOKEN, "").strip()
    return "" if "=" in value else value


def _placed(text: str) -> StreamError:
    return StreamError(f"{text} says already where it is; --url is for sources that have a server of their own")


def place_of(name: str, cursor: str) -> datetime | None:
    """The source's time at a stream's cursor, where its kind of cursor tells it."""
    reads = {"bluesky": Jetstream2().place, "bluesky-v1": Jetstream1().place, "mastodon": Mastodon("host").place}
    read = reads.get(name.partition(":")[0])
    return None if read is None else read(cursor)


def _unknown(text: str, kind: str) -> str:
    names = {name.partition(":")[0]: name for name in SOURCES}
    close = difflib.get_close_matches(kind, names, n=1, cutoff=0.5)
    hint = f"; did you mean {names[close[0]]}?" if close else f" (known: {', '.join(SOURCES)})"
    return f"there is no source '{text}'{hint}"

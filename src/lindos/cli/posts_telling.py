"""What `lindos posts` shows: live counters, progress, found posts, places of streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lindos.knowledge import Hit
from lindos.knowledge.streams import JsonLines, News, Stream, place_of

LIVE_SECONDS = 0.5
LOG_SECONDS = 10.0


class Rates:
    """Posts a second of each stream, over the last few seconds."""

    def __init__(self, streams: Sequence[Stream], clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self._past: list[tuple[float, list[int]]] = [(clock(), self._counts())]

    def now(self) -> list[float]:
        at, counts = self._clock(), self._counts()
        self._past = [*[past for past in self._past if at - past[0] < LOG_SECONDS][-40:], (at, counts)]
        begun, before = self._past[0]
        return [(count - old) / max(at - begun, 1e-3) for count, old in zip(counts, before, strict=True)]

    def _counts(self) -> list[int]:
        return [stream.counters.created for stream in self._streams]


class Telling:
    """Streams under way: a table that changes in a terminal, a line each now and then in a log."""

    def __init__(self, console: Console, streams: Sequence[Stream]) -> None:
        self._console = console
        self._streams = streams
        self._rates = Rates(streams)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._task = asyncio.create_task(self._tell())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._live is not None:
            self._live.stop()
        for stream in self._streams:
            self._console.print(escape(_line(stream, None)), soft_wrap=True)

    def news(self, news: News) -> None:
        self._console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim] {_plain(news)}", soft_wrap=True)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(LOG_SECONDS if self._live is None else LIVE_SECONDS)
            rates = self._rates.now()
            if self._live is not None:
                self._live.update(_table(self._streams, rates), refresh=True)
                continue
            for stream, rate in zip(self._streams, rates, strict=True):
                self._console.print(escape(_line(stream, rate)), soft_wrap=True)


class Importing:
    """Files under way: how much of them is read, and what came of it."""

    def __init__(self, console: Console, streams: Sequence[JsonLines]) -> None:
        self._console = console
        self._streams = streams
        self._status = console.status("Importing ...") if console.is_terminal else None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        self._task = asyncio.create_task(self._tell())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._status is not None:
            self._status.stop()
        for stream in self._streams:
            self._console.print(escape(_imported(stream)), soft_wrap=True)

    def news(self, news: News) -> None:
        self._console.print(_plain(news), soft_wrap=True)

    async def _tell(self) -> None:
        sizes = [_size(stream) for stream in self._streams]
        while True:
            await asyncio.sleep(LOG_SECONDS if self._status is None else LIVE_SECONDS)
            share = sum(stream.offset for stream in self._streams) / max(sum(sizes), 1)
            created = sum(stream.counters.created for stream in self._streams)
            words = f"Importing: {share:.0%}, {created:,} new posts"
            if self._status is not None:
                self._status.update(words)
            else:
                self._console.print(words)


def show_hits(console: Console, hits: Sequence[Hit]) -> None:
    """Found posts, for people: when they were seen and by whom, what they say, where they lead."""
    for hit in hits:
        post = hit.post
        head = Text(f"{post.seen_at:%Y-%m-%d %H:%M} UTC  ", style="dim")
        head.append(_harmless(post.name), style="bold")
        head.append(f"  {_harmless(post.source)}" + ("  (edited)" if post.edited_at else ""), style="dim")
        console.print(head, soft_wrap=True)
        for line in _harmless(post.text).split("\n"):
            console.print(Text(f"  {line}"), soft_wrap=not console.is_terminal)
        console.print(Text(f"  {' '.join(map(_harmless, (post.uri, *post.links)))}\n", style="dim"), soft_wrap=True)
    if not hits:
        console.print("Nothing is found.")


def show_streams(console: Console, count: int, cursors: Mapping[str, str]) -> None:
    """How many posts are kept, and where streams were left."""
    console.print(f"{count:,} posts are kept.")
    if not cursors:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("stream", "left at", "lag", "cursor"):
        table.add_column(title, justify="right" if title == "lag" else "left", overflow="fold")
    for name, cursor in cursors.items():
        at = place_of(name, cursor)
        left = f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "-"
        lag = _time((datetime.now(UTC) - at).total_seconds()) if at else "-"
        short = cursor if len(cursor) <= 60 else f"{cursor[:57]}..."
        table.add_row(Text(_harmless(name)), left, lag, Text(_harmless(short)))
    console.print(table)


def _table(streams: Sequence[Stream], rates: Sequence[float]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("stream", "posts/s", "new", "edited", "deleted", "known", "lag", "malformed", "reconnects", "gaps"):
        table.add_column(title, justify="left" if title == "stream" else "right")
    for stream, rate in zip(streams, rates, strict=True):
        c = stream.counters
        lag = c.lag()
        numbers = [f"{c.created:,}", f"{c.edited:,}", f"{c.deleted:,}", f"{c.repeated:,}"]
        numbers += ["-" if lag is None else _time(lag), f"{c.malformed:,}", f"{c.reconnects:,}", f"{c.gaps:,}"]
        table.add_row(Text(_harmless(stream.name), style="bold" if c.connected else "dim"), f"{rate:,.1f}", *numbers)
    return table


def _line(stream: Stream, rate: float | None) -> str:
    c = stream.counters
    lag = c.lag()
    speed = "" if rate is None else f" ({rate:,.1f}/s)"
    behind = "" if rate is None or lag is None else f", {_time(lag)} behind"
    return (
        f"{_harmless(stream.name)}: {c.created:,} new posts{speed}, {c.edited:,} edited, {c.deleted:,} deleted, "
        f"{c.repeated:,} known{behind}; {c.malformed:,} malformed, {c.reconnects:,} reconnects, {c.gaps:,} gaps"
    )


def _imported(stream: JsonLines) -> str:
    c = stream.counters
    if c.received == 0 and c.connected is False and stream.offset and stream.offset >= _size(stream):
        return f"{_harmless(stream.path.name)}: nothing new since the last import; --again reads it from its beginning"
    return (
        f"{_harmless(stream.path.name)}: {c.received:,} lines, {c.created:,} new posts, {c.edited:,} edited, "
        f"{c.deleted:,} deleted, {c.repeated:,} known, {c.skipped:,} about something else, {c.malformed:,} malformed"
    )


def _size(stream: JsonLines) -> int:
    try:
        return stream.path.stat().st_size
    except OSError:
        return 0


def _plain(news: News) -> str:
    return f"{escape(_harmless(news.stream))}: {escape(_harmless(news.text))}"


def _harmless(text: str) -> str:
    """Foreign text without what could move a terminal's cursor or turn its lines around."""
    return "".join(c if c == "\n" or c.isprintable() or c in "\u200d\u200c" else " " for c in text)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min"

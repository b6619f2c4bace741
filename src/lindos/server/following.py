"""Following: the streams of posts that a server follows itself, in its own event loop, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from lindos.knowledge import Posts
from lindos.knowledge.streams import Backoff, JsonLines, News, Stream, StreamError, follow, parse_sources

log = logging.getLogger("lindos.server")

AGAIN_SECONDS = 30
"""How soon a stream that gave up is begun anew; what it wants (a token, a file) may be there by then."""
LONGEST_SECONDS = 15 * 60
BEHIND_SECONDS = 60
"""Of being behind its source by less nothing is said."""
UNSAVED = "its posts cannot be saved just now; the server's log says why"
BROKEN = "an error of Lindos's own, which the server's log tells"
_ADDRESS = re.compile(r"(\b[a-z]+://)(?:[^\s/?#@]*@)?([^\s?#]*)(?:[?#]\S*)?", re.IGNORECASE)


class Following:
    """One stream, followed until cancelled. Whatever befalls it, it is begun anew, and `words` tell of it."""

    def __init__(self, posts: Posts, stream: Stream, *, backoff: Backoff | None = None) -> None:
        self._posts = posts
        self._stream = stream
        self.name = self._public(stream.name)
        self._backoff = backoff or Backoff(AGAIN_SECONDS, LONGEST_SECONDS)
        self._trouble = ""
        self._unsaved = False

    @property
    def live(self) -> bool:
        """Whether posts come in: connected, and kept."""
        return self._stream.counters.connected and not self._unsaved

    @property
    def words(self) -> str:
        """How it is doing, for people; nothing of paths, passwords or keys."""
        if self._unsaved:
            return UNSAVED
        return self._going() if self.live else self._trouble

    async def run(self) -> None:
        """Follow, from where the store says it was left."""
        while True:
            try:
                await follow(self._posts, [self._stream], self._hear)
                fault = "it has ended"
            except StreamError as error:
                fault = self._public(str(error))
            except Exception:  # a stream is foreign input without end; its trouble must not end the server
                log.exception("%s stopped", self.name)
                fault = BROKEN
            pause = self._backoff.next()
            self._trouble = f"{fault}; trying again in {pause:.0f} s"
            log.warning("%s: %s", self.name, self._trouble)
            await asyncio.sleep(pause)

    def _hear(self, news: News) -> None:
        if news.of_store:
            # The first trouble only: it is tried again for as long as it lasts.
            works = news.text == "the store works again"
            (log.info if works or self._unsaved else log.warning)("%s: %s", self.name, news.text)
            self._unsaved = not works
            return
        self._trouble = self._public(news.text)
        log.info("%s: %s", self.name, self._trouble)
        if self._stream.counters.connected:
            self._backoff.reset()

    def _public(self, text: str) -> str:
        folder = f"{self._stream.path.parent}{os.sep}" if isinstance(self._stream, JsonLines) else ""
        return public(text.replace(folder, "") if folder else text)

    def _going(self) -> str:
        counters = self._stream.counters
        behind = f", {counters.behind / 60:,.0f} min behind" if counters.behind > BEHIND_SECONDS else ""
        gaps = f", {counters.gaps:,} {'gap' if counters.gaps == 1 else 'gaps'}" if counters.gaps else ""
        return f"live, {counters.created:,} new{behind}{gaps}"


@asynccontextmanager
async def following(posts: Posts, sources: Sequence[str]) -> AsyncIterator[tuple[Following, ...]]:
    """Follow what words name for the length of the block. Raises StreamError for a word that names nothing.

    At the end a batch that is being stored is stored with its place; what was read beyond it is read again next time.
    """
    found = tuple(Following(posts, stream) for stream in parse_sources(sources))
    tasks = [asyncio.create_task(one.run(), name=one.name) for one in found]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def public(text: str) -> str:
    """Addresses without passwords and keys."""
    return _ADDRESS.sub(r"\1\2", text)

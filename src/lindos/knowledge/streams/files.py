"""JSONL files: read from where they were left, once or for as long as they grow."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from lindos.knowledge.streams.batching import batched
from lindos.knowledge.streams.bluesky import MAX_MESSAGE
from lindos.knowledge.streams.lines import LineReader
from lindos.knowledge.streams.stream import Batch, Counters, MalformedError, Piece, StreamError
from lindos.knowledge.streams.words import now

LOOK_SECONDS = 0.2
"""How often a file that is followed is looked at."""
HEAD = 256
"""Bytes of a file's beginning by which it is known again."""
TOLD_LINES = 5
"""Bad lines that are named; further ones are only counted."""


class JsonLines:
    """A file of posts. A cursor is the byte behind the last line that was read, and a mark of the file's beginning.

    A file that became shorter, or begins otherwise, is another one and read from its beginning; with `again` any is.
    """

    def __init__(
        self,
        path: Path,
        *,
        growing: bool = False,
        again: bool = False,
        keep_times: bool = False,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.path = path.absolute()
        self.name = f"file:{self.path}"
        self.counters = Counters()
        self.offset = 0
        """Bytes that are read."""
        self._growing = growing
        self._again = again
        self._clock = clock
        self._reader = LineReader(f"file:{path.name}", self.counters, keep_times=keep_times)
        self._head = b""
        self._line = 0
        self._open = False
        self._told = 0

    def changes(self, cursor: str | None) -> AsyncGenerator[Batch]:
        return batched(self._pieces(None if self._again else cursor))

    def place(self, cursor: str) -> datetime | None:
        return None

    async def _pieces(self, cursor: str | None) -> AsyncGenerator[Piece]:
        try:
            while True:
                with self.path.open("rb") as file:
                    self._resume(file, cursor)
                    async with aclosing(self._lines(file)) as lines:
                        async for line in lines:
                            yield self._piece(line)
                if not self._growing:
                    return
                cursor = None
                yield Piece(news=("the file was begun anew",))
        except OSError as error:
            raise StreamError(f"{self.path} cannot be read: {error.strerror or error}") from None

    def _resume(self, file: BinaryIO, cursor: str | None) -> None:
        """Go to where a cursor left this file; to the beginning where it speaks of another."""
        offset, line, mark = _read_cursor(cursor)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._head = file.read(min(offset, HEAD))
        if offset > size or zlib.crc32(self._head) != mark:
            offset, line, self._head = 0, 0, b""
        self.offset, self._line, self._open = offset, line, bool(offset) and not _ends_line(file, offset)
        file.seek(offset)
        self.counters.connected = True

    async def _lines(self, file: BinaryIO) -> AsyncGenerator[bytes]:
        """Whole lines, and the last one however it ends; an empty one stands for one that is too long."""
        while True:
            line, length = _read_line(file)
            if not line.endswith(b"\n") and self._growing and not self._replaced(file):
                file.seek(self.offset)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if not line:
                return
            self._line += not self._open
            self._open = not line.endswith(b"\n")
            self._head += line[: HEAD - len(self._head)]
            self.offset += length
            yield line if length <= MAX_MESSAGE else b""

    def _replaced(self, file: BinaryIO) -> bool:
        """Whether the path leads to another file by now, or to less of this one."""
        mine = os.fstat(file.fileno())
        try:
            there = self.path.stat()
        except FileNotFoundError:  # moved away; its successor is still to come
            return False
        return (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino) or there.st_size < self.offset

    def _piece(self, line: bytes) -> Piece:
        """What a line came to; an empty one was too long."""
        cursor = json.dumps({"at": self.offset, "line": self._line, "mark": zlib.crc32(self._head)})
        if line.isspace():
            return Piece((), cursor)
        self.counters.received += 1
        try:
            if not line:
                raise MalformedError(f"longer than {MAX_MESSAGE:,} bytes")
            changes = self._reader.read(line, self._clock())
        except MalformedError as error:
            self.counters.malformed += 1
            self._told += 1
            news = (f"line {self._line:,}: {error}",) if self._told <= TOLD_LINES else ()
            # The last line of a file that is still being written is read when it is whole.
            return Piece((), None if self._open else cursor, news)
        self.counters.skipped += not changes
        return Piece(changes, cursor)


def _ends_line(file: BinaryIO, offset: int) -> bool:
    """Whether a line ends just before an offset."""
    file.seek(offset - 1)
    return file.read(1) == b"\n"


def _read_line(file: BinaryIO) -> tuple[bytes, int]:
    """The next line, or its beginning where it is too long, and its whole length."""
    line = part = file.readline(MAX_MESSAGE + 1)
    length = len(line)
    while len(part) > MAX_MESSAGE and not part.endswith(b"\n"):
        part = file.readline(MAX_MESSAGE + 1)
        length += len(part)
    return (line if line is part else line[:HEAD] + part[-1:]), length


def _read_cursor(cursor: str | None) -> tuple[int, int, int]:
    """Offset, line and mark of a cursor; the beginning for none."""
    try:
        found = json.loads(cursor or "{}")
        return int(found["at"]), int(found["line"]), int(found["mark"])
    except (ValueError, KeyError, TypeError):
        return 0, 0, 0

"""Server-sent events, as the HTML standard has them: fields on lines, an empty line between events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass

MAX_EVENT = 1 << 20
"""Bytes of an event that are kept; of a longer one nothing is."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event; `too_long` for one whose data was thrown away."""

    name: str
    data: str
    too_long: bool = False


class EventReader:
    """Bytes in, however cut; events out. Comments (heartbeats) give nothing."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._skipping = False
        self._after_return = False
        self._fresh = True
        self._clear()

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that a chunk completes."""
        if self._after_return and chunk.startswith(b"\n"):  # a line end that was cut in two
            chunk, self._after_return = chunk[1:], False
        self._after_return = chunk.endswith(b"\r") if chunk else self._after_return
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[Event] = []
        for line in lines:
            event = self._line(bytes(self._rest + line))
            self._rest.clear()
            if event is not None:
                events.append(event)
        self._rest += rest
        if len(self._rest) > MAX_EVENT:
            self._rest.clear()
            self._skipping = self._too_long = True
        return events

    def _line(self, line: bytes) -> Event | None:
        if self._skipping:  # the end of a line whose beginning was thrown away
            self._skipping = False
            return None
        if self._fresh:
            line, self._fresh = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            return self._complete()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"data":
            self._size += len(value) + 1
            if self._size > MAX_EVENT:
                self._too_long = True
                self._data.clear()
            elif not self._too_long:
                self._data.append(value)
        return None

    def _complete(self) -> Event | None:
        name, data, too_long = self._name or "message", self._data, self._too_long
        self._clear()
        if too_long:
            return Event(name, "", too_long=True)
        return Event(name, b"\n".join(data).decode("utf-8", "replace")) if data else None

    def _clear(self) -> None:
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._too_long = False


async def events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[Event]:
    """The events in a body."""
    reader = EventReader()
    async for chunk in chunks:
        for event in reader.feed(chunk):
            yield event

"""What comes over the wire: bytes to server-sent events, whatever the pieces they arrive in, within bounds."""

from __future__ import annotations

import json
from typing import Any

MAX_EVENT = 4 << 20
"""Bytes of one event."""
DONE = "[DONE]"

_BOM = b"\xef\xbb\xbf"


class WireError(Exception):
    """The upstream sent what cannot be understood; the text says what."""


class EventReader:
    """Bytes in, the data of events out, as the HTML standard defines event streams.

    Lines may end in LF, CR or CRLF; comments keep a connection open and are skipped, as are fields other than `data`.
    Text is decoded line by line, so a character cut in two by the network is whole again.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._rest: list[bytes] = []
        """A line that has not ended yet, in the pieces it came in: joined once, however many they are."""
        self._held = 0
        self._data: list[str] = []
        self._size = 0
        self._first = True

    def feed(self, piece: bytes) -> list[str]:
        """The events that `piece` completes. Raises WireError when one is longer than allowed."""
        self._rest.append(piece)
        self._held += len(piece)
        lines = self._lines() if b"\n" in piece or b"\r" in piece or self._rest[0].endswith(b"\r") else []
        if self._held + self._size > self._max:
            raise WireError(f"an event of more than {self._max:,} bytes")
        return [event for line in lines if (event := self._line(line)) is not None]

    def close(self) -> list[str]:
        """The event that the end of the stream completes, though the standard would have it dropped: servers forget."""
        events = self.feed(b"\n\n") if self._rest or self._data else []
        self._rest, self._held = [], 0
        return events

    def _lines(self) -> list[bytes]:
        """The lines that have ended. A CR at the very end may be half a CRLF: it waits for what follows."""
        text = b"".join(self._rest)
        half = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(half)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop() + half
        self._rest, self._held = [rest] if rest else [], len(rest)
        return lines

    def _line(self, line: bytes) -> str | None:
        if self._first:
            self._first, line = False, line.removeprefix(_BOM)
        if not line:
            data, self._data, self._size = self._data, [], 0
            return "\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + 1
            if self._size > self._max:
                raise WireError(f"an event of more than {self._max:,} bytes")
            self._data.append(value.decode("utf-8", "replace"))
        return None


def read_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises WireError when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError(f"{_shown(text)}, which is not JSON") from None
    if not isinstance(value, dict):
        raise WireError(f"{_shown(text)}, which is no JSON object")
    return value


def _shown(text: str | bytes) -> str:
    text = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else text[:77] + "...")

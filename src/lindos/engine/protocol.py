"""How the client and the engine's process speak: JSON objects, each after its length in four bytes.

Client to engine, by `op`:
    start    options, model           the first frame
    submit   id, prompt, sampling, priority, client     prompt is {"text"}, {"tokens"} or {"messages", "truncate"}
    cancel   id                       always answered by the request's last event
    stats    id
Engine to client:
    loading  message, fraction        while it starts
    ready    info                     or `failed` with message, and the process ends
    accepted id, prompt_tokens, dropped     or `refused` with id, kind, message, param
    events   events                   one frame a step: each {id, text, ids, seconds}, {logprobs} where they are
                                      wanted (TokenLogprob.packed), and on a request's last
                                      {finish, usage, timing} or {error, usage}
    stats    id, stats
The end of the stream means that the other side is gone.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

VERSION = 2
MAX_FRAME = 64 << 20
_LENGTH = struct.Struct(">I")
HEADER = _LENGTH.size

Frame = dict[str, Any]


class ProtocolError(Exception):
    """The other side sent something that is no frame."""


def pack(frame: Mapping[str, Any]) -> bytes:
    """A frame as bytes. Raises ProtocolError when it is longer than MAX_FRAME."""
    body = json.dumps(frame, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(body):,} bytes exceeds {MAX_FRAME:,}")
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """The length of the body that follows `header`. Raises ProtocolError when it exceeds MAX_FRAME."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise ProtocolError(f"a frame of {length:,} bytes exceeds {MAX_FRAME:,}; the stream is damaged")
    return length


def parse(body: bytes) -> Frame:
    """The frame in `body`. Raises ProtocolError when it is not a JSON object with an `op`."""
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise ProtocolError("a frame is not an object with an 'op'")
    return frame


def receive(sock: socket.socket) -> Frame | None:
    """The next frame of a blocking socket; None at its end."""
    header = _exactly(sock, HEADER)
    if header is None:
        return None
    body = _exactly(sock, body_length(header))
    return None if body is None else parse(body)


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        try:
            part = sock.recv(min(count - len(parts), 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)

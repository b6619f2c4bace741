"""Frames, good and bad."""

from __future__ import annotations

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine import protocol

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3).map(lambda d: {**d, "op": "x"}), max_size=4))
def test_frames_arrive_as_they_were_sent(frames: list[protocol.Frame]) -> None:
    near, far = socket.socketpair()
    with near, far:
        for frame in frames:
            near.sendall(protocol.pack(frame))
        near.shutdown(socket.SHUT_WR)
        for frame in frames:
            assert protocol.receive(far) == frame
        assert protocol.receive(far) is None


@given(st.binary(max_size=60))
def test_anything_else_is_an_error_or_the_end(data: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)
        try:
            frame = protocol.receive(far)
        except protocol.ProtocolError:
            return
        assert frame is None or isinstance(frame["op"], str)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"op": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.parse(body)


def test_too_long_a_frame_is_refused_on_both_sides() -> None:
    with pytest.raises(protocol.ProtocolError, match="exceeds"):
        protocol.pack({"op": "x", "text": "a" * protocol.MAX_FRAME})
    with pytest.raises(protocol.ProtocolError, match="damaged"):
        protocol.body_length(struct.pack(">I", protocol.MAX_FRAME + 1))


def test_a_large_frame_arrives_in_parts() -> None:
    near, far = socket.socketpair()
    frame = {"op": "x", "text": "é" * 1_000_000}
    with near, far:
        sender = threading.Thread(target=near.sendall, args=(protocol.pack(frame),))
        sender.start()
        assert protocol.receive(far) == frame
        sender.join()

"""Bytes to events to deltas: any cut, any nonsense."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.assistant import EngineError, QueueFull, RequestError, Usage
from lindos.assistant.upstream.faults import error_in_stream, refusal, retry_after, token_numbers
from lindos.assistant.upstream.replies import Delta, delta_of, error_of
from lindos.assistant.upstream.wire import EventReader, WireError, read_object

TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(at)]


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=5), st.data())
def test_events_are_the_same_however_they_are_cut(events: list[list[str]], data: st.DataObject):
    wire = ""
    for lines in events:
        wire += data.draw(st.sampled_from(["", ": a comment\r", "event: x\r\n", "x\n"]))
        end = data.draw(ENDS)  # one for all lines of an event: CR and LF of two lines would be one CRLF
        wire += "".join(f"data: {line}{end}" for line in lines) + end
    reader, found = EventReader(), []
    for piece in cut(wire.encode(), data.draw(st.lists(st.integers(0, 10_000), max_size=8))):
        found += reader.feed(piece)
    found += reader.close()
    assert found == ["\n".join(lines) for lines in events]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=50), max_size=8))
def test_no_bytes_do_worse_than_an_error(pieces: list[bytes]):
    reader = EventReader(max_event=100)
    events: list[str] = []
    try:
        for piece in pieces:
            events += reader.feed(piece)
        events += reader.close()
    except WireError as error:
        assert "100 bytes" in str(error)  # noqa: PT017 - either way out is right
    assert sum(len(event.encode()) for event in events) <= 3 * sum(map(len, pieces))


def test_an_event_that_never_ends_is_not_kept():
    for piece in (b"data: " + b"x" * 50 + b"\n", b"x" * 50):
        reader = EventReader(max_event=1000)

        def feed(reader: EventReader = reader, piece: bytes = piece):
            for _ in range(100):
                reader.feed(piece)

        with pytest.raises(WireError):
            feed()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["choices", "delta", "message", "content", "text", "usage", "timings", "finish_reason", "logprobs", "tokens",
     "top_logprobs", "token_logprobs", "bytes", "token", "error", "code", "object", "detail", "prompt_tokens",
     "completion_tokens", "predicted_n", "prompt_tokens_details", "reasoning_content", "logprob"]
)  # fmt: skip
LIKELY = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)


@settings(max_examples=500)
@given(st.dictionaries(NAMES, LIKELY, max_size=5))
def test_no_object_does_worse_than_an_error(data: dict[str, Any]):
    error = error_of(data)
    if error is not None:
        fault = error_in_stream(error, "m")
        assert isinstance(fault.error, EngineError)
        assert len(str(fault.error)) < 500
        return
    try:
        delta = delta_of(data)
    except WireError:
        return
    assert isinstance(delta.text, str)
    assert delta.text.encode().decode() == delta.text
    assert delta.tokens >= len(delta.logprobs) >= 0
    assert all(one.logprob <= 0 for one in delta.logprobs)
    assert delta.usage is None or min(delta.usage.prompt_tokens, delta.usage.completion_tokens) >= 0


@given(st.binary(max_size=60) | st.just(b"[" * 100_000))
def test_json_or_a_clear_word(data: bytes):
    try:
        assert isinstance(read_object(data), dict)
    except WireError as error:
        assert "JSON" in str(error)  # noqa: PT017 - either way out is right


def test_log_probabilities_of_chats_and_of_texts():
    top = [{"token": "é", "logprob": -0.1, "bytes": [195, 169]}, {"token": "b", "logprob": -2, "bytes": None}]
    chat = {"content": [{"token": "é", "logprob": -0.1, "bytes": [195, 169], "top_logprobs": top, "id": 7}]}
    (one,) = delta_of({"choices": [{"delta": {"content": "é"}, "logprobs": chat}]}).logprobs
    assert (one.token, one.logprob, one.data) == (7, -0.1, "é".encode())
    assert [(each.data, each.logprob) for each in one.top] == [("é".encode(), -0.1), (b"b", -2.0)]
    listed = {"tokens": ["a", " b"], "token_logprobs": [-1.0, None], "top_logprobs": [{"x": -3, "a": -1}]}
    first, second = delta_of({"choices": [{"text": "a b", "logprobs": listed}]}).logprobs
    assert [each.data for each in first.top] == [b"a", b"x"]
    assert (second.logprob, second.top) == (-math.inf, ())


def test_counts_as_openai_and_as_llama_cpp_tell_them():
    told = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    assert delta_of({"choices": [], "usage": told}).usage == Usage(5, 2, 3)
    assert delta_of({"choices": [{"delta": {}}], "timings": {"prompt_n": 1, "cache_n": 4, "predicted_n": 2}}).usage == (
        Usage(5, 2, 4)
    )
    assert delta_of({"id": "x"}) == Delta()


def test_surrogates_do_not_get_through():
    (event,) = EventReader().feed(b'data: {"choices": [{"delta": {"content": "a\\ud800b"}}]}\n\n')
    assert delta_of(json.loads(event)).text == "a?b"


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), (None, None), ("1e99", None)]
)
def test_retry_after(value: str | None, seconds: float | None):
    assert retry_after(value) == seconds


def test_retry_after_a_date():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    later = retry_after("Wed, 21 Oct 2099 07:28:00 GMT")
    assert later is not None
    assert later > 1e6


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (
            "This model's maximum context length is 16384 tokens. However, you requested 8192 output tokens and your "
            "prompt contains at least 8193 input tokens, for a total of at least 16385 tokens.",
            {"limit": 16384, "prompt": 8193},
        ),
        (
            "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            {"limit": 4096, "prompt": 5000},
        ),
        ("request (40069 tokens) exceeds the available context size (22016 tokens)", {"limit": 22016, "prompt": 40069}),
        ("prompt is too long: 210000 tokens > 200000 maximum", {"limit": 200000, "prompt": 210000}),
        (
            "the prompt has 5,000 tokens; this model's context holds 1,024, prompt and answer together: shorten it",
            {"limit": 1024, "prompt": 5000},
        ),
        ("Please reduce the length of the messages or completion.", {}),
    ],
)  # fmt: skip
def test_the_numbers_of_refusals(message: str, numbers: dict[str, int]):
    assert token_numbers(message, {}) == numbers
    fault = refusal(400, {}, {"message": message, "code": "context_length_exceeded"}, "m")
    assert isinstance(fault.error, RequestError)
    assert fault.error.too_long
    assert dict(fault.numbers) == numbers


def test_a_status_inside_a_stream_counts():
    assert isinstance(error_in_stream({"message": "full", "code": 429}, "m").error, QueueFull)
    assert isinstance(error_in_stream({"message": "bad", "code": "400"}, "m").error, RequestError)
    assert type(error_in_stream({"message": "bad", "code": "weird"}, "m").error) is EngineError
    assert error_in_stream({"message": "bad", "code": "weird"}, "m").again

"""What an upstream is asked: every parameter, in every dialect, or refused by its name."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from lindos.assistant import Grammar, ModelInfo, RequestError, Sampling, UpstreamOptions, key_from, writes_itself
from lindos.assistant.upstream import dialects
from lindos.assistant.upstream.fitting import shortened
from lindos.assistant.upstream.request import Asked, asked_for, body_of
from lindos.specs import Message, SpecError
from tests.server.scripted import INFO

KINDS = ["openai", "lindos", "vllm", "sglang", "llama.cpp"]
HELLO = [Message(role="user", content="Hello")]
ODD: dict[str, Any] = {
    "top_p": 0.9,
    "top_k": 7,
    "min_p": 0.05,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.2,
    "logit_bias": ((5, -100.0),),
    "logprobs": 3,
    "seed": 11,
    "stop": ("END",),
    "stop_tokens": (2,),
    "ignore_end": True,
}
"""A value for each parameter that changes something."""


def body(kind: str, sampling: Sampling, *, text: bool = False, **ways: Any) -> dict[str, Any]:
    asked = asked_for(None if text else HELLO, "Hello" if text else None, sampling, ways.get("priority", 0), "me")
    dialect = dialects()[kind]
    return body_of(asked, "tiny", dialect, dialect.chat_limit[0])


def test_the_kinds_are_those_of_the_command_line():
    from lindos.cli.source import UpstreamServer

    assert list(dialects()) == KINDS == [kind.value for kind in UpstreamServer]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_every_parameter_is_asked_for_or_refused_by_name(kind: str, name: str):
    sampling = Sampling(**{name: ODD[name], "max_tokens": 5})
    taken = {*dialects()[kind].fields, "logprobs"}
    for text in (False, True):
        if name not in taken:
            with pytest.raises(RequestError, match=name) as caught:
                body(kind, sampling, text=text)
            assert caught.value.param == name
        else:
            # Two requests that differ in nothing else differ in their bodies: the parameter is never dropped.
            assert body(kind, sampling, text=text) != body(kind, Sampling(max_tokens=5), text=text)


def test_all_parameters_have_a_place():
    """A parameter that is added to Sampling has to be thought of here, too."""
    thought_of = {*ODD, "temperature", "max_tokens", "grammar"}
    assert {field.name for field in fields(Sampling)} == thought_of


def test_what_vllm_is_asked():
    sampling = Sampling(temperature=0, max_tokens=9, seed=-1, stop=("a", "b"), logprobs=2, logit_bias=((3, 1.5),))
    asked = body("vllm", sampling, priority=5)
    assert asked == {
        "model": "tiny",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "logit_bias": {"3": 1.5},
        "seed": 2**31 - 1,
        "stop": ["a", "b"],
        "max_tokens": 9,
        "logprobs": True,
        "top_logprobs": 2,
        "priority": -5,
    }


def test_what_openai_is_asked_is_no_more_than_has_to_be():
    assert body("openai", Sampling(max_tokens=9)) == {
        "model": "tiny",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.7,
        "max_completion_tokens": 9,
    }


def test_what_llama_cpp_is_asked():
    asked = body("llama.cpp", Sampling(repetition_penalty=1.1), text=True)
    assert asked["repeat_penalty"] == 1.1
    assert asked["repeat_last_n"] == -1
    assert asked["timings_per_token"] is True
    assert (asked["top_k"], asked["min_p"], asked["prompt"]) == (0, 0.0, "Hello")
    assert "max_tokens" not in asked  # it goes on until the context is full by itself


@pytest.mark.parametrize("kind", ["openai", "lindos", "vllm", "sglang"])
def test_a_raw_text_wants_a_limit_where_servers_would_stop_after_sixteen_tokens(kind: str):
    with pytest.raises(RequestError, match="max_tokens"):
        body(kind, Sampling(), text=True)
    assert body(kind, Sampling(max_tokens=3), text=True)["max_tokens"] == 3


def test_past_its_own_ends_means_past_stop_strings_too():
    asked = body("vllm", Sampling(ignore_end=True, stop=("x",), stop_tokens=(1,), max_tokens=4))
    assert asked["ignore_eos"] is True
    assert "x" not in json.dumps(asked["stop"])
    assert asked["stop_token_ids"] == []


SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}}}'


@pytest.mark.parametrize(
    ("kind", "grammar", "text", "where"),
    [
        ("openai", Grammar("json_schema", SCHEMA), False, ["response_format", "json_schema", "schema"]),
        ("lindos", Grammar("json_schema", SCHEMA), True, ["response_format", "json_schema", "schema"]),
        ("lindos", Grammar("regex", "a+"), False, ["response_format", "regex"]),
        ("lindos", Grammar("lark", 'start: "a"'), True, ["response_format", "grammar"]),
        ("vllm", Grammar("json_schema", SCHEMA), True, ["response_format", "json_schema", "schema"]),
        ("vllm", Grammar("regex", "a+"), False, ["structured_outputs", "regex"]),
        ("vllm", Grammar("lark", 'start: "a"'), False, ["structured_outputs", "grammar"]),
        ("sglang", Grammar("regex", "a+"), True, ["regex"]),
        ("llama.cpp", Grammar("json_schema", SCHEMA), False, ["response_format", "json_schema", "schema"]),
        ("llama.cpp", Grammar("json_schema", SCHEMA), True, ["json_schema"]),
        ("openai", Grammar("regex", "a+"), False, None),
        ("openai", Grammar("json_schema", SCHEMA), True, None),
        ("sglang", Grammar("lark", 'start: "a"'), False, None),
        ("llama.cpp", Grammar("regex", "a+"), False, None),
    ],
)
def test_formats(kind: str, grammar: Grammar, text: bool, where: list[str] | None):
    sampling = Sampling(grammar=grammar, max_tokens=5)
    if where is None:
        with pytest.raises(RequestError, match=grammar.kind) as caught:
            body(kind, sampling, text=text)
        assert caught.value.param == "response_format"
        return
    found: Any = body(kind, sampling, text=text)
    for name in where:
        found = found[name]
    assert found == (json.loads(SCHEMA) if grammar.kind == "json_schema" else grammar.text)


def test_a_schema_that_is_none():
    with pytest.raises(RequestError, match="cannot be read"):
        body("vllm", Sampling(grammar=Grammar("json_schema", "{"), max_tokens=5))


def test_priorities_are_turned_round_where_lower_goes_first_and_refused_where_there_are_none():
    signs = {kind: body(kind, Sampling(), priority=3).get("priority") for kind in ("vllm", "sglang", "lindos")}
    assert signs == {"vllm": -3, "sglang": 3, "lindos": -3}
    for kind in ("openai", "llama.cpp"):
        with pytest.raises(RequestError, match="priority"):
            body(kind, Sampling(), priority=3)


def test_who_asks_is_told_to_nobody():
    for kind in KINDS:
        asked = body_of(
            asked_for(HELLO, None, Sampling(), 0, "address 203.0.113.9"), "m", dialects()[kind], "max_tokens"
        )
        assert "203.0.113.9" not in json.dumps(asked)
        assert ("user" in asked) == (kind == "lindos")
    assert body("lindos", Sampling())["user"] == body("lindos", Sampling(temperature=1))["user"]


@pytest.mark.parametrize(
    ("messages", "prompt", "words"),
    [
        (HELLO, "x", "exactly one"),
        (None, None, "exactly one"),
        ([], None, "at least one"),
        (None, "", "empty"),
        (None, "a\ud800", "surrogate"),
        ([Message(role="user", content="\udfff")], None, "surrogate"),
    ],
)
def test_what_is_no_question(messages: Any, prompt: str | None, words: str):
    with pytest.raises(RequestError, match=words):
        asked_for(messages, prompt, None, 0, "")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://api.example.com/openai/v1", "https://api.example.com/openai/v1"),
        (" http://[::1]:8000 ", "http://[::1]:8000/v1"),
        ("ftp://a", None),
        ("127.0.0.1:8000", None),
        ("http://", None),
        ("http://a:99999", None),
        ("http://user:secret@a/v1", None),
        ("http://a/v1?key=secret", None),
        ("http://a b/v1", None),
    ],
)
def test_addresses(url: str, meant: str | None):
    if meant is None:
        with pytest.raises(SpecError):
            UpstreamOptions.parse({"url": url})
    else:
        assert UpstreamOptions(url=url).url == meant


def test_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_KEY", "sk-1")
    assert key_from("SOME_KEY").get_secret_value() == "sk-1"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(SpecError, match="SOME_KEY"):
        key_from("SOME_KEY")
    with pytest.raises(SpecError, match="visible ASCII"):
        UpstreamOptions.parse({"url": "http://a", "key": "a\r\nX-Evil: 1"})
    options = UpstreamOptions(url="http://a", key=SecretStr("sk-hidden"))
    assert "sk-hidden" not in repr(options) + str(options) + options.model_dump_json()


def test_which_models_write_themselves():
    upstream: ModelInfo = replace(INFO, parameters=0)
    assert writes_itself(upstream)
    assert writes_itself(replace(INFO, parameters=1_000_000_000))
    assert not writes_itself(replace(INFO, parameters=999_999_999))


TURNS = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=st.text()), min_size=1
)


@given(
    TURNS,
    st.dictionaries(st.sampled_from(["limit", "prompt"]), st.integers(1, 10_000)),
    st.sampled_from(["never", "oldest"]),
    st.none() | st.integers(1, 10_000),
    st.none() | st.integers(1, 10_000),
)
def test_shortening_ends_and_keeps_what_must_stay(turns: list[Message], numbers: Any, truncate: Any, context, wanted):
    asked = Asked(tuple(turns), None, Sampling(max_tokens=wanted))
    dropped, steps = 0, 0
    while (found := shortened(asked, numbers, truncate, context)) is not None:
        before, (asked, count) = asked, found
        assert asked.messages is not None
        assert before.messages is not None
        assert len(before.messages) - len(asked.messages) == count
        # Every step leaves something out, or asks for less.
        assert count > 0 or (asked.sampling.max_tokens or 0) < (before.sampling.max_tokens or 10**9)
        dropped += count
        steps += 1
        assert steps <= len(turns) + 1
    assert asked.messages is not None
    assert len(asked.messages) == len(turns) - dropped
    assert [m for m in asked.messages if m.role == "system"] == [m for m in turns if m.role == "system"]
    spoken = [m for m in turns if m.role != "system"]
    assert not spoken or spoken[-1] in asked.messages
    assert truncate == "oldest" or not dropped

"""The OpenAI client against a real server with a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk

from lindos.server.v1.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from lindos.server.v1.schema import ChatRequest, CompletionRequest
from tests.server.conftest import MOST
from tests.server.served import Served

HELLO = [{"role": "user", "content": "How are you today?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "warmth", "arguments": "{}"}}


@pytest.fixture
def api(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as found:
        yield found


def chat(api: OpenAI, **more):
    return api.chat.completions.create(**{"model": "tiny", "messages": HELLO, "max_tokens": 12, "seed": 5, **more})


def test_a_whole_answer(api: OpenAI):
    reply = chat(api)
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == "tiny"
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 12
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    (choice,) = reply.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == ("length" if reply.usage.completion_tokens == 12 else "stop")


def test_usage_says_what_was_found_in_the_cache(api: OpenAI):
    messages = [{"role": "user", "content": "A beginning that is like no other one here. " * 8}]
    usages = [chat(api, messages=messages, n=2).usage for _ in range(2)]
    details = [usage.prompt_tokens_details for usage in usages if usage is not None]
    first, again = (one.cached_tokens for one in details if one is not None)
    assert first == 0
    assert again is not None
    assert again >= 64
    assert again % 64 == 0


def test_a_stream_says_the_same(api: OpenAI):
    whole = chat(api)
    chunks: list[ChatCompletionChunk] = list(chat(api, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:-1])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_wire_format_of_a_stream(client: httpx.Client):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 4, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = response.read().decode("ascii")
    events = text.split("\n\n")
    assert events[-1] == ""
    assert events[-2] == "data: [DONE]"
    assert all(event.startswith("data: ") for event in events[:-1])
    assert '"usage"' not in text


def test_choices_differ_and_are_counted_once_each(api: OpenAI):
    reply = chat(api, n=3, temperature=1.5)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in reply.choices}) == 3
    single = chat(api, temperature=1.5)
    assert single.choices[0].message.content == reply.choices[0].message.content
    assert reply.usage is not None
    assert single.usage is not None
    assert reply.usage.prompt_tokens == single.usage.prompt_tokens
    streamed = ["", "", ""]
    for chunk in chat(api, n=3, temperature=1.5, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == [choice.message.content for choice in reply.choices]


def test_a_stop_string_ends_the_answer_before_it(api: OpenAI):
    whole = chat(api, temperature=0, max_tokens=24).choices[0].message.content
    assert whole is not None
    stop = whole[len(whole) // 2 :][:2]
    for given in (stop, ["never seen in any text", stop]):
        reply = chat(api, temperature=0, max_tokens=24, stop=given)
        assert reply.choices[0].finish_reason == "stop"
        assert reply.choices[0].message.content == whole[: whole.index(stop)]


def test_the_smaller_of_both_limits_counts(api: OpenAI):
    reply = chat(api, max_tokens=9, max_completion_tokens=3, temperature=0)
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 3


def test_text_parts_and_developer_messages(api: OpenAI):
    parts = [{"type": "text", "text": "How are"}, {"type": "text", "text": "you today?"}]
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How are\nyou today?"}]
    cut = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert chat(api, messages=plain).choices == chat(api, messages=cut).choices


def test_completions(api: OpenAI):
    arguments = {"model": "tiny", "prompt": "Once upon a time", "seed": 3, "temperature": 1.0}
    reply = api.completions.create(**arguments)
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 16  # OpenAI's default
    streamed = "".join(chunk.choices[0].text for chunk in api.completions.create(**arguments, stream=True))
    assert streamed == reply.choices[0].text


def test_several_prompts_are_answered_in_their_order(api: OpenAI):
    arguments = {"model": "tiny", "seed": 3, "temperature": 1.0, "n": 2, "max_tokens": 8}
    prompts = ["Once upon a time", "Water boils when the"]
    alone = [api.completions.create(prompt=prompt, **arguments) for prompt in prompts]
    together = api.completions.create(prompt=prompts, **arguments)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in together.choices] == [choice.text for one in alone for choice in one.choices]
    assert together.usage is not None
    assert together.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone if one.usage)
    assert together.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone if one.usage)
    streamed = [""] * 4
    for chunk in api.completions.create(prompt=prompts, stream=True, **arguments):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in together.choices]


def test_more_prompts_than_the_engine_holds_take_turns(api: OpenAI, client: httpx.Client):
    prompts = [f"Once upon a time there were {number}" for number in range(3 * MOST)]
    arguments = {"model": "tiny", "seed": 3, "temperature": 1.0, "max_tokens": 6}
    together = api.completions.create(prompt=prompts, **arguments)
    assert [choice.index for choice in together.choices] == list(range(3 * MOST))
    for number in (0, MOST, 3 * MOST - 1):
        alone = api.completions.create(prompt=prompts[number], **arguments)
        assert together.choices[number].text == alone.choices[0].text
    streamed = [""] * len(prompts)
    for chunk in api.completions.create(prompt=prompts, stream=True, **arguments):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in together.choices]
    body = {"model": "tiny", "prompt": [*prompts[:-1], "ships " * 9000]}
    refused = client.post("/v1/completions", json=body)  # found out when its turn comes
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_models(api: OpenAI):
    assert [model.id for model in api.models.list()] == ["tiny", "lindos"]
    assert api.models.retrieve("tiny").owned_by == "lindos"
    with pytest.raises(openai.NotFoundError) as caught:
        api.models.retrieve("tinny")
    assert caught.value.code == "model_not_found"
    assert "did you mean 'tiny'" in caught.value.message


def test_an_unknown_model_is_refused(api: OpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(api, model="gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_every_answer_has_an_id_and_its_time(client: httpx.Client):
    first, second = (client.get(path) for path in ("/health", "/nowhere"))
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert int(first.headers["openai-processing-ms"]) >= 0
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"


def test_explicit_nulls_are_as_good_as_nothing(client: httpx.Client):
    needed = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
    nulls = dict.fromkeys(set(ChatRequest.model_fields) - set(needed))
    turns = [
        (SystemMessage, {"role": "system", "content": "Be brief."}),
        (UserMessage, HELLO[0]),
        (AssistantMessage, {"role": "assistant", "tool_calls": [CALL]}),
        (ToolMessage, {"role": "tool", "content": "18", "tool_call_id": CALL["id"]}),
    ]
    messages = [{**dict.fromkeys(kind.model_fields), **turn} for kind, turn in turns]
    reply = client.post("/v1/chat/completions", json={**nulls, **needed, "messages": messages})
    assert reply.status_code == 200, reply.text
    nulls = dict.fromkeys(set(CompletionRequest.model_fields) - {"model", "prompt"})
    reply = client.post("/v1/completions", json={**nulls, "model": "tiny", "prompt": "A"})
    assert reply.status_code == 200, reply.text


def test_values_that_change_nothing_are_taken(client: httpx.Client):
    neutral = {
        "tools": [],
        "tool_choice": "none",
        "store": False,
        "service_tier": "auto",
        "modalities": ["text"],
        "user": "somebody",
        "n": 1,
    }
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, **neutral}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


UNSUPPORTED = {
    "functions": [{"name": "f"}],
    "response_format": {"type": "xml"},
    "audio": {"voice": "any", "format": "wav"},
    "modalities": ["text", "audio"],
    "reasoning_effort": "high",
    "store": True,
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {},
    "verbosity": "low",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(client: httpx.Client, name: str):
    body = {"model": "tiny", "messages": HELLO, name: UNSUPPORTED[name]}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (name, "unsupported_parameter", "invalid_request_error")
    assert name in error["message"]


def described(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}


WRONG = [
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"n": 5}, "n"),
    ({"n": 0}, "n"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, "messages"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
    ({"messages": ["x"]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": "x", "nmae": "y"}]}, "messages.0.nmae"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
    ({"min_p": 1.5}, "min_p"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"frequency_penalty": "1"}, "frequency_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    ({"logit_bias": {"five": 1}}, "logit_bias.five"),
    ({"logit_bias": {"512": 1}}, "logit_bias"),
    ({"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "logit_bias"),
    ({"logprobs": 1}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"priority": 101}, "priority"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "response_format.json_schema.name"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "x": 1}}},
        "response_format.json_schema.x",
    ),
    ({"response_format": {"type": "text", "regex": "a"}}, "response_format.regex"),
    ({"response_format": {"type": "regex", "regex": "(a"}}, "response_format"),
    ({"response_format": {"type": "grammar", "grammar": "start: nothing"}}, "response_format"),
    ({"response_format": described({"type": "king"})}, "response_format"),
    ({"response_format": described({"not": {"type": "string"}})}, "response_format"),
    ({"response_format": described({"enum": ["x" * (1 << 16)]})}, "response_format"),
    ({"max_token": 5}, "max_token"),
    ({"stream": "yes"}, "stream"),
]


@pytest.mark.parametrize(("change", "param"), WRONG)
def test_wrong_values_are_refused_with_their_place(client: httpx.Client, change: dict, param: str):
    import json

    text = json.dumps({"model": "tiny", "messages": HELLO, **change})
    headers = {"content-type": "application/json"}
    reply = client.post("/v1/chat/completions", content=text, headers=headers)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_misspelt_parameter_is_answered_with_the_nearest(client: httpx.Client):
    reply = client.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "max_token": 5})
    assert reply.json()["error"]["message"] == "unknown parameter 'max_token'; did you mean 'max_tokens'?"


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b'{"model": "tiny", "messages": NaN}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_request_is_a_400(client: httpx.Client, body: bytes):
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_prompt_longer_than_the_context_is_refused(api: OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(api, messages=[{"role": "user", "content": "sun " * 20_000}])
    assert caught.value.param == "messages"
    assert "context" in caught.value.message


def test_other_errors_have_the_same_shape(client: httpx.Client):
    for reply, status in (
        (client.get("/nowhere"), 404),
        (client.delete("/v1/models"), 405),
        (client.get("/static/nothing.js"), 404),
        (client.get("/static/../service.py"), 404),
        (client.get("/api/conversations/nonsense"), 404),
        (client.post("/v1/completions", content=b" " * (5 << 20)), 413),
        (client.post("/v1/completions", content=iter([b" " * (1 << 20)] * 6)), 413),
    ):
        assert reply.status_code == status
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
    assert client.delete("/v1/models").headers["allow"] == "GET"

"""What clients may ask of the answers themselves: log probabilities, biases, penalties, formats; by OpenAI's client."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionTokenLogprob

from lindos.server.v1.logprobs import spelled
from lindos.text import load_tokenizer
from tests.server.conftest import run
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served

HELLO = [{"role": "user", "content": "How are you today?"}]
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 150}, "kind": {"enum": ["boat", "bird"]}},
    "required": ["age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture
def api(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as found:
        yield found


def chat(api: OpenAI, **more):
    return api.chat.completions.create(**{"model": "tiny", "messages": HELLO, "max_tokens": 12, "seed": 5, **more})


def text(api: OpenAI, **more):
    return api.completions.create(**{"model": "tiny", "prompt": "Once upon", "max_tokens": 12, "seed": 5, **more})


def listed(reply) -> list[ChatCompletionTokenLogprob]:
    assert reply.choices[0].logprobs is not None
    return reply.choices[0].logprobs.content or []


def test_log_probabilities_of_a_chat(api: OpenAI):
    reply = chat(api, logprobs=True, top_logprobs=3, temperature=1.5)
    tokens = listed(reply)
    assert len(tokens) in (12, reply.usage.completion_tokens - 1)  # an end token has no text
    said = b"".join(bytes(token.bytes or []) for token in tokens)
    assert said.decode(errors="ignore") == reply.choices[0].message.content.replace("\ufffd", "")
    for token in tokens:
        assert token.logprob <= token.top_logprobs[0].logprob <= 0
        assert len(token.top_logprobs) == 3
        assert [one.logprob for one in token.top_logprobs] == sorted(
            (t.logprob for t in token.top_logprobs), reverse=True
        )
    assert any(token.token != token.top_logprobs[0].token for token in tokens), "not what is likeliest, at 1.5"


def test_log_probabilities_are_the_models_own_whatever_is_asked_of_the_sampling(api: OpenAI):
    plain = listed(chat(api, logprobs=True, top_logprobs=5, temperature=0))[0]
    bent = listed(
        chat(api, logprobs=True, top_logprobs=5, temperature=2, presence_penalty=2, logit_bias={"5": -100}, top_p=0.1)
    )[0]
    assert bent.top_logprobs == plain.top_logprobs


def test_log_probabilities_are_not_told_unasked(api: OpenAI):
    assert chat(api).choices[0].logprobs is None
    assert text(api).choices[0].logprobs is None
    for chunk in chat(api, stream=True):
        assert chunk.choices[0].logprobs is None
    assert listed(chat(api, logprobs=True))[0].top_logprobs == []


def test_a_stream_tells_the_same_log_probabilities(api: OpenAI):
    arguments = {"logprobs": True, "top_logprobs": 2, "temperature": 1.5, "n": 2, "max_tokens": 40}
    whole = chat(api, **arguments)
    streamed: list[list[ChatCompletionTokenLogprob]] = [[], []]
    for chunk in chat(api, **arguments, stream=True):
        (choice,) = chunk.choices
        streamed[choice.index] += (choice.logprobs.content or []) if choice.logprobs else []
    for choice in whole.choices:
        expected = choice.logprobs.content
        assert [one.token for one in streamed[choice.index]] == [one.token for one in expected]
        for one, other in zip(streamed[choice.index], expected, strict=True):
            assert math.isclose(one.logprob, other.logprob, abs_tol=1e-4)


def test_log_probabilities_of_a_text(api: OpenAI):
    reply = text(api, logprobs=2, temperature=1.5, max_tokens=60)
    (choice,) = reply.choices
    found = choice.logprobs
    assert found is not None
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset)
    for token, logprob, top, offset in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, found.text_offset, strict=True
    ):
        assert top[token] == logprob
        assert 2 <= len(top) <= 3
        if not token.startswith("bytes:"):
            assert choice.text[offset:].startswith(token)
    streamed: dict[str, list] = {"tokens": [], "text_offset": []}
    for chunk in text(api, logprobs=2, temperature=1.5, max_tokens=60, stream=True):
        part = chunk.choices[0].logprobs
        for name, values in streamed.items():
            values += getattr(part, name) if part else []
    assert streamed == {"tokens": found.tokens, "text_offset": found.text_offset}


def test_a_bias_forbids_and_forces(api: OpenAI, tiny_tokenizer_dir):
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    (sun,) = tokenizer.encode("sun")[:1]
    reply = text(api, logit_bias={str(sun): 100}, max_tokens=3)
    assert reply.choices[0].text == tokenizer.decode([sun] * 3)
    likeliest = listed(chat(api, logprobs=True, temperature=0))[0]
    (token,) = [n for n in range(512) if tokenizer.token_bytes(n) == bytes(likeliest.bytes or [])]
    other = listed(chat(api, logprobs=True, temperature=0, logit_bias={str(token): -100}))[0]
    assert other.token != likeliest.token


def test_penalties_keep_a_text_from_repeating_itself(api: OpenAI):
    plain = listed(chat(api, logprobs=True, temperature=0, max_tokens=60))
    words = {"frequency_penalty": 2, "presence_penalty": 2}
    for changes in (words, {"extra_body": {"repetition_penalty": 100}}):
        changed = listed(chat(api, logprobs=True, temperature=0, max_tokens=60, **changes))
        assert len({one.token for one in changed}) / len(changed) > len({one.token for one in plain}) / len(plain)


def test_min_p_of_one_takes_the_likeliest(api: OpenAI):
    greedy = chat(api, temperature=0)
    assert (
        chat(api, temperature=2, extra_body={"min_p": 1}).choices[0].message.content
        == greedy.choices[0].message.content
    )


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_fits_its_schema(api: OpenAI, stream: bool):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    reply = chat(api, response_format=wanted, temperature=1.0, max_tokens=200, n=3, stream=stream)
    said, ends = ["", "", ""], ["", "", ""]
    for choice in [part for chunk in reply for part in chunk.choices] if stream else reply.choices:
        said[choice.index] += (choice.delta.content or "") if stream else choice.message.content
        ends[choice.index] = choice.finish_reason or ends[choice.index]
    for answer in said:
        person = json.loads(answer)
        assert person.keys() == {"age", "kind"}
        assert 0 <= person["age"] <= 150
        assert person["kind"] in ("boat", "bird")
    assert ends == ["stop"] * 3


def test_other_formats(api: OpenAI):
    forms = {
        "regex": {"type": "regex", "regex": "[a-c]{3}-[0-9]{2}"},
        "grammar": {"type": "grammar", "grammar": 'start: "Lindos" (" and " /[a-z]{3}/)?'},
    }
    for kind, pattern in (("regex", r"[a-c]{3}-[0-9]{2}"), ("grammar", r"Lindos( and [a-z]{3})?")):
        reply = text(api, extra_body={"response_format": forms[kind]}, max_tokens=40, temperature=1)
        assert re.fullmatch(pattern, reply.choices[0].text)
        assert reply.choices[0].finish_reason == "stop"
    reply = chat(api, response_format={"type": "json_object"}, max_tokens=30, temperature=1, logit_bias={"92": 100})
    assert reply.choices[0].message.content.lstrip().startswith("{")
    assert chat(api, response_format={"type": "text"}).choices == chat(api).choices


def test_whose_request_it_is_and_how_urgent_reaches_the_model(in_process):
    async def work():
        model = ScriptedChatModel("Well.")
        async with in_process(model) as client:
            for more in ({}, {"user": "ann"}, {"user": "ann", "safety_identifier": "bob", "priority": 3}):
                body = {"model": "scripted", "messages": HELLO, **more}
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            body = {"model": "lindos", "prompt": "x", "user": "eve", "priority": -2}
            assert (await client.post("/v1/completions", json=body)).status_code == 200
        assert [(one["client"], one["priority"]) for one in model.asked] == [
            ("address 127.0.0.1", 0),
            ("user ann", 0),
            ("user bob", -3),  # as vLLM has it, a lower one goes first
            ("user eve", 2),
        ]

    run(work)


def test_tokens_that_are_no_text_are_spelled_apart():
    from lindos.assistant import TokenLogprob

    spellings = [TokenLogprob(5, 0.0, b"\xe2\x80"), TokenLogprob(6, 0.0, b""), TokenLogprob(7, 0.0, b" caf\xc3\xa9")]
    assert [spelled(one) for one in spellings] == ["bytes:\\xe2\\x80", "token_id:6", " café"]

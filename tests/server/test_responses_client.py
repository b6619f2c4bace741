"""The OpenAI client against a real server: with a model that says what a test wants, and with a real engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI, pydantic_function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from pydantic import BaseModel

from lindos.server import Settings
from lindos.specs import Message
from tests.server.resting import GroundedAssistant, cited, partial
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, served

TEXT = "Counting goes on in Kamiros, says the desk."
CALL = '<tool_call>\n{"name": "Warmth", "arguments": {"place": "Lindos", "days": 2}}\n</tool_call>'


class Warmth(BaseModel):
    """How warm it is."""

    place: str
    days: int


class Sighting(BaseModel):
    kind: Literal["boat", "bird"]
    count: int


def answer(messages: Sequence[Message]) -> str:
    """What the model of these tests says."""
    told, question = "\n".join(message.content for message in messages), messages[-1].content
    if question.startswith("<tool_response>"):
        return f"It is {question.splitlines()[1]} degrees."
    if "# Tools" in told and "warm" in question:
        return f"I look.\n{CALL}"
    if "sighting" in question:
        return '{"kind": "boat", "count": 3}'
    return TEXT if "won" in question else f"You said: {question}"


class Ours(GroundedAssistant):
    last = partial(cited(TEXT, "Counting goes on"))


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    settings = Settings(port=0, data=tmp_path_factory.mktemp("data"), personas=Path("nowhere"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lindos.server.app.Assistant", Ours)
        with served(settings, lambda: ScriptedChatModel(answer)) as running, client_of(running) as client:
            yield client


@pytest.fixture
def engine(server: Served) -> Iterator[OpenAI]:
    with client_of(server) as client:
        yield client


def client_of(server: Served) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.mark.parametrize("model", ["lindos", "scripted"])
def test_a_response_and_what_can_be_done_with_it(scripted: OpenAI, model: str):
    first = scripted.responses.create(model=model, input="Hello")
    assert (first.output_text, first.status) == ("You said: Hello", "completed")
    second = scripted.responses.create(model=model, input="Again", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert scripted.responses.retrieve(second.id) == second
    items = list(scripted.responses.input_items.list(first.id))
    assert [item.content[0].text for item in items if item.type == "message"] == ["Hello"]  # type: ignore[union-attr]
    scripted.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError) as caught:
        scripted.responses.create(model=model, input="And again", previous_response_id=second.id)
    assert caught.value.param == "previous_response_id"
    assert scripted.responses.cancel(second.id) == second


def test_pages_of_items(scripted: OpenAI):
    questions: list[Any] = [{"role": "user", "content": f"Question {number}"} for number in range(45)]
    response = scripted.responses.create(model="scripted", input=questions)
    listed = list(scripted.responses.input_items.list(response.id, order="asc", limit=20))
    assert [item.content[0].text for item in listed if item.type == "message"] == [  # type: ignore[union-attr]
        question["content"] for question in questions
    ]


def test_a_streamed_response(scripted: OpenAI):
    names: list[str] = []
    said = ""
    with scripted.responses.stream(model="lindos", input="Who has won?", tools=[search()]) as stream:
        for event in stream:
            names.append(event.type)
            if event.type == "response.output_text.delta":
                said += event.delta
                assert event.snapshot == said
        final = stream.get_final_response()
    assert (names[0], names[-1]) == ("response.created", "response.completed")
    assert final.output_text == said == TEXT
    message = final.output[-1]
    assert isinstance(message, ResponseOutputMessage)
    (part,) = message.content
    assert part.type == "output_text"
    assert [TEXT[one.start_index : one.end_index] for one in part.annotations if one.type == "url_citation"] == [
        "Counting goes on"
    ]
    assert final.lindos["form"] == "partial"  # type: ignore[attr-defined]


def search() -> Any:
    return {"type": "x_search"}


def test_functions_in_responses(scripted: OpenAI):
    tool = openai.pydantic_function_tool(Warmth)["function"]
    flat: Any = {"type": "function", **tool}
    first = scripted.responses.create(model="lindos", input="How warm is it?", tools=[flat])
    call = next(item for item in first.output if isinstance(item, ResponseFunctionToolCall))
    assert (call.name, json.loads(call.arguments)) == ("Warmth", {"place": "Lindos", "days": 2})
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "31"}
    chained = scripted.responses.create(model="lindos", input=[result], previous_response_id=first.id, tools=[flat])
    # The same without anything kept: what came is sent back.
    whole: Any = [{"role": "user", "content": "How warm is it?"}, *first.output, result]
    sent = scripted.responses.create(model="lindos", input=whole, store=False, tools=[flat])
    assert chained.output_text == sent.output_text == "It is 31 degrees."


def test_functions_in_chats(scripted: OpenAI):
    messages: list[Any] = [{"role": "user", "content": "How warm is it?"}]
    tools = [pydantic_function_tool(Warmth)]
    reply = scripted.chat.completions.parse(model="lindos", messages=messages, tools=tools)
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == Warmth(place="Lindos", days=2)
    with scripted.chat.completions.stream(model="lindos", messages=messages, tools=tools) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Warmth(place="Lindos", days=2)]
    messages += [reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "31"}]
    reply = scripted.chat.completions.create(model="lindos", messages=messages, tools=tools)
    assert reply.choices[0].message.content == "It is 31 degrees."


def test_structured_output(scripted: OpenAI):
    parsed = scripted.responses.parse(model="lindos", input="A sighting?", text_format=Sighting)
    assert parsed.output_parsed == Sighting(kind="boat", count=3)
    messages: list[Any] = [{"role": "user", "content": "A sighting?"}]
    reply = scripted.chat.completions.parse(model="lindos", messages=messages, response_format=Sighting)
    assert reply.choices[0].message.parsed == Sighting(kind="boat", count=3)
    # An answer that is none of that shape is a refusal, which the client does not try to read.
    messages = [{"role": "user", "content": "Who has won?"}]
    reply = scripted.chat.completions.parse(model="lindos", messages=messages, response_format=Sighting)
    assert (reply.choices[0].message.refusal, reply.choices[0].message.parsed) == (TEXT, None)
    refused = scripted.responses.parse(model="lindos", input="Who has won?", text_format=Sighting)
    assert refused.output_parsed is None


def test_annotations_in_chats(scripted: OpenAI):
    messages: list[Any] = [{"role": "user", "content": "Who has won?"}]
    reply = scripted.chat.completions.create(model="lindos", messages=messages)
    (annotation,) = reply.choices[0].message.annotations or []
    place = annotation.url_citation
    assert TEXT[place.start_index : place.end_index] == "Counting goes on"


def test_what_is_gone_says_what_to_use(scripted: OpenAI):
    ways: list[Callable[..., Any]] = [
        lambda **more: scripted.responses.create(model="lindos", input="x", **more),
        lambda **more: scripted.chat.completions.create(model="lindos", messages=[], **more),
    ]
    for way in ways:
        with pytest.raises(openai.APIStatusError) as caught:
            way(extra_body={"search_parameters": {"mode": "auto"}})
        assert caught.value.status_code == 410
        assert "x_search" in caught.value.message


# A real engine: whatever a model with random weights says, calls and formats are held to.


def test_an_engine_is_held_to_calls(engine: OpenAI):
    tool = openai.pydantic_function_tool(Warmth)
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    ways: list[tuple[str, Any]] = [
        ("tiny", "required"),
        ("lindos", {"type": "function", "function": {"name": "Warmth"}}),
    ]
    for model, choice in ways:
        reply = engine.chat.completions.parse(
            model=model, messages=messages, tools=[tool], tool_choice=choice, parallel_tool_calls=False, temperature=1
        )
        (call,) = reply.choices[0].message.tool_calls or []
        assert isinstance(call.function.parsed_arguments, Warmth)
        assert reply.choices[0].finish_reason == "tool_calls"


def test_an_engine_writes_responses(engine: OpenAI):
    with engine.responses.stream(
        model="tiny", input="Hi", text_format=Sighting, max_output_tokens=400, temperature=1
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Sighting)
    assert final.usage is not None
    assert 0 < final.usage.output_tokens <= 400
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == final.output_text
    more = (
        engine.responses.create(model="tiny", input="Hi", max_output_tokens=3, previous_response_id=final.id)
        for _ in range(9)
    )
    cut = next(response for response in more if response.status == "incomplete")  # it may also end by itself
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_an_engine_tells_log_probabilities(engine: OpenAI):
    include: Any = ["message.output_text.logprobs"]
    response = engine.responses.create(model="tiny", input="Hi", max_output_tokens=5, include=include, top_logprobs=2)
    message = response.output[0]
    assert isinstance(message, ResponseOutputMessage)
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in part.logprobs)


def test_what_an_engine_refuses_is_named_as_the_request_does(engine: OpenAI):
    schema: Any = {"type": "json_schema", "name": "x", "schema": {"not": {}}}
    tool: Any = {"type": "function", "name": "f", "parameters": {"properties": {"a": {"not": {}}}}}
    for param, more in (
        ("text.format", {"text": {"format": schema}}),
        ("tools", {"tools": [tool], "tool_choice": "required"}),
        ("input", {"input": "sun " * 20_000}),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            engine.responses.create(**{"model": "tiny", "input": "Hi", **more})
        assert caught.value.param == param

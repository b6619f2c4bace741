"""Function calling in chats: what the model is told, what of its words is a call, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lindos.assistant.functions import offers_functions
from tests.server.conftest import InProcess, run
from tests.server.openai_types import checked_chat, checked_chunk
from tests.server.scripted import ScriptedChatModel

PLACE = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
    "additionalProperties": False,
}
WARMTH = {"type": "function", "function": {"name": "warmth", "description": "How warm it is.", "parameters": PLACE}}
STRICT = {"type": "function", "function": {**WARMTH["function"], "strict": True}}
NOTE = {"type": "function", "function": {"name": "note"}}
HELLO = [{"role": "user", "content": "How warm is it in Lindos?"}]
CALL = '<tool_call>\n{"name": "warmth", "arguments": {"place": "Lindos"}}\n</tool_call>'
WRONG = '<tool_call>\n{"name": "warmth", "arguments": {"place": 5}}\n</tool_call>'
PATH = "/v1/chat/completions"


def ask(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, "tools": [WARMTH], **more}


def chunks(text: str) -> list[dict[str, Any]]:
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


@pytest.mark.parametrize("model", ["lindos", "scripted"])
def test_a_call_and_its_result(in_process: InProcess, model: str):
    async def work():
        talker = ScriptedChatModel(lambda said: "31 degrees." if "<tool_response>" in said[-1].content else CALL)
        async with in_process(talker) as client:
            reply = (await client.post(PATH, json=ask(model))).json()
            (choice,) = checked_chat(reply).choices
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content is None
            assert choice.message.tool_calls
            (call,) = choice.message.tool_calls
            assert call.type == "function"
            assert (call.function.name, json.loads(call.function.arguments)) == ("warmth", {"place": "Lindos"})
            result = {"role": "tool", "tool_call_id": call.id, "content": "31"}
            messages = [*HELLO, reply["choices"][0]["message"], result]
            reply = (await client.post(PATH, json=ask(model, messages=messages))).json()
            (choice,) = checked_chat(reply).choices
            assert (choice.finish_reason, choice.message.content) == ("stop", "31 degrees.")
            assert choice.message.tool_calls is None
        told = talker.asked[-1]["messages"]
        assert offers_functions(told)
        assert [message.content for message in told[-2:]] == [CALL, "<tool_response>\n31\n</tool_response>"]

    run(work)


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_stream_tells_the_same_calls(in_process: InProcess, piece: int):
    async def work():
        text = f"Let me look.\n{CALL}\n{CALL}\n"
        async with in_process(ScriptedChatModel(text, piece=piece)) as client:
            whole = (await client.post(PATH, json=ask("scripted"))).json()["choices"][0]
            body = ask("scripted", stream=True, stream_options={"include_usage": True})
            found = chunks((await client.post(PATH, json=body)).text)
        for chunk in found:
            checked_chunk(chunk)
        deltas = [choice["delta"] for chunk in found for choice in chunk["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == whole["message"]["content"] == "Let me look."
        calls: dict[int, dict[str, str]] = {}
        for part in [part for delta in deltas for part in delta.get("tool_calls", [])]:
            if "id" in part:
                assert part["index"] not in calls
                assert (part["type"], part["function"]["arguments"]) == ("function", "")
                calls[part["index"]] = dict(part["function"])
            else:
                calls[part["index"]]["arguments"] += part["function"]["arguments"]
        assert list(calls) == [0, 1]
        assert list(calls.values()) == [call["function"] for call in whole["message"]["tool_calls"]]
        ends = [choice["finish_reason"] for chunk in found for choice in chunk["choices"]]
        assert ends[-1] == whole["finish_reason"] == "tool_calls"
        assert set(ends[:-1]) == {None}

    run(work)


def test_long_arguments_come_in_pieces(in_process: InProcess):
    async def work():
        arguments = {"place": "Lindos, " * 400}
        call = f"<tool_call>{json.dumps({'name': 'warmth', 'arguments': arguments})}</tool_call>"
        async with in_process(ScriptedChatModel(call, piece=200)) as client:
            found = chunks((await client.post(PATH, json=ask("scripted", stream=True))).text)
        parts = [part for chunk in found for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
        assert len(parts) > 3
        assert json.loads("".join(part["function"]["arguments"] for part in parts)) == arguments

    run(work)


def test_what_is_no_call_is_shown_by_the_bare_model_and_not_by_the_assistant(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(f"So. {WRONG} Well.")) as client:
            for stream in (False, True):
                for model, expected in (("scripted", f"So. {WRONG} Well."), ("lindos", "So. Well.")):
                    reply = await client.post(PATH, json=ask(model, tools=[STRICT], stream=stream))
                    if stream:
                        deltas = [chunk["choices"][0]["delta"] for chunk in chunks(reply.text)]
                        said = "".join(delta.get("content", "") for delta in deltas)
                    else:
                        (choice,) = checked_chat(reply.json()).choices
                        said = choice.message.content
                        assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
                    assert said == expected
            reply = (await client.post(PATH, json=ask("scripted"))).json()
            assert json.loads(reply["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {"place": 5}

    run(work)


def test_one_call_is_enough_where_parallel_ones_are_not_wanted(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(f"{CALL}\n{CALL}")) as client:
            reply = (await client.post(PATH, json=ask("scripted", parallel_tool_calls=False))).json()
            assert len(reply["choices"][0]["message"]["tool_calls"]) == 1
            reply = (await client.post(PATH, json=ask("scripted", parallel_tool_calls=True, n=2))).json()
            names = [call["id"] for choice in reply["choices"] for call in choice["message"]["tool_calls"]]
            assert len(set(names)) == 4

    run(work)


def test_what_tool_choice_does(in_process: InProcess):
    async def work():
        model = ScriptedChatModel(CALL)
        named = {"type": "function", "function": {"name": "note"}}
        tools = [WARMTH, NOTE]
        async with in_process(model) as client:
            for choice in (None, "auto", "none", "required", named):
                reply = await client.post(PATH, json=ask("scripted", tools=tools, tool_choice=choice))
                assert reply.status_code == 200, reply.text
        grammars = [asked["sampling"].grammar for asked in model.asked]
        assert grammars[:3] == [None] * 3
        assert all(grammar.kind == "lark" for grammar in grammars[3:])
        assert '\\"warmth\\"' in grammars[3].text
        assert '\\"warmth\\"' not in grammars[4].text
        assert '\\"note\\"' in grammars[4].text
        assert [offers_functions(asked["messages"]) for asked in model.asked] == [True, True, False, True, True]

    run(work)


def test_a_format_holds_beside_calls(in_process: InProcess):
    async def work():
        model = ScriptedChatModel('{"a": 1}')
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
        async with in_process(model) as client:
            reply = (await client.post(PATH, json=ask("scripted", response_format=form))).json()
            assert reply["choices"][0]["message"]["content"] == '{"a": 1}'
            grammar = model.asked[-1]["sampling"].grammar
            assert "otherwise" in grammar.text
            regex = ask("scripted", response_format={"type": "regex", "regex": "a+"})
            refused = (await client.post(PATH, json=regex)).json()["error"]
            assert refused["param"] == "response_format"
            forced = await client.post(PATH, json={**regex, "tool_choice": "required"})
            assert forced.status_code == 200

    run(work)


SEARCH = {"type": "x_search"}
REFUSED = [
    ({"tools": [{"type": "web_search"}]}, "tools.0", "x_search"),
    ({"tools": [WARMTH, {"type": "function", "function": {"name": "a b"}}]}, "tools.1.function.name", ""),
    ({"tools": [WARMTH, WARMTH]}, "tools", "warmth"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strct": True}}]}, "tools.0.function.strct", "strict"),
    ({"tool_choice": {"type": "function", "function": {"name": "cold"}}}, "tool_choice", "cold"),
    ({"tool_choice": "sometimes"}, "tool_choice", "auto"),
    ({"tool_choice": {"type": "custom"}}, "tool_choice", ""),
    ({"tools": [], "tool_choice": "required"}, "tool_choice", "wants tools"),
    ({"tool_choice": SEARCH}, "tool_choice", "x_search"),
    ({"tools": [SEARCH], "model": "scripted"}, "tools.0", "model='lindos'"),
    ({"tools": [SEARCH, SEARCH]}, "tools.1", "enough"),
    ({"tools": [{**SEARCH, "from_date": "2026-02-30"}]}, "tools.0.from_date", ""),
    ({"tools": [{**SEARCH, "from_date": "2026-03-02", "to_date": "2026-03-01"}]}, "tools.0.to_date", "before"),
    (
        {"tools": [{**SEARCH, "allowed_x_handles": ["a"], "excluded_x_handles": ["b"]}]},
        "tools.0.excluded_x_handles",
        "either",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"not": {}}}}]},
        "tools.0",
        "'not'",
    ),
    ({"functions": [{"name": "f"}]}, "functions", "functions"),
    ({"search_parameters": {"mode": "auto"}}, "search_parameters", "x_search"),
    ({"persona": "pirate"}, "persona", "did you mean"),
    ({"persona": "direct", "model": "scripted"}, "persona", "model='lindos'"),
    ({"language": "fr", "model": "scripted"}, "language", "model='lindos'"),
    ({"logprobs": True}, "logprobs", "model='scripted'"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "model='scripted'"),
]


def test_what_cannot_be_is_refused_by_its_place(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            for change, param, words in REFUSED:
                reply = await client.post(PATH, json={**ask("lindos"), **change})
                assert reply.status_code == (410 if param == "search_parameters" else 400), (change, reply.text)
                error = reply.json()["error"]
                assert error["param"] == param, (change, error)
                assert words in error["message"], (change, error)

    run(work)


def test_search_parameters_are_gone_from_every_route(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            for path, body in (
                (PATH, {"messages": HELLO}),
                ("/v1/completions", {"prompt": "x"}),
                ("/v1/responses", {"input": "x"}),
            ):
                for model in ("lindos", "scripted"):
                    wanted = {"model": model, **body, "search_parameters": {"mode": "on"}}
                    reply = await client.post(path, json=wanted)
                    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "gone")
                    assert (await client.post(path, json={**wanted, "search_parameters": None})).status_code == 200

    run(work)

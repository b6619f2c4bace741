"""Responses without a socket: bodies and events held to OpenAI's types, what is kept, what is gone on from."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from lindos.assistant import Basis, EngineDied, QueueFull
from lindos.knowledge import Deleted
from lindos.server.v1.responses_schema import ResponseRequest
from tests.server.conftest import InProcess, run
from tests.server.events import parsed
from tests.server.openai_types import checked_event, checked_items, checked_response
from tests.server.resting import (
    AT,
    COUNT,
    DESK,
    LARGE,
    SAID,
    TOLD,
    GroundedAssistant,
    cited,
    counting,
    partial,
    stop_the_clock,
)
from tests.server.scripted import ScriptedAnswer, ScriptedChatModel

PATH = "/v1/responses"
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WARMTH = {"type": "function", "name": "warmth", "description": "How warm it is.", "parameters": PLACE, "strict": True}
SEARCH = {"type": "x_search", "from_date": "2026-11-03"}
CALL = '<tool_call>{"name": "warmth", "arguments": {"place": "Lindos"}}</tool_call>'
TEXT = "🗳 Counting goes on in Kamiros, says the desk."


def ask(question: Any = "How warm is it?", **more: Any) -> dict[str, Any]:
    return {"model": "lindos", "input": question, **more}


async def post(client: httpx.AsyncClient, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    reply = await client.post(PATH, json=body)
    assert reply.status_code == status, reply.text
    return reply.json() if status != 200 else json.loads(checked_response(reply.json()) and reply.text)


async def stream(client: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, each checked, called by its type and numbered without a gap."""
    reply = await client.post(PATH, json={**body, "stream": True})
    assert reply.status_code == 200, reply.text
    events = parsed(reply.text)
    for number, (name, event) in enumerate(events):
        checked_event(event)
        assert (name, event["sequence_number"]) == (event["type"], number)
    return [event for _, event in events]


def text_of(response: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for item in response["output"] for part in item.get("content", ()))


def without_names(response: dict[str, Any]) -> str:
    """What is the same of two responses to the same."""
    same = {**response, "id": "", "created_at": 0, "completed_at": 0}
    same["output"] = [{**item, "id": "", "call_id": ""} for item in response["output"]]
    return json.dumps(same, sort_keys=True)


@pytest.fixture
def grounded(monkeypatch: pytest.MonkeyPatch) -> type[GroundedAssistant]:
    class Ours(GroundedAssistant):
        last = partial(cited(TEXT, "Counting goes on in Kamiros"))
        asks = []  # noqa: RUF012

    monkeypatch.setattr("lindos.server.app.Assistant", Ours)
    return Ours


@pytest.mark.parametrize("model", ["lindos", "scripted"])
def test_a_whole_response(in_process: InProcess, model: str):
    async def work():
        async with in_process(ScriptedChatModel("It is warm.")) as client:
            more = {"metadata": {"for": "ann"}, "max_output_tokens": 50, "top_p": 0.5, "user": "ann"}
            response = await post(client, ask(model=model, instructions="Be brief.", **more))
            assert (response["status"], text_of(response)) == ("completed", "It is warm.")
            assert response["model"] == model
            assert response["usage"]["total_tokens"] == response["usage"]["input_tokens"] + 3
            assert ("lindos" in response) == (model == "lindos")
            for name, value in {**more, "instructions": "Be brief.", "store": True, "temperature": 0.7}.items():
                assert response[name] == value
            kept = await client.get(f"{PATH}/{response['id']}")
            assert kept.json() == response

    run(work)


def test_the_events_of_a_stream_are_in_their_order(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(f"I look.\n{CALL}", piece=5)) as client:
            body = ask(tools=[WARMTH])
            whole = await post(client, body)
            events = await stream(client, body)
        names = [event["type"] for event in events if not event["type"].endswith(".delta")]
        assert names == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_item.added",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert without_names(events[-1]["response"]) == without_names(whole)
        said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert said == text_of(whole) == "I look."
        arguments = [e for e in events if e["type"].startswith("response.function_call_arguments")]
        assert "".join(e.get("delta", "") for e in arguments) == arguments[-1]["arguments"] == '{"place": "Lindos"}'
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert sorted(done, key=lambda item: item["type"]) == sorted(
            events[-1]["response"]["output"], key=lambda item: item["type"]
        )

    run(work)


def test_what_an_answer_rests_on_is_in_both(in_process: InProcess, grounded: type[GroundedAssistant]):
    async def work():
        async with in_process(ScriptedChatModel(TEXT)) as client:
            body = ask("Who has won?", tools=[SEARCH], include=["web_search_call.action.sources"])
            whole = await post(client, body)
            events = await stream(client, body)
            assert without_names(events[-1]["response"]) == without_names(whole)
            search, message = whole["output"]
            assert (search["type"], search["status"]) == ("web_search_call", "completed")
            assert search["action"]["query"] == "Who has won?"
            assert search["action"]["sources"][0] == {"type": "url", "url": DESK.url}
            (citation,) = message["content"][0]["annotations"]
            assert TEXT[citation["start_index"] : citation["end_index"]] == "Counting goes on in Kamiros"
            assert (citation["type"], citation["url"], citation["title"]) == ("url_citation", DESK.url, "desk.example")
            assert (whole["lindos"]["form"], whole["lindos"]["cut"][0]["reason"]) == ("partial", "unsettled")
            assert (whole["tools"], whole["tool_choice"]) == ([], "auto")
            added = [e for e in events if e["type"] == "response.output_text.annotation.added"]
            assert [e["annotation"] for e in added] == [citation]
            searched = [e["type"] for e in events if ".web_search_call." in e["type"]]
            assert searched == [
                f"response.web_search_call.{name}" for name in ("in_progress", "searching", "completed")
            ]
            plain = await post(client, ask("Who has won?", model="scripted"))
            assert [item["type"] for item in plain["output"]] == ["message"]

    run(work)


def test_a_chain_is_told_to_the_model(in_process: InProcess):
    async def work():
        said = iter([f"I look. {CALL}", "31 degrees.", "Yes."])
        model = ScriptedChatModel(lambda _: next(said))
        async with in_process(model) as client:
            first = await post(client, ask(tools=[WARMTH], instructions="Only now."))
            call = first["output"][1]
            result = {"type": "function_call_output", "call_id": call["call_id"], "output": "31"}
            second = await post(client, ask([result], previous_response_id=first["id"]))
            third = await post(client, ask("Warm?", model="scripted", previous_response_id=second["id"]))
            assert third["previous_response_id"] == second["id"]
        assert [(message.role, message.content) for message in model.asked[-1]["messages"]] == [
            ("user", "How warm is it?"),
            ("assistant", 'I look.\n<tool_call>\n{"name": "warmth", "arguments": {"place": "Lindos"}}\n</tool_call>'),
            ("user", "<tool_response>\n31\n</tool_response>"),
            ("assistant", "31 degrees."),
            ("user", "Warm?"),
        ]
        assert any("Only now." in message.content for message in model.asked[0]["messages"])
        assert not any("Only now." in message.content for message in model.asked[1]["messages"])

    run(work)


def test_what_cannot_be_gone_on_from(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            ids = [""]
            for _ in range(3):
                ids.append((await post(client, ask(previous_response_id=ids[-1] or None)))["id"])
            gone = await client.delete(f"{PATH}/{ids[2]}")
            assert gone.json() == {"id": ids[2], "object": "response", "deleted": True}
            for previous in (ids[2], ids[3], "resp_unknown"):
                error = (await post(client, ask(previous_response_id=previous), 404))["error"]
                assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
            await post(client, ask(previous_response_id=ids[1]))
            passing = await post(client, ask(store=False))
            error = (await post(client, ask(previous_response_id=passing["id"]), 404))["error"]
            assert "store" in error["message"]
            for name in (ids[2], passing["id"]):
                for reply in (
                    await client.get(f"{PATH}/{name}"),
                    await client.delete(f"{PATH}/{name}"),
                    await client.post(f"{PATH}/{name}/cancel"),
                    await client.get(f"{PATH}/{name}/input_items"),
                ):
                    assert (reply.status_code, reply.json()["error"]["param"]) == (404, "response_id")
            assert (await client.get(f"{PATH}/{ids[3]}")).status_code == 200
            reply = await client.get(f"{PATH}/{ids[3]}", params={"stream": "true"})
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, "stream")

    run(work)


def test_kept_answers_follow_the_world(in_process: InProcess, monkeypatch: pytest.MonkeyPatch):
    stop_the_clock(monkeypatch)

    async def work():
        model = ScriptedChatModel(SAID, info=LARGE)
        async with in_process(model) as client:
            assistant = await counting(client)
            assert assistant.posts is not None
            response = await post(client, ask("Who has won in Kamiros?", include=["web_search_call.action.sources"]))
            assert text_of(response).endswith(f"“{COUNT.text}”.\n\n{TOLD}")
            await assistant.posts.apply([Deleted(COUNT.uri, AT)])
            later = (await client.get(f"{PATH}/{response['id']}")).json()
            checked_response(later)
            assert text_of(later).endswith("“[deleted]”.\n\n[deleted]")
            search, message = later["output"]
            assert message["content"][0]["annotations"] == []
            assert "bsky.app" not in json.dumps(search)
            assert (later["lindos"]["stale"], later["lindos"]["deleted"]) == (["Mayor of Kamiros"], [COUNT.uri])
            assert "edited" not in later["lindos"]
            # Nor does the model hear of it again, by the chain or by a reference.
            await post(client, ask("And?", previous_response_id=response["id"]))
            await post(client, ask([{"type": "item_reference", "id": message["id"]}, {"role": "user", "content": "?"}]))
        for asked in model.asked[-2:]:
            told = [message.content for message in asked["messages"]]
            assert any(text.endswith("“[deleted]”.\n\n[deleted]") for text in told)
            assert not any("62%" in text for text in told)

    run(work)


def test_items_are_listed_in_pages(in_process: InProcess):
    async def work():
        items: list[dict[str, Any]] = [
            {"role": "developer", "content": "Be brief."},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "One"}],
                "status": "completed",
            },
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Two", "annotations": []}],
                "id": "msg_a",
            },
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "5"}]},
            {"id": "msg_a"},
        ]
        model = ScriptedChatModel("Well.")
        async with in_process(model) as client:
            name = (await post(client, ask(items[:-1])))["id"]
            path = f"{PATH}/{name}/input_items"
            whole = (await client.get(path, params={"order": "asc"})).json()
            checked_items(whole)
            kinds = ["message"] * 4 + ["function_call", "function_call_output"]
            assert [item["type"] for item in whole["data"]] == kinds
            assert (whole["first_id"], whole["has_more"]) == (whole["data"][0]["id"], False)
            seen, after = [], None
            while True:
                page = (await client.get(path, params={"limit": 2, **({"after": after} if after else {})})).json()
                checked_items(page)
                seen += page["data"]
                after = page["last_id"]
                if not page["has_more"]:
                    break
            assert seen == whole["data"][::-1]
            last = await client.get(path, params={"after": seen[-1]["id"]})
            assert checked_items(last.json()).data == []
            assert (await client.get(path, params={"after": "none"})).json()["error"]["param"] == "after"
            assert (await client.get(path, params={"limit": 101})).status_code == 400
            await post(client, ask([items[-1], {"role": "user", "content": "?"}]))
        assert [(m.role, m.content) for m in model.asked[0]["messages"][-4:]] == [
            ("user", "One"),
            ("assistant", "Two"),
            ("assistant", 'Never.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'),
            ("user", "<tool_response>\n5\n</tool_response>"),
        ]
        assert [message.content for message in model.asked[1]["messages"][-2:]] == ["Two", "?"]

    run(work)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json_schema"),
        ({"type": "json_schema", "name": "x", "schema": PLACE, "strict": True, "description": "y"}, "json_schema"),
    ],
)
def test_formats(in_process: InProcess, form: dict[str, Any] | None, kind: str | None):
    async def work():
        model = ScriptedChatModel('{"place": "Lindos"}')
        async with in_process(model) as client:
            response = await post(client, ask(text={"format": form}))
            assert response["text"]["format"] == (form or {"type": "text"})
        grammar = model.asked[-1]["sampling"].grammar
        assert (grammar and grammar.kind) == kind

    run(work)


@pytest.mark.parametrize("refused", ["", "weapons"])
def test_a_refusal_is_a_part_of_its_own(in_process: InProcess, grounded: type[GroundedAssistant], refused: str):
    async def work():
        grounded.last = Basis(refused=refused)
        async with in_process(ScriptedChatModel("I will not.")) as client:
            body = ask(text={"format": {"type": "json_object"}})
            response = await post(client, body)
            assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]
            events = await stream(client, body)
            assert without_names(events[-1]["response"]) == without_names(response)
            assert "".join(e["delta"] for e in events if e["type"] == "response.refusal.delta") == "I will not."
            kept = (await client.get(f"{PATH}/{response['id']}")).json()
            assert kept["output"] == response["output"]

    run(work)


class Cut(ScriptedAnswer):
    """Ends by its limit."""

    async def __anext__(self):
        chunk = await super().__anext__()
        if self.finish == "stop":
            self.finish = "length"
        return chunk


def test_an_answer_that_was_cut_is_incomplete(in_process: InProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.server.scripted.ScriptedAnswer", Cut)

    async def work():
        async with in_process(ScriptedChatModel("It is wa")) as client:
            response = await post(client, ask(max_output_tokens=2))
            assert (response["status"], response["incomplete_details"]) == (
                "incomplete",
                {"reason": "max_output_tokens"},
            )
            assert (response["output"][0]["status"], response["completed_at"]) == ("incomplete", None)
            events = await stream(client, ask(max_output_tokens=2))
            assert events[-1]["type"] == "response.incomplete"
            assert without_names(events[-1]["response"] | {"max_output_tokens": 2}) == without_names(response)

    run(work)


def test_an_answer_of_no_words_is_an_empty_message(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("")) as client:
            response = await post(client, ask())
            assert [item["content"][0]["text"] for item in response["output"]] == [""]
            assert (await stream(client, ask()))[-1]["type"] == "response.completed"

    run(work)


def test_errors_in_the_middle_and_at_the_beginning(in_process: InProcess):
    async def work():
        broken = ScriptedChatModel("Half of an ans", fault=EngineDied("the engine's process is gone"))
        async with in_process(broken) as client:
            events = await stream(client, ask())
            error, failed = events[-2:]
            assert (error["type"], error["message"]) == ("error", "the engine's process is gone")
            assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
            assert failed["response"]["error"] == {"code": "server_error", "message": "the engine's process is gone"}
            kept = (await client.get(f"{PATH}/{failed['response']['id']}")).json()
            assert (kept["status"], text_of(kept)) == ("failed", "Half of an ans")
            assert (await post(client, ask(), 503))["error"]["message"] == "the engine's process is gone"
        async with in_process(ScriptedChatModel("", refusal=QueueFull("full"))) as client:
            for streamed in (False, True):
                assert (await post(client, ask(stream=streamed), 503))["error"]["code"] == "queue_full"

    run(work)


def test_a_response_that_cannot_be_kept_says_so(in_process: InProcess, tmp_path: Path):
    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            with closing(sqlite3.connect(tmp_path / "data" / "lindos.db")) as database, database:
                database.execute("CREATE TRIGGER f BEFORE INSERT ON responses BEGIN SELECT RAISE(ABORT, 'secret'); END")
            assert (await post(client, ask(), 503))["error"]["code"] == "storage_unavailable"
            events = await stream(client, ask())
            assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
            assert "secret" not in json.dumps(events)
            assert text_of(events[-1]["response"]) == "Well."
            await post(client, ask(store=False))

    run(work)


def test_one_under_way_is_seen_and_cancelled(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("A long answer. " * 100, pause=0.01)
        async with in_process(model) as client:
            asking = asyncio.create_task(stream(client, ask("Tell me.")))
            name = await begun(client)
            path = f"{PATH}/{name}"
            seen = (await client.get(path)).json()
            checked_response(seen)
            assert (seen["status"], seen["usage"]) == ("in_progress", None)
            assert len((await client.get(f"{path}/input_items")).json()["data"]) == 1
            hasty = (await post(client, ask(previous_response_id=name), 404))["error"]
            assert "not finished" in hasty["message"]
            ended = (await client.post(f"{path}/cancel")).json()
            checked_response(ended)
            assert ended["status"] == "cancelled"
            assert ended["usage"]["output_tokens"] > 0
            events = await asking
            assert (events[-1]["type"], events[-1]["response"]) == ("response.incomplete", ended)
            assert (await client.get(path)).json() == ended
            assert (await client.post(f"{path}/cancel")).json() == ended

    run(work)


def test_one_deleted_under_way_is_not_kept(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("A long answer. " * 100, pause=0.01)
        async with in_process(model) as client:
            asking = asyncio.create_task(client.post(PATH, json=ask()))
            name = await begun(client)
            assert (await client.delete(f"{PATH}/{name}")).json()["deleted"]
            assert (await asking).json()["status"] == "cancelled"
            assert (await client.get(f"{PATH}/{name}")).status_code == 404

    run(work)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_cancels(in_process: InProcess, streamed: bool):
    async def work():
        model = ScriptedChatModel("A long answer. " * 100, pause=0.01)
        async with in_process(model) as client:
            sent: list[dict[str, Any]] = []
            scope, receive, send = leaving(ask(stream=streamed), sent, lambda: len(model.answers) == 1)
            app = client._transport.app  # type: ignore[attr-defined]
            asking = asyncio.create_task(app(scope, receive, send))
            name = await begun(client)
            await asyncio.wait_for(asking, 30)
            (answer,) = model.answers
            assert answer.cancelled
            assert answer.ended.is_set()
            kept = (await client.get(f"{PATH}/{name}")).json()
            checked_response(kept)
            assert kept["status"] == "cancelled"
            assert kept["output"][0]["status"] == "incomplete"

    run(work)


async def begun(client: httpx.AsyncClient) -> str:
    """The name of the response that is under way."""
    service = client._transport.app.state.service  # type: ignore[attr-defined]
    while not service.under_way:
        await asyncio.sleep(0.01)
    (name,) = service.under_way
    return name


def leaving(body: dict[str, Any], sent: list[dict[str, Any]], when: Any) -> tuple[dict[str, Any], Any, Any]:
    """A request whose client leaves after a while, once `when` holds."""
    told = False

    async def receive() -> dict[str, Any]:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        while not when():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 80), "scheme": "http"}
    return {**scope, "root_path": "", "http_version": "1.1"}, receive, send


def test_heartbeats_fill_silence(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("slow", pause=0.3), heartbeat_seconds=0.05) as client:
            reply = await client.post(PATH, json=ask(stream=True))
            assert reply.text.count(": still here") >= 2

    run(work)


def test_explicit_nulls_and_neutral_values_are_taken(in_process: InProcess):
    neutral = {
        "background": False,
        "service_tier": "auto",
        "reasoning": {"effort": "none", "summary": None},
        "text": {"format": None, "verbosity": "medium"},
        "include": ["reasoning.encrypted_content"],
        "max_tool_calls": 3,
        "truncation": "disabled",
        "prompt_cache_key": "k",
        "safety_identifier": "ann",
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "metadata": {},
    }

    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            await post(client, {**dict.fromkeys(ResponseRequest.model_fields), **ask()})
            response = await post(client, ask(**neutral))
            assert (response["prompt_cache_key"], response["safety_identifier"]) == ("k", "ann")

    run(work)


def test_what_the_model_is_asked(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("Well.")
        async with in_process(model, temperature=0.3) as client:
            await post(client, ask(model="scripted", truncation="auto", user="ann", top_p=0.5, max_output_tokens=7))
            await post(client, ask(model="scripted", temperature=0))
        first, second = model.asked
        assert (first["truncate"], first["client"], first["sampling"].top_p) == ("oldest", "user ann", 0.5)
        assert (first["sampling"].max_tokens, first["sampling"].temperature) == (7, 0.3)
        assert (second["truncate"], second["sampling"].temperature) == ("never", 0)

    run(work)


LONG = {"enum": ["x" * (1 << 16)]}
MESSAGE = {"role": "user", "content": "x"}
WRONG = [
    ({"background": True}, "background", 400),
    ({"conversation": "conv_1"}, "conversation", 400),
    ({"prompt": {"id": "p"}}, "prompt", 400),
    ({"service_tier": "flex"}, "service_tier", 400),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort", 400),
    ({"text": {"verbosity": "low"}}, "text.verbosity", 400),
    ({"text": {"format": {"type": "xml"}}}, "text.format", 400),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", 400),
    (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"enum": ["x" * (1 << 16)]}}}},
        "text.format",
        400,
    ),
    ({"tools": [{"type": "web_search"}]}, "tools.0", 400),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools.0.function", 400),
    ({"tool_choice": {"type": "function", "name": "cold"}}, "tool_choice", 400),
    ({"tool_choice": "required"}, "tool_choice", 400),
    ({"include": ["everything"]}, "include.0", 400),
    ({"include": ["message.output_text.logprobs"]}, "include", 400),
    ({"top_logprobs": 2}, "top_logprobs", 400),
    ({"truncation": "sometimes"}, "truncation", 400),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options", 400),
    ({"max_output_tokens": 0}, "max_output_tokens", 400),
    ({"metadata": {"a": 1}}, "metadata.a", 400),
    ({"metadata": {"a" * 65: "b"}}, None, 400),
    ({"input": []}, "input", 400),
    ({"input": None}, "input", 400),
    ({"input": [{"type": "web_search_call", "id": "x"}]}, "input", 400),
    ({"input": ["x"]}, "input.0", 400),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input.0", 400),
    ({"input": [{"role": "user"}]}, "input.0.content", 400),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0", 400),
    ({"input": [{"role": "assistant", "content": [{"type": "audio"}]}]}, "input.0.content.0", 400),
    ({"input": [{**MESSAGE, "nmae": "x"}]}, "input.0.nmae", 400),
    ({"input": [{"type": "function_call_output", "call_id": "none", "output": "x"}]}, "input", 400),
    ({"input": [{"type": "item_reference", "id": "none"}]}, "input.0.id", 404),
    ({"model": "gpt-4o"}, "model", 404),
    ({"persona": "pirate"}, "persona", 400),
    ({"search_parameters": {"mode": "on"}}, "search_parameters", 410),
    ({"max_tokens": 5}, "max_tokens", 400),
]


def test_what_cannot_be_is_refused_by_its_place(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Well.")) as client:
            for change, param, status in WRONG:
                reply = await client.post(PATH, json={**ask(), **change})
                assert reply.status_code == status, (change, reply.text)
                error = reply.json()["error"]
                assert (error["type"], bool(error["message"])) == ("invalid_request_error", True)
                assert param is None or error["param"] == param, (change, error)

    run(work)

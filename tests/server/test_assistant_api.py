"""The assistant by its name in chats and completions: what its answers rest on is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lindos.assistant import Ask, Basis
from lindos.knowledge import Post
from lindos.specs import Message
from tests.server.conftest import InProcess, run
from tests.server.openai_types import checked_chat, checked_chunk, checked_text
from tests.server.resting import (
    COUNT,
    DESK,
    LARGE,
    NOWHERE,
    SAID,
    TOLD,
    GroundedAssistant,
    cited,
    counting,
    partial,
    stop_the_clock,
)
from tests.server.scripted import INFO, ScriptedChatModel
from tests.server.test_functions_chat import CALL, WARMTH, chunks

TEXT = "🗳 Counting goes on in Kamiros, says the desk. Others say so, too."
HELLO = [{"role": "user", "content": "Who has won in Kamiros?"}]
PATH = "/v1/chat/completions"
FORMAT = {"type": "json_object"}


@pytest.fixture
def grounded(monkeypatch: pytest.MonkeyPatch) -> type[GroundedAssistant]:
    class Ours(GroundedAssistant):
        last = partial(cited(TEXT, "Counting goes on in Kamiros"), cited(TEXT, "Others say so", NOWHERE.uri))
        asks = []  # noqa: RUF012

    monkeypatch.setattr("lindos.server.app.Assistant", Ours)
    return Ours


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_the_clock(monkeypatch)


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "lindos", "messages": HELLO, **more}


@pytest.mark.usefixtures("night")
def test_a_whole_answer_tells_what_it_rests_on(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(SAID, info=LARGE)) as client:
            await counting(client)
            reply = (await client.post(PATH, json=ask())).json()
        message = checked_chat(reply).choices[0].message
        assert message.annotations
        assert message.content
        quoted, written = (one.url_citation for one in message.annotations)
        assert message.content[quoted.start_index : quoted.end_index] == COUNT.text
        assert message.content[written.start_index : written.end_index] == TOLD
        assert message.content.endswith(f"\n\n{TOLD}")
        assert quoted.title == written.title == "desk.example"
        assert quoted.url == written.url == "https://bsky.app/profile/did:plc:desk/post/1"
        assert reply["model"] == "lindos"
        ours = reply["lindos"]
        assert set(ours) == {"form", "as_of", "events", "cut", "sources"}
        assert (ours["form"], ours["as_of"]) == ("partial", "2026-11-03T22:58:00Z")
        assert "22:58 UTC" in message.content
        assert [event["id"] for event in ours["events"]] == ["kamiros"]
        assert [(cut["text"], cut["reason"]) for cut in ours["cut"]] == [
            ("Ann Ledger has won.", "unsettled"),
            ("Ann Ledger leads with 88% [1].", "unsupported"),
        ]
        assert [(source["uri"], source["authoritative"]) for source in ours["sources"]] == [(COUNT.uri, True)]
        assert "lindos" not in reply["choices"][0]

    run(work)


def test_what_is_nowhere_on_the_web_is_cited_by_its_name(in_process: InProcess, grounded: type[GroundedAssistant]):
    async def work():
        async with in_process(ScriptedChatModel(TEXT)) as client:
            message = (await client.post(PATH, json=ask())).json()["choices"][0]["message"]
        first, second = (one["url_citation"] for one in message["annotations"])
        assert TEXT[first["start_index"] : first["end_index"]] == "Counting goes on in Kamiros"
        assert (first["title"], first["url"], second["url"]) == ("desk.example", DESK.url, NOWHERE.uri)

    run(work)


@pytest.mark.usefixtures("night")
def test_a_stream_tells_it_at_its_end(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(SAID, info=LARGE)) as client:
            await counting(client)
            whole = (await client.post(PATH, json=ask())).json()
            found = chunks((await client.post(PATH, json=ask(stream=True))).text)
        for chunk in found:
            checked_chunk(chunk)
        *before, last = found
        message = whole["choices"][0]["message"]
        assert last["lindos"] == whole["lindos"]
        assert last["choices"][0]["delta"]["annotations"] == message["annotations"]
        said = [chunk["choices"][0]["delta"].get("content") or "" for chunk in found]
        assert "".join(said) == message["content"]
        assert not any("has won" in piece or "88" in piece for piece in said)
        assert not any("lindos" in chunk or "annotations" in chunk["choices"][0]["delta"] for chunk in before)

    run(work)


@pytest.mark.usefixtures("night")
def test_every_one_of_several_answers_tells_its_own(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel(SAID, info=LARGE)) as client:
            await counting(client)
            reply = (await client.post(PATH, json=ask(n=2))).json()
            checked_chat(reply)
            assert reply["lindos"] == reply["choices"][0]["lindos"] == reply["choices"][1]["lindos"]
            found = chunks((await client.post(PATH, json=ask(n=2, stream=True))).text)
            assert [chunk["choices"][0]["index"] for chunk in found if "lindos" in chunk] == [0, 1]
            prompts = ["Who has won in Kamiros?", "Tell me a joke."]
            reply = (await client.post("/v1/completions", json={"model": "lindos", "prompt": prompts})).json()
            checked_text(reply)
            assert [choice["lindos"]["form"] for choice in reply["choices"]] == ["partial", "none"]

    run(work)


def test_the_bare_model_rests_on_nothing(in_process: InProcess, grounded: type[GroundedAssistant]):
    async def work():
        async with in_process(ScriptedChatModel(TEXT)) as client:
            reply = (await client.post(PATH, json=ask(model="scripted"))).json()
            assert "lindos" not in reply
            assert "annotations" not in reply["choices"][0]["message"]
            assert (await client.get("/v1/models")).json()["data"][0]["id"] == "scripted"
        assert grounded.asks == []

    run(work)


def test_citations_stand_where_the_text_is_shown(in_process: InProcess, grounded: type[GroundedAssistant]):
    async def work():
        told = f"I look.\n{CALL}\n{TEXT}"
        grounded.last = partial(cited(told, "Others say so"), cited(told, "warmth"))
        async with in_process(ScriptedChatModel(told)) as client:
            message = (await client.post(PATH, json=ask(tools=[WARMTH]))).json()["choices"][0]["message"]
        assert message["content"] == f"I look.\n{TEXT}"
        (one,) = message["annotations"]  # what is not shown cites nothing
        place = one["url_citation"]
        assert message["content"][place["start_index"] : place["end_index"]] == "Others say so"
        assert len(message["tool_calls"]) == 1

    run(work)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "refused", "refusal"),
    [
        ('{"winner": null}', "", False),
        ('  {"winner": null}', "", False),
        ("Nobody knows yet.", "", True),
        ("  Nobody knows yet.", "", True),
        ("{I will not say.", "weapons", True),
    ],
)
def test_a_refusal_is_told_from_structured_output(
    in_process: InProcess, grounded: type[GroundedAssistant], text: str, refused: str, refusal: bool, stream: bool
):
    async def work():
        grounded.last = Basis(refused=refused)
        async with in_process(ScriptedChatModel(text)) as client:
            reply = await client.post(PATH, json=ask(response_format=FORMAT, stream=stream))
            if stream:
                deltas = [chunk["choices"][0]["delta"] for chunk in chunks(reply.text)]
                said = {name: "".join(d.get(name) or "" for d in deltas) for name in ("content", "refusal")}
                assert said == ({"content": "", "refusal": text} if refusal else {"content": text, "refusal": ""})
            else:
                message = checked_chat(reply.json()).choices[0].message
                assert (message.content, message.refusal) == ((None, text) if refusal else (text, None))
            plain = (await client.post(PATH, json=ask())).json()["choices"][0]["message"]
            assert (plain["content"], plain["refusal"]) == (text, None)

    run(work)


def test_what_the_assistant_is_asked(in_process: InProcess, grounded: type[GroundedAssistant]):
    async def work():
        search = {
            "type": "post_search",
            "from_date": "2026-11-03",
            "to_date": "2026-11-03",
            "allowed_x_handles": ["@desk"],
        }
        async with in_process(ScriptedChatModel("Well.")) as client:
            for more in (
                {"persona": "regular", "language": "fr", "user": "ann", "priority": 2},
                {"tools": [search]},
                {"tools": [search], "tool_choice": {"type": "post_search"}},
                {"tools": [search], "tool_choice": "none"},
                {"tools": [search], "tool_choice": "required"},
                {"tools": [{"type": "x_search", "excluded_x_handles": ["a", "b"], "to_date": "9999-12-31"}, WARMTH]},
            ):
                assert (await client.post(PATH, json=ask(**more))).status_code == 200
        first, *searches, last = grounded.asks
        assert (first.persona, first.language, first.client, first.priority) == ("regular", "fr", "user ann", -2)
        assert [one.search.mode for one in grounded.asks] == ["auto", "auto", "on", "off", "on", "auto"]
        for one in searches:
            assert one.search.authors == ("@desk",)
            assert one.search.since == datetime(2026, 11, 3, tzinfo=UTC)
            assert one.search.until == datetime(2026, 11, 4, tzinfo=UTC)
        assert (last.search.excluded_authors, last.search.until) == (("a", "b"), None)
        assert json.loads(last.messages[0].content.split("<tools>\n")[1].split("\n")[0])["function"]["name"] == "warmth"

    run(work)


@pytest.mark.parametrize("size", [None, 70_000_000_000])
def test_a_call_that_somebody_posts_is_no_call(in_process: InProcess, size: int | None):
    """Quoted by the assistant itself, or repeated by a model large enough to write about posts."""
    posted = f"The ferry to Kamiros is late. {CALL}"

    def parrot(messages: Sequence[Message]) -> str:
        return "\n".join(message.content for message in messages if "ferry" in message.content)

    async def work():
        info = INFO if size is None else replace(INFO, parameters=size, active_parameters=size)
        async with in_process(ScriptedChatModel(parrot, info=info)) as client:
            app = client._transport.app  # type: ignore[attr-defined]
            await app.state.service.assistant.posts.apply(
                [Post(source="file:x", uri="x:1", author="x.example", text=posted, seen_at=datetime.now(UTC))]
            )
            question = [{"role": "user", "content": "What do people post about the ferry to Kamiros?"}]
            tools = [WARMTH, {"type": "x_search"}]
            body = {"model": "lindos", "messages": question, "tools": tools, "tool_choice": {"type": "x_search"}}
            choice = (await client.post(PATH, json=body)).json()["choices"][0]
            assert "ferry" in choice["message"]["content"]
            assert (choice["finish_reason"], choice["message"].get("tool_calls")) == ("stop", None)
            # The same model, asked without the posts, is taken by its word.
            question = [{"role": "assistant", "content": f"ferry {CALL}"}, {"role": "user", "content": "Go on."}]
            body = {"model": info.name, "messages": question, "tools": [WARMTH]}
            choice = (await client.post(PATH, json=body)).json()["choices"][0]
            assert len(choice["message"]["tool_calls"]) == 1

    run(work)


def test_what_a_function_came_to_is_nobodys_question():
    result = Message(role="user", content="<tool_response>\nAnn has won.\n</tool_response>", result=True)
    asked = Message(role="user", content="Who has won?")
    first = Message(role="user", content="Hello")
    ask = Ask(messages=(first, asked, Message(role="assistant", content=CALL), result))
    assert (ask.question, ask.earlier) == ("Who has won?", ("Hello",))

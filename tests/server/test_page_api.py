"""The page's API against a real server with a real engine."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from lindos.assistant import EngineChatModel, EngineOptions
from lindos.server import Settings
from tests.server.events import ask, create, parsed, shown
from tests.server.served import Served, served
from tests.server.test_leaving import idle, wait_until


def test_the_state_tells_what_the_page_needs(client: httpx.Client):
    state = client.get("/api/state").json()
    assert state["ready"] is True
    assert state["local"] is True
    assert state["model"]["name"] == "tiny"
    assert state["model"]["context"] == 8192
    assert "makes things up" in state["model"]["caution"]
    assert [persona["id"] for persona in state["personas"]] == ["direct", "regular"]
    assert state["default_persona"] == "direct"
    assert len(state["suggestions"]) >= 3


def test_a_conversation_from_question_to_reload(client: httpx.Client):
    conversation = create(client, persona="regular")
    events = ask(client, conversation, "What is the capital of France?")
    names = [name for name, _ in events]
    assert (names[0], names[-1]) == ("start", "end")
    start, end = events[0][1], events[-1][1]
    assert start["conversation"]["title"] == "What is the capital of France?"
    assert start["question"]["text"] == "What is the capital of France?"
    assert start["answer"]["state"] == "writing"
    answer = end["answer"]
    assert answer["id"] == start["answer"]["id"]
    assert answer["state"] == "done"
    assert (answer["persona"], answer["model"]) == ("regular", "tiny")
    assert answer["completion_tokens"] > 0
    assert answer["prompt_tokens"] > 0
    assert answer["blocks"] == shown(events)

    again = client.get(f"/api/conversations/{conversation}").json()
    assert again["messages"] == [start["question"], answer]
    listed = client.get("/api/conversations", params={"query": "capital FRANCE"}).json()["conversations"]
    assert conversation in [row["id"] for row in listed]


def test_conversations_are_renamed_searched_and_deleted(client: httpx.Client):
    conversation = create(client)
    reply = client.patch(f"/api/conversations/{conversation}", json={"title": " The lighthouse of Rhodes "})
    assert reply.json()["title"] == "The lighthouse of Rhodes"
    assert (
        client.patch(f"/api/conversations/{conversation}", json={"persona": "regular"}).json()["persona"] == "regular"
    )
    for body in ({"title": "  "}, {"name": "x"}, {"title": 5}):
        assert client.patch(f"/api/conversations/{conversation}", json=body).status_code == 400
    found = client.get("/api/conversations", params={"query": "lighthouse"}).json()["conversations"]
    assert [row["id"] for row in found] == [conversation]
    assert client.delete(f"/api/conversations/{conversation}").status_code == 204
    assert client.get(f"/api/conversations/{conversation}").status_code == 404
    assert client.delete(f"/api/conversations/{conversation}").status_code == 404
    assert client.get("/api/conversations", params={"query": "lighthouse"}).json() == {
        "conversations": [],
        "more": False,
    }


def test_editing_and_answering_again_make_versions(client: httpx.Client):
    conversation = create(client)
    first = ask(client, conversation, "first")[-1][1]["answer"]
    question = client.get(f"/api/conversations/{conversation}").json()["messages"][0]

    edited = ask(client, conversation, "first, edited", parent_id=question["parent_id"])
    assert edited[0][1]["question"]["versions"] == [question["id"], edited[0][1]["question"]["id"]]

    reply = client.post(f"/api/messages/{question['id']}/answers", json={"persona": "regular"})
    again = parsed(reply.text)
    assert again[0][1]["question"] is None
    assert again[-1][1]["answer"]["versions"] == [first["id"], again[-1][1]["answer"]["id"]]
    assert again[-1][1]["answer"]["persona"] == "regular"

    shown_now = client.post(f"/api/messages/{edited[0][1]['question']['id']}/show").json()
    assert shown_now["messages"][0]["text"] == "first, edited"
    assert client.get(f"/api/conversations/{conversation}").json() == shown_now


def test_what_makes_no_sense_is_refused(client: httpx.Client):
    conversation = create(client)
    answer = ask(client, conversation, "Q")[-1][1]["answer"]
    question = answer["parent_id"]
    path = f"/api/conversations/{conversation}/messages"
    for body, status in (
        ({"text": ""}, 400),
        ({"text": " \n"}, 400),
        ({"text": "x" * 100_001}, 400),
        ({"text": "x", "parent_id": question}, 409),
        ({"text": "x", "parent_id": 2_000_000}, 404),
        ({"text": "x", "persona": "pirate"}, 404),
        ({}, 400),
    ):
        assert client.post(path, json=body).status_code == status, body
    assert client.post(f"/api/messages/{answer['id']}/answers", json={}).status_code == 409
    for path in ("/api/messages/2000000/stop", "/api/messages/2000000/show", "/api/messages/x/stop"):
        assert client.post(path).status_code == 404
    assert client.get("/api/messages/2000000/stream").status_code == 404
    assert client.post(f"/api/messages/{answer['id']}/stop").json() == {"stopped": False}


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory, long_model_dir: Path):
    """A server whose page draws the likeliest token: the tiny model then never comes to an end by itself."""
    settings = Settings(
        port=0,
        data=tmp_path_factory.mktemp("endless"),
        personas=Path("nowhere"),
        temperature=0,
        answer_tokens=8000,
        linger_seconds=0.8,  # far less than 8000 tokens take anywhere
        save_seconds=0.1,
    )
    options = EngineOptions(threads=1)
    with served(settings, lambda: EngineChatModel.start(long_model_dir, options)) as running:
        yield running


def begin(server: Served, client: httpx.Client) -> tuple[str, int]:
    """An answer that has begun and that nobody watches: the conversation's id and the answer's."""
    conversation = create(client)
    path = f"/api/conversations/{conversation}/messages"
    with client.stream("POST", path, json={"text": "How are you today?"}) as response:
        text = ""
        for piece in response.iter_text():
            text += piece
            if "event: patch" in text:
                break
    start = parsed(text[: text.index("\n\n") + 2])[0][1]
    return conversation, start["answer"]["id"]


def message(client: httpx.Client, conversation: str) -> dict:
    return client.get(f"/api/conversations/{conversation}").json()["messages"][-1]


def test_a_reload_watches_on_and_stop_keeps_what_was_written(endless: Served):
    with httpx.Client(base_url=endless.url, timeout=60) as client:
        conversation, answer = begin(endless, client)
        assert message(client, conversation)["state"] == "writing"
        with client.stream("GET", f"/api/messages/{answer}/stream") as response:
            text = ""
            for piece in response.iter_text():
                text += piece
                if text.count("event: patch") == 3:
                    assert client.post(f"/api/messages/{answer}/stop").json() == {"stopped": True}
        events = parsed(text)
        end = events[-1][1]["answer"]
        assert end["state"] == "stopped"
        assert end["text"]
        assert end["completion_tokens"] > 0
        assert shown(events) == end["blocks"]
        assert message(client, conversation) == end
        wait_until(lambda: idle(endless), "the engine went on")


def test_an_answer_nobody_watches_ends_and_is_kept(endless: Served):
    with httpx.Client(base_url=endless.url, timeout=60) as client:
        conversation, _ = begin(endless, client)
        wait_until(lambda: idle(endless), "the engine went on though nobody watched")
        wait_until(lambda: message(client, conversation)["state"] == "stopped", "it was not marked")
        assert message(client, conversation)["text"]


def test_a_growing_answer_is_saved_on_the_way(endless: Served):
    with httpx.Client(base_url=endless.url, timeout=60) as client:
        conversation, answer = begin(endless, client)
        row = endless.service.conversations
        wait_until(lambda: len(endless.run(row.message(answer)).content) > 0, "nothing was saved on the way")
        client.post(f"/api/messages/{answer}/stop")
        assert message(client, conversation)["state"] == "stopped"


def test_deleting_a_conversation_stops_its_answer(endless: Served):
    with httpx.Client(base_url=endless.url, timeout=60) as client:
        conversation, answer = begin(endless, client)
        with client.stream("GET", f"/api/messages/{answer}/stream") as response:
            chunks = response.iter_text()
            next(chunks)
            assert client.delete(f"/api/conversations/{conversation}").status_code == 204
            "".join(chunks)  # the stream ends, whether it tells the stop or the deletion comes first
        wait_until(lambda: idle(endless), "the engine went on")
        assert client.get(f"/api/conversations/{conversation}").status_code == 404


def test_answers_to_several_readers_are_the_same(endless: Served):
    with httpx.Client(base_url=endless.url, timeout=60) as client:
        conversation, answer = begin(endless, client)
        path = f"/api/messages/{answer}/stream"
        with client.stream("GET", path) as one, client.stream("GET", path) as two:
            time.sleep(0.3)
            client.post(f"/api/messages/{answer}/stop")
            first, second = (parsed(response.read().decode()) for response in (one, two))
        assert shown(first) == shown(second) == message(client, conversation)["blocks"]
        late = parsed(client.get(path).text)
        assert [name for name, _ in late] == ["start", "end"]


def test_a_conversation_longer_than_the_context_loses_its_oldest_turns(tmp_path: Path, tiny_model_dir: Path):
    settings = Settings(port=0, data=tmp_path, personas=Path("nowhere"), answer_tokens=24)
    with (
        served(settings, lambda: EngineChatModel.start(tiny_model_dir, EngineOptions(threads=1))) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        conversation = create(client)
        parent = None
        dropped = []
        for number in range(6):
            question = f"Question number {number} is about a statue so tall that ships sailed between its feet."
            answer = ask(client, conversation, question, parent_id=parent)[-1][1]["answer"]
            assert answer["state"] == "done", answer["error"]
            assert answer["prompt_tokens"] + answer["completion_tokens"] <= 256
            dropped.append(answer["dropped"])
            parent = answer["id"]
        assert dropped[0] == 0
        assert dropped[-1] > 0
        events = ask(client, conversation, "ships " * 500, parent_id=parent)
        answer = events[-1][1]["answer"]
        assert answer["state"] == "failed"
        assert "context" in answer["error"]
        # The failed turn does not stand in the way of the next one.
        answer = ask(client, conversation, "And now?", parent_id=answer["id"])[-1][1]["answer"]
        assert answer["state"] == "done"

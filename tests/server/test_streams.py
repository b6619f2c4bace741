"""Streams: heartbeats, errors in the middle, endings."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import httpx

from lindos.assistant import EngineDied, EngineError, QueueFull
from lindos.server.sse import DONE, HEARTBEAT, EventStream, event, unless_gone
from tests.server.conftest import InProcess
from tests.server.events import parsed, shown
from tests.server.scripted import ScriptedChatModel

PIRATE = 'title = "Pirate"\ndescription = "Says arr."\nsystem = "You are a pirate."\n'
ASK = {"model": "lindos", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


def test_events_are_ascii_lines():
    assert event({"a": "é\n"}, "patch") == b'event: patch\ndata: {"a":"\\u00e9\\n"}\n\n'


def test_silence_is_filled_with_comments():
    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"
        await asyncio.sleep(0.3)
        yield b"three"

    assert _sent(slow(), 0.05)[:2] == [b"one", b"two"]
    assert _sent(slow(), 0.05)[-2:] == [b"three", b""]
    between = _sent(slow(), 0.05)[2:-2]
    assert set(between) == {HEARTBEAT}
    assert len(between) >= 2


def test_what_comes_in_time_comes_without_comments():
    async def steady() -> AsyncGenerator[bytes, None]:
        for _ in range(10):
            yield b"more"
            await asyncio.sleep(0.02)

    assert HEARTBEAT not in _sent(steady(), 5.0)


def _sent(events: AsyncGenerator[bytes, None], heartbeat_seconds: float) -> list[bytes]:
    """The pieces of the body that a stream of `events` sends."""
    sent: list[bytes] = []

    async def work():
        async def send(message):
            if message["type"] == "http.response.body":
                sent.append(message["body"])

        async def receive():
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        await (await EventStream.begin(events, heartbeat_seconds))({"type": "http"}, receive, send)

    asyncio.run(work())
    return sent


def test_a_reader_that_leaves_has_the_events_closed():
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0.01)
        finally:
            await asyncio.sleep(0.01)  # what an ending awaits must still happen
            closed.set()

    async def work():
        sent: list[dict] = []

        async def receive():
            while len(sent) < 5:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        response = await EventStream.begin(endless(), 1.0)
        await response({"type": "http"}, receive, send)
        assert closed.is_set()
        assert not any(message.get("more_body") is False for message in sent)

    asyncio.run(work())


def test_work_for_somebody_gone_is_cancelled():
    ended: list[str] = []

    async def long() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return "never"

    async def gone():
        return {"type": "http.disconnect"}

    async def here():
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def short() -> str:
        return "done"

    async def failing() -> str:
        raise ZeroDivisionError

    async def work():
        assert await unless_gone(gone, long()) is None
        assert ended == ["cancelled"]
        assert await unless_gone(here, short()) == "done"
        try:
            await unless_gone(here, failing())
        except ZeroDivisionError:
            ended.append("raised")
        assert ended[-1] == "raised"

    asyncio.run(work())


def test_an_error_in_the_middle_is_an_object_of_its_own(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("Half of an ans", fault=EngineDied("the engine's process is gone"))
        async with in_process(model) as client:
            reply = await client.post("/v1/chat/completions", json=ASK)
            assert reply.status_code == 200
            events = reply.text.split("\n\n")
            assert events[-2] == DONE.decode().strip()
            error = json.loads(events[-3].removeprefix("data: "))["error"]
            assert error["message"] == "the engine's process is gone"
            assert error["type"] == "server_error"
            whole = await client.post("/v1/chat/completions", json={**ASK, "stream": False})
            assert whole.status_code == 503
        assert all(answer.ended.is_set() for answer in model.answers)

    asyncio.run(work())


def test_what_keeps_a_stream_from_starting_is_a_plain_error(in_process: InProcess):
    async def work():
        for refusal, status in ((QueueFull("full"), 503), (EngineError("not now"), 503)):
            async with in_process(ScriptedChatModel("", refusal=refusal)) as client:
                reply = await client.post("/v1/chat/completions", json=ASK)
                assert reply.status_code == status
                assert reply.headers["retry-after"]
                assert reply.json()["error"]["message"] == str(refusal)

    asyncio.run(work())


def test_heartbeats_reach_the_client(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("slow", pause=0.3), heartbeat_seconds=0.05) as client:
            reply = await client.post("/v1/chat/completions", json=ASK)
            assert reply.text.count(": still here") >= 2
            assert reply.text.endswith("data: [DONE]\n\n")

    asyncio.run(work())


def test_an_answer_that_cannot_be_saved_is_shown_and_says_so(in_process: InProcess, tmp_path: Path):
    async def work():
        model = ScriptedChatModel("All of the answer.", pause=0.02)
        async with in_process(model, save_seconds=0.01) as client:
            conversation = (await client.post("/api/conversations", json={})).json()["id"]
            with closing(sqlite3.connect(tmp_path / "data" / "lindos.db")) as database, database:
                words = "SELECT RAISE(ABORT, 'the disk is full')"
                database.execute(f"CREATE TRIGGER full BEFORE UPDATE ON messages BEGIN {words}; END")
            path = f"/api/conversations/{conversation}/messages"
            events = parsed((await client.post(path, json={"text": "What?"})).text)
            assert "All of the answer." in "".join(shown(events))
            end = events[-1][1]["answer"]
            assert (end["state"], "could not be saved" in end["error"]) == ("failed", True)
            with closing(sqlite3.connect(tmp_path / "data" / "lindos.db")) as database, database:
                database.execute("CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'secret'); END")
            reply = await client.post(path, json={"text": "And?", "parent_id": end["id"]})
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage_unavailable")
            assert "secret" not in reply.text

    asyncio.run(work())


def test_a_second_server_on_the_database_leaves_answers_under_way(in_process: InProcess, tmp_path: Path):
    async def states(client: httpx.AsyncClient, conversation: str) -> list[str]:
        messages = (await client.get(f"/api/conversations/{conversation}")).json()["messages"]
        return [message["state"] for message in messages[1:]]

    async def work():
        model = ScriptedChatModel("An answer that takes its time. " * 8, pause=0.02)
        async with in_process(model, save_seconds=0.01) as client:
            conversation = (await client.post("/api/conversations", json={})).json()["id"]
            path = f"/api/conversations/{conversation}/messages"
            asking = asyncio.create_task(client.post(path, json={"text": "What?"}))
            while not model.answers or not model.answers[0].usage.completion_tokens:
                await asyncio.sleep(0.01)
            async with in_process(ScriptedChatModel("")) as second:
                await asyncio.sleep(0.2)
                assert not asking.done()
                assert await states(second, conversation) == ["writing"]
            assert parsed((await asking).text)[-1][1]["answer"]["state"] == "done"

    asyncio.run(work())


def test_a_persona_that_is_gone_gives_way_to_the_default(in_process: InProcess, tmp_path: Path):
    folder = tmp_path / "personas"
    folder.mkdir()
    (folder / "pirate.toml").write_text(PIRATE)

    async def work():
        async with in_process(ScriptedChatModel("Arr.")) as client:
            made = (await client.post("/api/conversations", json={"persona": "pirate"})).json()
            path = f"/api/conversations/{made['id']}/messages"
            first = parsed((await client.post(path, json={"text": "Who are you?"})).text)[-1][1]["answer"]
            assert first["persona"] == "pirate"
        (folder / "pirate.toml").unlink()
        async with in_process(ScriptedChatModel("Hi.")) as client:
            for again in (
                await client.post(path, json={"text": "Still here?", "parent_id": first["id"]}),
                await client.post(f"/api/messages/{first['parent_id']}/answers", json={}),
            ):
                assert parsed(again.text)[-1][1]["answer"]["persona"] == "direct"
            asked = {"text": "Who?", "persona": "pirate", "parent_id": first["id"]}
            assert (await client.post(path, json=asked)).status_code == 404

    asyncio.run(work())


def test_what_the_model_is_told(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("Hi")
        async with in_process(model, temperature=0.3) as client:
            body = {**ASK, "stream": False, "top_k": 7, "seed": -1, "stop": "x", "max_tokens": 5, "n": 2}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            assert (await client.post("/v1/completions", json={"model": "scripted", "prompt": "p"})).status_code == 200
        one, two, raw = (asked["sampling"] for asked in model.asked)
        assert (one.temperature, one.top_p, one.top_k, one.seed, one.stop, one.max_tokens) == (
            0.3,
            1.0,
            7,
            -1,
            ("x",),
            5,
        )
        assert two.seed == 0
        assert (raw.temperature, raw.top_k, raw.seed, raw.max_tokens) == (0.3, 0, None, 16)
        assert all(asked["truncate"] == "never" for asked in model.asked)
        assert model.asked[-1]["prompt"] == "p"

    asyncio.run(work())

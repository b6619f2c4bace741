"""Models that load slowly, never, or die: what the server says meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from lindos.assistant import EngineChatModel, EngineError, EngineOptions, Loading
from lindos.server import ServerError, Settings
from tests.server.conftest import InProcess
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served
from tests.server.test_leaving import wait_until

ASK = {"model": "lindos", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}


def test_while_it_loads(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("Hi")
        model.ready, model.loading = False, Loading("reading the weights", 0.25)
        async with in_process(model) as client:
            conversation = (await client.post("/api/conversations", json={})).json()["id"]
            for reply in (
                await client.get("/ready"),
                await client.post("/v1/chat/completions", json=ASK),
                await client.post("/v1/chat/completions", json={**ASK, "stream": True}),
                await client.post(f"/api/conversations/{conversation}/messages", json={"text": "Q"}),
            ):
                assert reply.status_code == 503
                assert reply.headers["retry-after"]
                assert "reading the weights" in reply.json()["error"]["message"]
                assert reply.json()["error"]["code"] == "model_loading"
            assert (await client.get("/health")).status_code == 200
            assert [one["id"] for one in (await client.get("/v1/models")).json()["data"]] == ["lindos"]
            state = (await client.get("/api/state")).json()
            assert (state["ready"], state["model"]) == (False, None)
            assert state["loading"] == {"message": "reading the weights", "fraction": 0.25}
            # A question that cannot be answered yet leaves nothing behind.
            assert (await client.get(f"/api/conversations/{conversation}")).json()["messages"] == []
            model.ready = True
            assert (await client.get("/ready")).status_code == 200

    asyncio.run(work())


def test_one_that_will_never_answer(in_process: InProcess):
    async def work():
        model = ScriptedChatModel("")
        model.ready, model.fault = False, EngineError("it ran out of memory, three times")
        async with in_process(model) as client:
            assert "three times" in (await client.get("/ready")).json()["error"]["message"]
            assert (await client.get("/api/state")).json()["fault"] == "it ran out of memory, three times"

    asyncio.run(work())


def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    settings = Settings(port=0, data=tmp_path)
    with pytest.raises(ServerError, match="config"), served(settings, lambda: started(tmp_path)):
        pass


def test_a_database_that_cannot_be_opened_ends_the_server_with_the_reason(tmp_path: Path):
    (tmp_path / "lindos.db").write_bytes(b"no database " * 100)
    settings = Settings(port=0, data=tmp_path)
    with (
        pytest.raises(ServerError, match="cannot be used as a database"),
        served(settings, lambda: ScriptedChatModel("")),
    ):
        pass


def test_an_engine_that_dies_is_started_again(tmp_path: Path, tiny_model_dir: Path):
    settings = Settings(port=0, data=tmp_path)
    with served(settings, lambda: started(tiny_model_dir)) as running:
        model = running.service.model
        assert isinstance(model, EngineChatModel)
        with httpx.Client(base_url=running.url, timeout=60) as client:
            assert client.post("/v1/chat/completions", json=ASK).status_code == 200
            first = model.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: client.get("/ready").status_code == 503, "nobody noticed")
            assert client.post("/v1/chat/completions", json=ASK).status_code == 503
            wait_until(lambda: client.get("/ready").status_code == 200, "it was not started again")
            assert model.pid != first
            assert client.post("/v1/chat/completions", json=ASK).status_code == 200


def started(directory: Path) -> EngineChatModel:
    return EngineChatModel.start(directory, EngineOptions(threads=1))

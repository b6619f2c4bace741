"""Many answers to one request, left before most of them are begun."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from lindos.assistant import Answer, Ask, Assistant, AssistantAnswer, EngineError, Usage
from lindos.server.v1.completions import TextShape
from lindos.server.v1.respond import stream_of
from lindos.server.v1.schema import CompletionRequest
from lindos.storage import StorageError
from tests.server.conftest import InProcess, run
from tests.server.scripted import ScriptedAnswer, ScriptedChatModel

COUNT = 16


class SlowToEnd(ScriptedAnswer):
    """Ends a few turns of the event loop after it was cancelled, as an engine does that finishes its step first."""

    async def wait(self) -> Usage:
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().wait()


def test_answers_not_yet_begun_are_not_begun_after_their_reader_left():
    asyncio.run(leave())


async def leave() -> None:
    begun: list[SlowToEnd] = []

    async def submit(number: int) -> Answer:
        await asyncio.sleep(0)
        begun.append(SlowToEnd("a long answer " * 100, pause=0.0))
        return begun[-1]

    body = CompletionRequest(model="tiny", prompt=["Once"] * COUNT, stream=True)
    head: dict[str, Any] = {"id": "cmpl-1"}
    stream = stream_of(submit, body, TextShape(), head)
    for _ in range(COUNT + 20):  # each answer opens with a chunk
        await anext(stream)
    held = len(begun)
    await stream.aclose()
    assert len(begun) == held < COUNT
    assert all(answer.cancelled and answer.ended.is_set() for answer in begun)


@pytest.mark.parametrize("fault", [StorageError("locked"), EngineError("gone"), ValueError("a mistake of ours")])
def test_whatever_keeps_one_of_many_from_beginning_ends_them_all(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, fault: Exception
):
    class Failing(Assistant):
        count = 0

        async def answer(self, ask: Ask) -> AssistantAnswer:
            self.count += 1
            if self.count % 8 == 6:
                raise fault
            return await super().answer(ask)

    async def work():
        monkeypatch.setattr("lindos.server.app.Assistant", Failing)
        body = {"model": "lindos", "prompt": ["Hello."] * 8}
        for stream in (False, True):
            async with in_process(ScriptedChatModel("Good day.")) as client, asyncio.timeout(30):
                reply = await client.post("/v1/completions", json={**body, "stream": stream})
            words = told(reply) if stream else reply.json()["error"]["message"]
            assert reply.status_code == (200 if stream else 500 if isinstance(fault, ValueError) else 503)
            assert str(fault) not in words or isinstance(fault, EngineError)

    def told(reply: httpx.Response) -> str:
        *_, error, done = reply.text.strip().split("\n\n")
        assert done == "data: [DONE]"
        return json.loads(error.removeprefix("data: "))["error"]["message"]

    run(work)

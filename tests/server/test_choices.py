"""Many answers to one request, left before most of them are begun."""

from __future__ import annotations

import asyncio
from typing import Any

from lindos.assistant import Answer, Usage
from lindos.server.v1.completions import TextShape
from lindos.server.v1.respond import stream_of
from lindos.server.v1.schema import CompletionRequest
from tests.server.scripted import ScriptedAnswer

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

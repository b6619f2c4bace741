"""A request under way: what its reader may rely on."""

import asyncio

import pytest

from lindos.engine.generation import Generation
from lindos.engine.interface import Usage


def test_a_reader_behind_the_engine_can_be_cancelled_before_the_end_of_its_backlog():
    async def read() -> list[str]:
        generation = Generation(1, lambda number: None)
        for word in "abcdefgh":
            generation.take({"text": word, "ids": [1], "seconds": 0.0})
        read = []

        async def reader() -> None:
            async for chunk in generation:
                read.append(chunk.text)
                if len(read) == 3:
                    task.cancel()

        task = asyncio.ensure_future(reader())
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing is lost either: who reads on gets what comes next.
        read.append((await anext(generation)).text)
        return read

    assert asyncio.run(read()) == ["a", "b", "c", "d"]


def test_an_answer_that_ended_before_it_was_known_to_be_accepted_keeps_its_counts():
    async def counts() -> Usage:
        generation = Generation(1, lambda number: None)
        usage = {"prompt_tokens": 90, "completion_tokens": 1, "cached_tokens": 64}
        timing = {"queued": 0.0, "first_token": 0.1, "total": 0.2}
        generation.take({"text": "a", "ids": [1], "seconds": 0.0, "finish": "stop", "usage": usage, "timing": timing})
        generation.accepted({"prompt_tokens": 90, "dropped": 0})
        return generation.usage

    assert asyncio.run(counts()) == Usage(90, 1, 64)

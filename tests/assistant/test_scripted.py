"""The scripted model keeps to its pace."""

from __future__ import annotations

import asyncio
import time

from lindos.assistant.scripted import scripted


def test_a_reader_that_is_late_catches_up():
    async def work() -> None:
        answer = await scripted([{"match": "", "reply": " ".join(["word"] * 20)}], pause=0.02).submit(prompt="Hello")
        await anext(answer)
        await asyncio.sleep(0.3)
        started = time.monotonic()
        due = [answer.started + 0.02 * (number + 1) for number in range(1, 20)]
        for moment in due:
            await anext(answer)
            assert time.monotonic() >= moment - 0.005  # never before its time
        waited = time.monotonic() - started
        assert waited < 20 * 0.02 or time.monotonic() > due[-1]

    asyncio.run(work())

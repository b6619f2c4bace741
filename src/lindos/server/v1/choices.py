"""One request's answers, `n` choices for each of its prompts, read as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

from lindos.assistant import Chunk, QueueFull
from lindos.server.sse import finish
from lindos.server.v1.speech import Spoken

AT_ONCE = 4
"""Answers of one request that the engine holds at a time: many prompts must neither fill its queue nor need it all."""
RETRY_SECONDS = 0.05

Submit = Callable[[int], Coroutine[Any, Any, Spoken]]
Answers = dict[int, Spoken]
News = tuple[int, Chunk | Exception | None]


@asynccontextmanager
async def submitted(submit: Submit, count: int) -> AsyncGenerator[Answers, None]:
    """The first of `submit(0)` ... `submit(count - 1)`; all that `merged` adds are cancelled, too, when the block ends.

    Raises what `submit` raises; answers that were accepted before are then given back.
    """
    answers: Answers = {}
    try:
        for number in range(min(count, AT_ONCE)):
            answers[number] = await submit(number)
        yield answers
    finally:
        # First all, without waiting in between: this may run while its own task is being cancelled.
        for answer in answers.values():
            answer.cancel()
        for answer in answers.values():
            await answer.wait()


async def merged(answers: Answers, submit: Submit, count: int) -> AsyncGenerator[tuple[int, Chunk], None]:
    """The chunks of all `count` answers as they come, each with its number; those not in `answers` yet are submitted as
    others end. Raises what they and `submit` raise.

    To be closed by its reader (`aclosing`) before `submitted` ends: what reads on would submit behind its back.
    """
    if count == 1:
        async for chunk in answers[0]:
            yield 0, chunk
        return
    queue: asyncio.Queue[News] = asyncio.Queue()
    todo = iter(range(len(answers), count))
    lanes = [asyncio.create_task(_lane(number, todo, answers, submit, queue)) for number in list(answers)]
    try:
        left = count
        while left:
            number, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield number, item
    finally:
        for lane in lanes:
            await finish(lane)


async def _lane(
    number: int | None, todo: Iterator[int], answers: Answers, submit: Submit, queue: asyncio.Queue[News]
) -> None:
    """Read one answer after the other, until none is left to be begun."""
    try:
        while number is not None:
            if number not in answers:
                answers[number] = await _patiently(submit, number)
            async for chunk in answers[number]:
                queue.put_nowait((number, chunk))
            queue.put_nowait((number, None))
            number = next(todo, None)
    except Exception as error:  # noqa: BLE001 - whatever it is: who waits for this answer would wait for ever
        queue.put_nowait((number or 0, error))


async def _patiently(submit: Submit, number: int) -> Spoken:
    """`submit`, when others have taken the place that an answer of this request has just left: wait for another."""
    while True:
        try:
            return await submit(number)
        except QueueFull:
            await asyncio.sleep(RETRY_SECONDS)

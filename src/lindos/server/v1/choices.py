"""One request's answers, `n` choices for each of its prompts, read as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from lindos.assistant import Answer, Chunk, EngineError
from lindos.server.sse import finish

Submit = Callable[[int], Coroutine[Any, Any, Answer]]


@asynccontextmanager
async def submitted(submit: Submit, count: int) -> AsyncGenerator[list[Answer], None]:
    """The answers to `submit(0)` ... `submit(count - 1)`; all are cancelled, if need be, when the block ends.

    Raises what `submit` raises; choices that were accepted before are then given back.
    """
    answers: list[Answer] = []
    try:
        for choice in range(count):
            answers.append(await submit(choice))
        yield answers
    finally:
        # First all, without waiting in between: this may run while its own task is being cancelled.
        for answer in answers:
            answer.cancel()
        for answer in answers:
            await answer.wait()


async def merged(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, Chunk], None]:
    """The chunks of all answers as they come, each with its choice's number. Raises EngineError as they do."""
    if len(answers) == 1:
        async for chunk in answers[0]:
            yield 0, chunk
        return
    queue: asyncio.Queue[tuple[int, Chunk | EngineError | None]] = asyncio.Queue()
    readers = [asyncio.create_task(_read(index, answer, queue)) for index, answer in enumerate(answers)]
    try:
        left = len(readers)
        while left:
            index, item = await queue.get()
            if isinstance(item, EngineError):
                raise item
            if item is None:
                left -= 1
            else:
                yield index, item
    finally:
        for reader in readers:
            await finish(reader)


async def _read(index: int, answer: Answer, queue: asyncio.Queue[tuple[int, Chunk | EngineError | None]]) -> None:
    try:
        async for chunk in answer:
            queue.put_nowait((index, chunk))
        queue.put_nowait((index, None))
    except EngineError as error:
        queue.put_nowait((index, error))

"""Running a batch: as many prompts under way as the engine takes, each through the API's route as a request."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lindos.assistant import ChatModel
from lindos.server.app import create_app
from lindos.server.batch.answers import AnswersFile
from lindos.server.batch.tasks import Task
from lindos.server.service import StartModel
from lindos.server.settings import Settings

ATTEMPTS = 3
"""At a prompt whose request fails for no fault of its own, e.g. because the engine died and was started again."""
TELL_SECONDS = 0.5
BUSY_SECONDS = 0.2


@dataclass(frozen=True)
class Standing:
    """How far a batch has come."""

    total: int
    done: int
    failed: int
    tokens: int
    """Sampled in this run, also of answers under way."""
    seconds: float
    """Of this run, since the model was ready."""
    share: float
    """Of the work of this run that is done, answers under way counted by their tokens; 0 where nothing is known."""

    @property
    def remaining(self) -> float | None:
        """Seconds this run still takes, at its speed so far; None while nothing is known."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0 else None


class _Run:
    def __init__(self, tasks: Iterator[Task], answers: AnswersFile) -> None:
        self._tasks = tasks
        self._answers = answers
        self._started = time.monotonic()
        self._todo = answers.total - len(answers.done)
        self._ended = self._failed = 0
        self._full_tokens = 0

    async def work(self, client: httpx.AsyncClient, model: ChatModel) -> None:
        """Ask one prompt after the other until there are none."""
        for task in self._tasks:
            status, reply = await self._ask(client, model, task)
            self._answers.put(task, status, reply)
            self._ended += 1
            self._failed += status != 200
            self._full_tokens += int(reply.get("usage", {}).get("completion_tokens", 0))

    async def _ask(self, client: httpx.AsyncClient, model: ChatModel, task: Task) -> tuple[int, dict[str, Any]]:
        if task.fault is not None:
            return 400, {"error": {"message": task.fault, "code": "invalid_line"}}
        for attempt in range(1, ATTEMPTS + 1):
            response = await client.post(task.route, json={**task.body, "model": model.info.name})
            reply = response.json()
            if response.status_code < 500 or attempt == ATTEMPTS:
                return response.status_code, reply
            await model.wait_ready()  # raises where it will never be
            await asyncio.sleep(BUSY_SECONDS)
        raise AssertionError

    async def standing(self, model: ChatModel) -> Standing:
        tokens = (await model.stats()).completion_tokens if model.ready else self._full_tokens
        share = 0.0
        if self._ended > self._failed:
            expected = self._full_tokens / (self._ended - self._failed) * max(1, self._todo - self._failed)
            share = min(1.0, tokens / max(1.0, expected))
        elif self._todo == self._ended:
            share = 1.0
        seconds = time.monotonic() - self._started
        return Standing(self._answers.total, len(self._answers.done), self._failed, tokens, seconds, share)


async def run_batch(
    tasks: Iterator[Task],
    answers: AnswersFile,
    start_model: StartModel,
    *,
    together: int,
    on_ready: Callable[[ChatModel], None],
    on_progress: Callable[[Standing], None],
) -> Standing:
    """Answer all tasks, `together` of them at a time.

    What is answered stands in the file, whatever ends the run. Raises BatchError for a file that cannot be written,
    and EngineError where the model cannot be loaded or dies again and again.
    """
    async with AsyncExitStack() as stack:
        client, model = await stack.enter_async_context(_in_process(start_model))
        await model.wait_ready()
        on_ready(model)
        run = _Run(tasks, answers)
        workers = [asyncio.create_task(run.work(client, model)) for _ in range(together)]
        try:
            while True:
                done, pending = await asyncio.wait(workers, timeout=TELL_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                for worker in done:
                    worker.result()
                if model.ready:
                    on_progress(await run.standing(model))
                if not pending:
                    return await run.standing(model)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


@asynccontextmanager
async def _in_process(start_model: StartModel) -> AsyncIterator[tuple[httpx.AsyncClient, ChatModel]]:
    """The server without a socket, in a folder that is gone afterwards, and a client of it."""
    with tempfile.TemporaryDirectory(prefix="lindos-batch-") as folder:
        app = create_app(Settings(data=Path(folder)), start_model)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as client:
                yield client, app.state.service.model

"""EngineChatModel: our own engine as a ChatModel, started again when its process dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from lindos.assistant.model import (
    Answer,
    EngineDied,
    EngineError,
    EngineOptions,
    Loading,
    ModelInfo,
    Sampling,
    Stats,
    Truncate,
)
from lindos.engine.client import EngineClient
from lindos.specs import Message

DEATHS, SETTLED_SECONDS = 3, 60.0
"""An engine that dies this often in a row, each time before it has been ready for so long, is not started again."""

log = logging.getLogger("lindos.assistant")


class EngineChatModel:
    """One engine process, watched over. Belongs to the event loop that `start` ran in."""

    def __init__(self, directory: Path, options: EngineOptions, on_progress: Callable[[Loading], None] | None) -> None:
        self._directory = directory
        self._options = options
        self._on_progress = on_progress
        self._client: EngineClient | None = None
        self._info: ModelInfo | None = None
        self._fault: EngineError | None = None
        self._loaded = asyncio.Event()
        """Set while there is a loaded engine, or none will ever be."""
        self._ready_since: float | None = None
        self._keeper = asyncio.create_task(self._keep())

    @classmethod
    def start(
        cls,
        directory: Path,
        options: EngineOptions | None = None,
        *,
        on_progress: Callable[[Loading], None] | None = None,
    ) -> Self:
        """Start the engine with a model directory and return at once; `wait_ready` waits for it."""
        return cls(directory, options or EngineOptions(), on_progress)

    @property
    def ready(self) -> bool:
        return self._client is not None and self._client.ready

    @property
    def loading(self) -> Loading:
        return self._client.loading if self._client else Loading("starting", 0.0)

    @property
    def fault(self) -> EngineError | None:
        return self._fault

    @property
    def info(self) -> ModelInfo:
        if self._info is None:
            raise self._fault or EngineError(f"the model is not loaded yet: {self.loading.message}")
        return self._info

    @property
    def pid(self) -> int | None:
        """Process id of the engine, where one runs."""
        return self._client.pid if self._client else None

    async def wait_ready(self) -> ModelInfo:
        await self._loaded.wait()
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        return self.info

    async def wait_fault(self) -> EngineError:
        await asyncio.wait({self._keeper})
        return self._fault or EngineDied("the engine was closed")

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        truncate: Truncate = "never",
        priority: int = 0,
        client: str = "",
    ) -> Answer:
        return await self._living().submit(
            messages, prompt=prompt, sampling=sampling, truncate=truncate, priority=priority, client=client
        )

    async def stats(self) -> Stats:
        return await self._living().stats()

    async def close(self) -> None:
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._fault = self._fault or EngineDied("the engine was closed")
        self._loaded.set()

    def _living(self) -> EngineClient:
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if self._client is None or not self._client.ready:
            raise EngineError(f"the model is not ready yet: {self.loading.message}")
        return self._client

    async def _keep(self) -> None:
        deaths = 0
        try:
            while self._fault is None:
                try:
                    await self._live()
                except EngineError as error:
                    settled = self._ready_since and time.monotonic() - self._ready_since > SETTLED_SECONDS
                    deaths = 1 if settled else deaths + 1
                    # A model that could not be loaded will not load the next time either.
                    if not isinstance(error, EngineDied) or deaths == DEATHS or self._info is None:
                        self._fault = error
                    else:
                        log.error("%s; starting it again", error)
        except Exception as error:
            log.exception("the engine cannot be kept running")
            self._fault = EngineError(f"the engine cannot be kept running: {error}")
        finally:
            self._loaded.set()

    async def _live(self) -> None:
        """One engine from its start to its death, which is raised."""
        self._ready_since = None
        client = await EngineClient.start(self._directory, self._options, on_progress=self._on_progress, wait=False)
        self._client = client
        try:
            self._info = await client.wait_ready()
            self._ready_since = time.monotonic()
            self._loaded.set()
            raise await client.wait_fault()
        finally:
            self._loaded.clear()
            self._client = None
            await client.close()

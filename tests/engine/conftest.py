"""A real engine process, and a loop to speak to it in."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lindos.engine import EngineClient, Sampling

T = TypeVar("T")

GREEDY = Sampling(temperature=0, max_tokens=24, ignore_end=True)
PROMPTS = [
    [7 + 3 * i + j * (i + 2) % 450 for j in range(length)] for i, length in enumerate([1, 2, 5, 9, 30, 63, 64, 90])
]
"""Eight prompts of token ids, from one token to more than a block."""


class Harness:
    """An engine and the event loop it lives in, for tests that are plain functions."""

    def __init__(self, runner: asyncio.Runner, engine: EngineClient) -> None:
        self._runner = runner
        self.engine = engine

    def __call__(self, work: Coroutine[Any, Any, T], *, limit: float = 120) -> T:
        """Run to the end; a hang is a failure."""

        async def bounded() -> T:
            async with asyncio.timeout(limit):
                return await work

        return self._runner.run(bounded())


@pytest.fixture(scope="package")
def long_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a context so long that an answer without an end outlasts any pause of a busy machine."""
    folder = tmp_path_factory.mktemp("long") / "tiny"
    shutil.copytree(tiny_model_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config["spec"]["sequence"] = 8192
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="package")
def harness(long_model_dir: Path) -> Iterator[Harness]:
    """One engine for all tests that leave it as they found it."""
    with started(long_model_dir, threads=1, step_tokens=40) as harness:
        yield harness


class started:  # noqa: N801 - reads as a verb
    """`with started(directory, **options) as harness`: an engine of one's own."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self._directory = directory
        self._options = options

    def __enter__(self) -> Harness:
        self._runner = asyncio.Runner()
        self._runner.__enter__()
        try:
            engine = self._runner.run(EngineClient.start(self._directory, **self._options))
        except BaseException:
            self._runner.close()
            raise
        self.harness = Harness(self._runner, engine)
        return self.harness

    def __exit__(self, *_: object) -> None:
        self._runner.run(self.harness.engine.close())
        self._runner.close()

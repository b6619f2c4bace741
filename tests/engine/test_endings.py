"""How engines start, fail to start, and die."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lindos.engine import EngineClient, EngineDied, EngineError, Loading, Sampling
from tests.engine.conftest import GREEDY, Harness, started

ENDLESS = Sampling(temperature=0, ignore_end=True)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def gone(pid: int) -> bool:
    """Whether the process has ended; one that waits to be collected by its parent has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_killed_engine_ends_every_request_at_once(long_model_dir: Path) -> None:
    with started(long_model_dir, max_running=2) as harness:
        engine = harness.engine

        async def kill() -> None:
            watching = asyncio.create_task(engine.wait_fault())
            generations = [await engine.submit(tokens=[5] * 9, sampling=ENDLESS) for _ in range(3)]
            await anext(generations[0])
            os.kill(engine.pid, signal.SIGKILL)
            for generation in generations:
                with pytest.raises(EngineDied, match="SIGKILL"):
                    await generation.collect()
                assert generation.ended
                await generation.wait()
            for _ in range(2):
                with pytest.raises(EngineDied, match="SIGKILL"):
                    await engine.submit(tokens=[5])
            with pytest.raises(EngineDied):
                await engine.stats()
            assert not engine.ready
            assert isinstance(engine.fault, EngineDied)
            assert await watching is engine.fault

        harness(kill(), limit=30)


@LINUX
def test_closing_ends_the_process_and_what_was_pending(long_model_dir: Path) -> None:
    with started(long_model_dir) as harness:
        engine = harness.engine

        async def close() -> None:
            generation = await engine.submit(tokens=[5], sampling=ENDLESS)
            await engine.close()
            with pytest.raises(EngineDied, match="closed"):
                await generation.collect()
            with pytest.raises(EngineDied, match="closed"):
                await engine.submit(tokens=[5])
            await engine.close()
            assert gone(engine.pid)

        harness(close(), limit=30)


@LINUX
def test_an_engine_that_stands_still_can_be_closed(long_model_dir: Path) -> None:
    """It takes nothing any more, and more is on its way to it than a socket holds."""
    with started(long_model_dir) as harness:
        engine = harness.engine

        async def close() -> None:
            os.kill(engine.pid, signal.SIGSTOP)
            asking = asyncio.create_task(engine.submit(prompt="ships " * 500_000))
            await asyncio.sleep(0.2)
            await engine.close()
            with pytest.raises(EngineDied):
                await asking
            assert gone(engine.pid)

        harness(close(), limit=30)


@LINUX
def test_the_engine_does_not_outlive_its_parent(long_model_dir: Path) -> None:
    code = """
import asyncio, os, sys
from lindos.engine import EngineClient, Sampling
async def main():
    engine = await EngineClient.start(sys.argv[1])
    await engine.submit(tokens=[5], sampling=Sampling(ignore_end=True))
    print(engine.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(long_model_dir)], capture_output=True, text=True, check=False
    )
    assert result.returncode == -signal.SIGKILL
    pid = int(result.stdout)
    deadline = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < deadline, "the engine goes on without its parent"
        time.sleep(0.05)


@LINUX
def test_an_idle_engine_sleeps(harness: Harness) -> None:
    def cpu_ticks() -> int:
        fields = Path(f"/proc/{harness.engine.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    harness(harness.engine.complete(tokens=[5], sampling=GREEDY))
    time.sleep(0.2)
    before = cpu_ticks()
    time.sleep(1)
    assert cpu_ticks() - before <= 2


def test_loading_is_reported_and_can_be_waited_for(tiny_model_dir: Path) -> None:
    async def start() -> list[Loading]:
        seen: list[Loading] = []
        engine = await EngineClient.start(tiny_model_dir, on_progress=seen.append, wait=False)
        async with engine:
            assert not engine.ready
            with pytest.raises(EngineError, match="not ready"):
                _ = engine.info
            # A request handed in early waits for the model.
            assert len((await engine.complete(tokens=[5], sampling=GREEDY)).ids) == 24
            assert engine.ready
        return seen

    seen = asyncio.run(start())
    fractions = [loading.fraction for loading in seen]
    assert fractions == sorted(fractions)
    assert "weights" in " ".join(loading.message for loading in seen)


def test_closing_while_it_loads(tiny_model_dir: Path) -> None:
    async def start() -> None:
        engine = await EngineClient.start(tiny_model_dir, wait=False)
        await engine.close()
        with pytest.raises(EngineDied, match="closed"):
            await engine.wait_ready()

    asyncio.run(start())


def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(tiny_model_dir: Path, tmp_path: Path) -> None:
    async def start() -> str:
        with pytest.raises(EngineError) as caught:
            async with asyncio.timeout(120):
                await EngineClient.start(tmp_path / "truncated")
        assert not isinstance(caught.value, EngineDied)
        return str(caught.value)

    shutil.copytree(tiny_model_dir, tmp_path / "truncated")
    weights = tmp_path / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in asyncio.run(start())


def test_options_are_checked_before_a_process_is_started(tiny_model_dir: Path) -> None:
    with pytest.raises(EngineError, match="at least 1"):
        asyncio.run(EngineClient.start(tiny_model_dir, max_requests=0))
    with pytest.raises(EngineError, match="fp32, bf16"):
        asyncio.run(EngineClient.start(tiny_model_dir, dtype="int3"))

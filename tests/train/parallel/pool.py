"""Processes that wait for work together: one pool of a size runs all layouts of that size, so that tests stay quick."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.train.forked import CONTEXT

PATIENCE = 120


class Pool:
    """`size` processes of one gloo group. Workers import what they are told to run by its module and name."""

    def __init__(self, size: int, folder: Path) -> None:
        self.size = size
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(size):
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=_serve, args=(rank, size, str(folder / "store"), theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `work(*arguments)` returns on every rank. Raises AssertionError with a rank's traceback."""
        for pipe in self._pipes:
            pipe.send((work, arguments))
        answers: dict[int, Any] = {}
        while len(answers) < self.size:
            waited = [pipe for rank, pipe in enumerate(self._pipes) if rank not in answers]
            ready = wait(waited, PATIENCE)
            assert ready, f"ranks {sorted(set(range(self.size)) - answers.keys())} gave no answer"
            for pipe in ready:
                rank = self._pipes.index(pipe)  # type: ignore[arg-type]
                worked, answers[rank] = self._pipes[rank].recv()
                assert worked, f"rank {rank}:\n{answers[rank]}"
        return [answers[rank] for rank in range(self.size)]

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()


def _serve(rank: int, size: int, store: str, pipe: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    while (order := pipe.recv()) is not None:
        work, arguments = order
        try:
            pipe.send((True, work(*arguments)))
        except BaseException:  # noqa: BLE001 - told by the test
            pipe.send((False, traceback.format_exc()))
    dist.destroy_process_group()

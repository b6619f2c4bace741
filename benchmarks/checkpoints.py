"""Checkpoints in memory beside those on disk: how long training waits, how long they take, in turn.

The first three are not counted: they take new memory, which those after them use again.

`torchrun --nproc-per-node 2 -m benchmarks.checkpoints work/checkpoints --megabytes 512`
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from lindos.train import Journal
from lindos.train.checkpoint import Part, Parts
from lindos.train.machine import joined
from lindos.train.peers import PeerMemory
from lindos.train.ranks import Ranks
from lindos.train.run_file import CheckpointSection
from lindos.train.saving import Saver


def parts_of(rank: int, size: int, megabytes: int) -> Parts:
    """This rank's rows of matrices of 16 MiB a rank."""
    rows = 1024
    return {
        f"master.{number}": Part(torch.randn(rows, 4096), (rows * size, 4096), (rows * rank, 0))
        for number in range(megabytes // 16)
    }


def timed(begin: Callable[[], None], finish: Callable[[], None]) -> tuple[float, float]:
    """Seconds until training goes on, and until all is done."""
    began = time.perf_counter()
    begin()
    waited = time.perf_counter() - began
    finish()
    return waited, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="on the disk that is measured")
    parser.add_argument("--memory", default="/dev/shm")
    parser.add_argument("--megabytes", type=int, default=512, help="of each rank")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with joined("cpu"):
        ranks = Ranks.all()
        torch.set_num_threads(1)
        asked.folder.mkdir(parents=True, exist_ok=True)
        parts = parts_of(ranks.rank, ranks.size, asked.megabytes)
        section = CheckpointSection(memory_every=1, memory_folder=asked.memory)
        journal = Journal(asked.folder / "metrics.jsonl", Console(quiet=not ranks.first), writes=ranks.first)
        memory = PeerMemory(section, asked.folder, ranks, journal)
        memory.begin(0)
        saver = Saver(asked.folder / "checkpoints", 2, Ranks.all())
        found: dict[str, list[tuple[float, float]]] = {"memory": [], "disk": []}
        for step in range(1, asked.rounds + 4):
            ranks.any(False)
            found["memory"].append(timed(lambda step=step: memory.save(step, parts, {}), memory.wait))
            ranks.any(False)
            found["disk"].append(timed(lambda step=step: saver.save(step, parts, {}), saver.wait))
        memory.end()
    if ranks.first:
        for where, rounds in found.items():
            for what, seconds in zip(("training waits", "in all"), zip(*rounds[3:], strict=True), strict=True):
                print(f"{where}, {what}: {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")


if __name__ == "__main__":
    main()

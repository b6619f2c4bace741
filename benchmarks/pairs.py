"""Two contenders, each in a process of its own, measured in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self


class Contender:
    """A process that answers each line on its input with one number: the seconds the asked-for work took."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--serve", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self) -> float:
        """One round's seconds. Raises RuntimeError when the process died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")
        return float(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def serve_rounds(work: Callable[[], float]) -> None:
    """The contender's side: a round for each line until the input ends."""
    for _ in sys.stdin:
        print(work(), flush=True)


@dataclass(frozen=True)
class Ratio:
    """Per-round quotients of the second contender's seconds over the first's: above 1, the first is faster."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> Self:
        """Of the rounds' seconds, (first, second)."""
        quotients = sorted(second / first for first, second in pairs)
        return cls(statistics.median(quotients), quotients[0], quotients[-1])

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def compare(first: Contender, second: Contender, rounds: int, warmup: int) -> tuple[Ratio, list[tuple[float, float]]]:
    """Measure both in turn, the order changing every round, after `warmup` rounds that do not count."""
    pairs = []
    for index in range(warmup + rounds):
        order = (first, second) if index % 2 == 0 else (second, first)
        seconds = {contender.name: contender.measure() for contender in order}
        if index >= warmup:
            pairs.append((seconds[first.name], seconds[second.name]))
    return Ratio.of(pairs), pairs

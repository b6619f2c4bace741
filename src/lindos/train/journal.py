"""The journal of a run: `metrics.jsonl`, one JSON object a line, and the lines a person watches.

Kinds of lines: `step` (loss, balance, rates), `evaluation` (held-out loss), `sample` (text), `leg` (a start or
resume, with the machine), `end` (of a leg, and why), `skip` (a step whose gradient was not finite), `lost` (steps that
stood here and were done again), `checkpoint` (one in memory: how long it took, or why there is none). Each has the
`time` it was written at, in seconds since 1970. `history.py` reads them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console

JOURNAL = "metrics.jsonl"
"""In a run's folder."""

Why = Literal["schedule", "leg", "signal", "error"]
"""Why a leg has ended: the run is done, the leg's steps or minutes are, it was told to stop, something went wrong."""

STAYS = frozenset({"leg", "end", "lost", "watch", "rewind"})
"""Kinds of lines that tell what happened to the run, not what a step gave: doing steps again does not undo them."""


MOST_SPARE = 1000
"""So many lines are kept by a process that may come to write instead of another one."""


class Board(Protocol):
    """Something that shows a journal's figures elsewhere."""

    def begin(self, step: int) -> None:
        """Forget what was shown at or after `step`."""
        ...

    def add(self, kind: str, fields: dict[str, Any]) -> None:
        """Show the figures of a line."""
        ...


class Journal:
    """Appends to a run's metrics and tells the console now and then."""

    def __init__(self, path: Path, console: Console, *, writes: bool = True, board: Board | None = None) -> None:
        """`writes` is False on all processes of a run but the first."""
        self.path, self.console, self.writes, self.board = path, console, writes, board
        self._spare: deque[dict[str, Any]] = deque(maxlen=MOST_SPARE)
        self._last_told = 0.0

    def rewind(self, step: int) -> None:
        """Forget what was written at or after `step`: a resumed run writes it again. How much it was stays."""
        if self.board is not None:
            self.board.begin(step)
        if not self.path.exists():
            return
        kept: list[dict[str, Any]] = []
        for stays, found in groupby(self.read(self.path), lambda line: _stays(line, step)):
            lines = list(found)
            kept += lines if stays else _lost(lines)
        draft = self.path.with_suffix(".rewriting")
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(draft, self.path)

    def write(self, kind: str, **fields: Any) -> None:
        """Append a line, with the time it is now."""
        line = {"kind": kind, **fields, "time": time.time()}
        if not self.writes:
            self._spare.append(line)
            return
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            self.board.add(line["kind"], {name: value for name, value in line.items() if name not in ("kind", "time")})

    def take_over(self, step: int) -> None:
        """Write from `step` on what another process wrote so far, and before it what that one did not get to write."""
        self.rewind(step)
        self.writes = True
        there = {(line["kind"], line.get("step")) for line in self.read(self.path)} if self.path.exists() else set()
        for line in self._spare:
            told = line["kind"] in STAYS or (line["kind"], line.get("step")) in there
            if not told and figure(line, "step") < step:
                self._append(line)
        self._spare.clear()

    def end(self, step: int, why: Why) -> None:
        """The leg has ended at `step`. A disk that fails then is not worth hiding why it did."""
        try:
            self.write("end", step=step, why=why)
        except OSError as error:
            told = f"{self.path}: the end of this leg is not noted: {error.strerror}"
            self.console.print(told, style="yellow", markup=False, highlight=False)

    def tell_step(self, fields: dict[str, Any], steps: int, *, every: float = 10.0) -> None:
        """One line for people, at most every `every` seconds and at the last step."""
        now = time.monotonic()
        if now - self._last_told < every and fields["step"] + 1 < steps:
            return
        self._last_told = now
        left = (steps - fields["step"] - 1) * fields["seconds"]
        self.console.print(
            f"step {fields['step'] + 1:>6,}/{steps:,}  loss {fields['loss']:.4f}  balance {fields['balance']:.2f}  "
            f"norm {fields['norm']:.2f}  rate {fields['rate']:.3f}  {fields['tokens_per_s']:,.0f} tokens/s  "
            f"{fields['flops_per_s'] / 1e9:,.0f} GFLOP/s  {fields['tokens'] / 1e6:.2f}M tokens  {clock(left)} left",
            highlight=False,
        )

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """All lines that are lines of a journal; one cut off by a kill is dropped."""
        lines = []
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, thousands of brackets
                continue
            if isinstance(line, dict) and isinstance(line.get("kind"), str):
                lines.append(line)
        return lines


def _stays(line: dict[str, Any], step: int) -> bool:
    """Whether a line is still true of a run that goes on at `step`. The checkpoint it goes on from is."""
    at = figure(line, "step")
    return line["kind"] in STAYS or not at >= step or (line["kind"] == "checkpoint" and at == step)


def _lost(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The line that stands for steps dropped, with the time of the last thing dropped: what comes after is no step."""
    steps = [line for line in lines if line["kind"] == "step"]
    if not steps:
        return []
    seconds = sum(spent for line in steps if (spent := figure(line, "seconds")) > 0)
    lost = {"kind": "lost", "step": steps[0]["step"], "steps": len(steps), "seconds": seconds}
    return [{**lost, "time": lines[-1]["time"]} if "time" in lines[-1] else lost]


def figure(line: dict[str, Any], name: str) -> float:
    """A number of a line, or NaN where there is none that a run could have."""
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if -LARGEST < value < LARGEST else math.nan


LARGEST = 1e30
"""Beyond it a figure is damage, or a loss on its way to infinity: nothing to draw or add up."""


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = int(max(0, seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

"""The journal of a run: `metrics.jsonl`, one JSON object a line, and the lines a person watches.

Kinds of lines: `step` (loss, balance, rates), `evaluation` (held-out loss), `sample` (text), `leg` (a start or
resume, with the machine), `skip` (a step whose gradient was not finite).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console


class Journal:
    """Appends to a run's metrics and tells the console now and then."""

    def __init__(self, path: Path, console: Console, *, writes: bool = True) -> None:
        """`writes` is False on all processes of a run but the first."""
        self.path, self.console, self.writes = path, console, writes
        self._last_told = 0.0

    def rewind(self, step: int) -> None:
        """Forget what was written at or after `step`: a resumed run writes it again."""
        if not self.path.exists():
            return
        kept = [line for line in self.read(self.path) if line.get("step", -1) < step or line["kind"] == "leg"]
        draft = self.path.with_suffix(".rewriting")
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(draft, self.path)

    def write(self, kind: str, **fields: Any) -> None:
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **fields}) + "\n")

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
        """All lines; a last line cut off by a kill is dropped."""
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = int(max(0, seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

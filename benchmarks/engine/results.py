"""What was measured, and what it says about the targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.pairs import Ratio


@dataclass(frozen=True)
class Side:
    """One contender's tokens a second: the median of its rounds, the slowest and the fastest."""

    name: str
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, name: str, tokens: float, seconds: Sequence[float]) -> Side:
        rates = sorted(tokens / one for one in seconds)
        return cls(name, statistics.median(rates), rates[0], rates[-1])

    def __str__(self) -> str:
        return f"{self.name} {self.median:,.4g} tokens/s ({self.low:,.4g} to {self.high:,.4g})"


@dataclass(frozen=True)
class Figure:
    """One thing measured. `ratio` is of the peer's seconds over Lindos's, round by round."""

    part: str
    at: str
    """Size, weights and load, for people."""
    sides: list[Side]
    ratio: Ratio | None = None
    wanted: float | None = None
    """The ratio that is the target."""
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.part}, {self.at}: " + "; ".join(str(side) for side in self.sides)
        if self.ratio is not None:
            line += f"; ratio {self.ratio}"
        return line + "".join(f"; {name} {_short(value)}" for name, value in self.more.items())


@dataclass(frozen=True)
class Verdict:
    """One target, what was found, and whether it is met; None where it was not measured."""

    part: str
    at: str
    target: str
    found: str
    met: bool | None

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


@dataclass
class Record:
    """Everything a run found out, in the order in which it did."""

    figures: list[Figure] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, figure: Figure) -> None:
        self.figures.append(figure)
        print(figure, flush=True)

    def verdict(self, part: str, at: str, target: str, found: str, met: bool | None) -> None:
        self.verdicts.append(Verdict(part, at, target, found, met))

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(text, flush=True)

    def table(self) -> str:
        """The targets and how they were met, in Markdown."""
        rows = [(one.part, one.at, one.target, one.found, one.word) for one in self.verdicts]
        heads = ("part", "at", "target", "measured", "")
        widths = [max(len(row[n]) for row in [heads, *rows]) for n in range(5)]
        lines = [heads, tuple("-" * width for width in widths), *rows]
        return "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in lines
        )

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def _short(value: object) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

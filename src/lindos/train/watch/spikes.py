"""Losses that jump: a step's loss or gradient norm far above those of the steps before."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

WINDOW = 64
"""Steps looked back on."""
LEAST = 16
"""Before so many steps nothing is unusual."""
LONGEST = 5
"""More unusual steps in a row than this are no spike: it is how the run is now."""
FLOOR = 0.01
"""Deviations are at least this share of the median: where losses hardly vary, small steps are no spikes."""


class Spikes:
    """The figures of recent steps, and whether new ones are far from them."""

    def __init__(self, deviations: float, recent: Mapping[str, Any] | None = None) -> None:
        """`deviations`: a figure so many robust standard deviations above the median is a spike; 0: none is.

        `recent` is what `recent` gave before, of a run that goes on.
        """
        recent = recent or {}
        self.deviations = deviations
        self._losses: deque[float] = deque(recent.get("losses", ()), WINDOW)
        self._norms: deque[float] = deque(recent.get("norms", ()), WINDOW)
        self._row: int = recent.get("row", 0)

    @property
    def recent(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run sees the same spikes."""
        return {"losses": list(self._losses), "norms": list(self._norms), "row": self._row}

    def seen(self, loss: float, norm: float) -> str:
        """What is unusual about a step's figures, empty where nothing is. They join the others where nothing is."""
        told = self._unusual("loss", loss, self._losses) or self._unusual("gradient norm", norm, self._norms)
        self._row = self._row + 1 if told else 0
        if self._row > LONGEST:
            self._losses.clear()
            self._norms.clear()
            self._row, told = 0, ""
        if not told:
            self.accept(loss, norm)
        return told

    def accept(self, loss: float, norm: float) -> None:
        """Figures join the others."""
        self._losses.append(loss)
        self._norms.append(norm)

    def _unusual(self, name: str, value: float, recent: Sequence[float]) -> str:
        apart = self._apart(value, recent)
        if not self.deviations or apart <= self.deviations:
            return ""
        return f"{name} {value:.4g}, {apart:.1f} deviations above the median of the last {len(recent)} steps"

    @staticmethod
    def _apart(value: float, recent: Sequence[float]) -> float:
        """Robust standard deviations above the median (1.4826 times the median distance from it)."""
        if len(recent) < LEAST:
            return 0.0
        middle = median(recent)
        spread = 1.4826 * median(abs(each - middle) for each in recent)
        return (value - middle) / max(spread, FLOOR * abs(middle), 1e-12)

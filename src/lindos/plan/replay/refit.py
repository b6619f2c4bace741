"""A fit with everything that is said about it: constants beside what was expected, errors seen and unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lindos.plan.constants import LEVEL_PREFIX, Constants
from lindos.plan.memory import GIB, memory
from lindos.plan.replay.fit import fit
from lindos.plan.replay.published import Row
from lindos.plan.replay.replay import Replayable, replayable
from lindos.plan.replay.residuals import Residual, residuals_of
from lindos.plan.replay.scoreboard import FASTEST, SLOWEST
from lindos.plan.replay.scores import KINDS, LeftOut, Miss, Score, left_out, score
from lindos.specs import SpecError


@dataclass(frozen=True)
class Moved:
    """One fitted constant."""

    name: str
    value: float
    unit: str
    meaning: str
    expected: float
    deviations: float
    """How many standard deviations of its prior it lies from what was expected."""


@dataclass(frozen=True)
class Refit:
    """The constants of a fit, its errors, and the errors of the fits that left a publisher or a model out."""

    constants: Constants
    residuals: tuple[Residual, ...]
    seen: tuple[Score, ...]
    """Errors on the rows the fit has seen, by kind."""
    publisher: LeftOut
    model: LeftOut
    rows: int
    groups: int
    refused: dict[str, int]
    """Rows that could not be fitted to, by reason."""

    @property
    def moved(self) -> list[Moved]:
        found: list[Moved] = []
        for name in self.constants.fitted:
            entry = self.constants.entries[name]
            expected, factor = entry.expected or entry.value, entry.factor or np.e
            deviations = float(np.log(entry.value / expected) / np.log(factor))
            found.append(Moved(name, entry.value, entry.unit, entry.meaning, expected, deviations))
        return found

    @property
    def levels(self) -> dict[str, float]:
        """How each publisher's runs compare in time with the average publisher's."""
        return {
            name.removeprefix(LEVEL_PREFIX): value
            for name, value in self.constants.items()
            if name.startswith(LEVEL_PREFIX)
        }


def refit(rows: Sequence[Row], start: Constants, progress: Callable[[str, int, int], None] | None = None) -> Refit:
    """Fit to these rows, and once more without each publisher and each model. `progress` hears what is left out, how
    many fits are done, and of how many. Raises SpecError where no row can be fitted to."""
    kept = sensible(rows, start)
    runs = replayable(kept)
    if not runs.rows:
        reasons = Counter(runs.refused.values()).most_common(3)
        told = "; ".join(f"{reason} ({count} rows)" for reason, count in reasons) or "all figures are absurd"
        raise SpecError(f"no row can be fitted to: {told}")
    total = 1 + len({r.publisher for r in runs.rows}) + len({r.family for r in runs.rows})
    done = -1

    def tell(name: str) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(name, done, total)

    tell("all runs")
    constants = fit(runs, start)
    residuals = residuals_of(kept, start, tell)
    return Refit(
        constants, residuals, _seen(runs, constants), left_out(residuals, "publisher"), left_out(residuals, "model"),
        len(runs.rows), len({row.group for row in runs.rows}), _refused(rows, kept, runs),
    )  # fmt: skip


def sensible(rows: Sequence[Row], constants: Constants) -> list[Row]:
    """The rows whose figures are no absurdities; those that cannot be replayed are refused elsewhere."""
    runs = replayable(rows, timed=False)
    if not runs.rows:
        return list(rows)
    with np.errstate(all="ignore"):
        seconds, peak = runs.predicted(constants), memory(runs.case).total / GIB
    fine = (seconds > FASTEST) & (seconds < SLOWEST) & (peak > 0) & (peak < SLOWEST)
    absurd = {row.index for row, good in zip(runs.rows, fine, strict=True) if not good}
    absurd |= {row.index for row in runs.rows if not FASTEST < (row.step_seconds or 1.0) < SLOWEST}
    return [row for row in rows if row.index not in absurd]


def _refused(rows: Sequence[Row], kept: Sequence[Row], runs: Replayable) -> dict[str, int]:
    reasons = Counter(runs.refused.values())
    if len(kept) < len(rows):
        reasons["its figures are absurd"] = len(rows) - len(kept)
    return dict(reasons.most_common())


def _seen(runs: Replayable, constants: Constants) -> tuple[Score, ...]:
    errors = np.log(runs.predicted(constants) / runs.measured)
    large = runs.case.layout.world >= 1024
    told = [
        (Miss(row.group, float(e)), bool(mixture), bool(big))
        for row, e, mixture, big in zip(runs.rows, errors, runs.mixture, large, strict=True)
        if not row.doubtful
    ]
    dense, great, mixed = (name for name, _ in KINDS)
    return (
        score(dense, [miss for miss, mixture, _ in told if not mixture]),
        score(great, [miss for miss, mixture, big in told if big and not mixture]),
        score(mixed, [miss for miss, mixture, _ in told if mixture]),
    )

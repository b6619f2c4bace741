"""Replaying published runs: predictions beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lindos.plan.arrays import Array
from lindos.plan.case import Case, stack_cases
from lindos.plan.constants import level_name
from lindos.plan.replay.inferred import CASE_COLUMNS, Refused, case_of_row
from lindos.plan.replay.published import Row
from lindos.plan.step import step


@dataclass(frozen=True)
class Replayable:
    """Rows that can be predicted, their cases stacked, and the reasons for which the others were refused."""

    rows: list[Row]
    case: Case
    measured: Array
    """Seconds of a step; NaN where only memory was published."""
    refused: dict[int, str]

    def take(self, keep: Sequence[bool] | Array) -> Replayable:
        """Some of the rows."""
        index = np.flatnonzero(np.asarray(keep))
        rows = [self.rows[i] for i in index]
        return Replayable(rows, self.case.take(index), self.measured[index], self.refused)

    @property
    def mixture(self) -> NDArray[np.bool_]:
        """Which of the rows train a mixture of experts."""
        return np.broadcast_to(self.case.work.mixture_layers > 0, len(self.rows))

    def predicted(self, constants: Mapping[str, float]) -> Array:
        """Seconds of a step, at the level of each row's publisher where `constants` know it, else the average's."""
        return step(self.case, constants).seconds * self.levels(constants)

    def levels(self, constants: Mapping[str, float]) -> Array:
        """The level of each row's publisher, as a ratio; 1 where `constants` do not know it."""
        names, known = [level_name(row.publisher) for row in self.rows], set(constants)
        return np.array([constants[name] if name in known else 1.0 for name in names])


def replayable(
    rows: Sequence[Row], *, timed: bool = True, tell: Callable[[int, int], None] | None = None
) -> Replayable:
    """What of these rows can be replayed; `timed` leaves out those without a published time.

    `tell` hears of every row: how many are done, and of how many.
    """
    found: dict[tuple[str, ...], Case | str] = {}
    kept: list[Row] = []
    cases: list[Case] = []
    measured: list[float] = []
    refused: dict[int, str] = {}
    for done, row in enumerate(rows):
        if tell:
            tell(done, len(rows))
        seconds = row.step_seconds
        case = "no step time or tokens per second" if timed and seconds is None else _case(row, found)
        if isinstance(case, str):
            refused[row.index] = case
            continue
        kept.append(row)
        cases.append(case)
        measured.append(np.nan if seconds is None else seconds)
    if not kept:
        return Replayable([], None, np.empty(0), refused)  # type: ignore[arg-type]
    return Replayable(kept, _stacked(cases), np.array(measured), refused)


def _case(row: Row, found: dict[tuple[str, ...], Case | str]) -> Case | str:
    """The case of a row or why it was refused, found once for all rows that say the same."""
    key = tuple(map(row.text, CASE_COLUMNS))
    if key not in found:
        try:
            found[key] = case_of_row(row)
        except Refused as reason:
            found[key] = str(reason)
    return found[key]


def _stacked(cases: Sequence[Case]) -> Case:
    """Cases one after another; each is stacked once and taken as often as it is there."""
    places: dict[int, int] = {}
    index = np.array([places.setdefault(id(case), len(places)) for case in cases])
    once = list({id(case): case for case in cases}.values())
    return stack_cases(once).take(index) if len(once) > 1 else stack_cases(list(cases))

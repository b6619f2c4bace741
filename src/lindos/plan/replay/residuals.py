"""The errors of predictions on published runs that the fit has not seen, one line a run, as shipped with the planner.

Errors are natural logarithms of predicted over measured. `lindos plan fit --write` writes the file, with the
constants that belong to it; intervals and the scoreboard read it.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib import resources

import numpy as np

from lindos.plan.arrays import GENERATIONS, PRECISIONS, Array
from lindos.plan.case import Case
from lindos.plan.constants import Constants
from lindos.plan.memory import GIB, memory
from lindos.plan.replay.fit import held_out
from lindos.plan.replay.published import Row
from lindos.plan.replay.replay import replayable
from lindos.specs import SpecError

FILE = "published/residuals.csv"


@dataclass(frozen=True)
class Residual:
    """One run: what it is, and how far predictions missed it. NaN: not published."""

    index: int
    """Row of the shipped table, from 0."""
    group: str
    publisher: str
    family: str
    mixture: int
    generation: str
    accelerators: int
    sequence: int
    parameters: float
    """Parameters a token passes."""
    pipeline: int
    """1 where the model is cut into pipeline stages."""
    precision: str
    doubtful: int
    error_publisher: float
    """Of a step's time, with its publisher left out of the fit."""
    error_model: float
    """Of a step's time, with its model left out of the fit."""
    error_memory: float
    """Of peak memory, in which nothing is fitted."""


def active_parameters(case: Case) -> Array:
    """Parameters a token passes, the head and the embedding among them."""
    work = case.work
    chosen = work.layer_fixed + work.chosen * work.expert_parameters
    return work.embedding_parameters + case.dense_layers * work.dense_layer_parameters + work.mixture_layers * chosen


def residuals_of(
    rows: Sequence[Row], start: Constants, progress: Callable[[str], None] | None = None
) -> tuple[Residual, ...]:
    """Replay these rows with each publisher and each model left out in turn."""
    runs = replayable(rows)
    errors = {
        by: np.log(held_out(runs, start, by, progress).predicted / runs.measured) for by in ("publisher", "family")
    }
    by_index = {row.index: place for place, row in enumerate(runs.rows)}
    every = replayable(rows, timed=False)
    told = np.array([row.number("peak_mem_gib") or np.nan for row in every.rows])
    missed = np.log(memory(every.case).total / GIB / told)
    found: list[Residual] = []
    for place, row in enumerate(every.rows):
        timed = by_index.get(row.index)
        if timed is None and np.isnan(missed[place]):
            continue
        publisher, family = (np.nan if timed is None else float(errors[by][timed]) for by in ("publisher", "family"))
        known = _known(row, every.case.take([place]), bool(every.mixture[place]))
        found.append(Residual(row.index, row.group, *known, publisher, family, float(missed[place])))
    return tuple(found)


def _known(row: Row, case: Case, mixture: bool) -> tuple[str, str, int, str, int, int, float, int, str, int]:
    layout = case.layout
    return (
        row.publisher,
        row.family,
        int(mixture),
        GENERATIONS[int(case.hardware.generation[0])],
        int(layout.world[0]),
        int(case.work.sequence[0]),
        float(f"{active_parameters(case)[0]:.4g}"),
        int(layout.pipeline[0] > 1),
        PRECISIONS[int(layout.precision[0])],
        int(row.doubtful),
    )


def write_residuals(residuals: Sequence[Residual]) -> str:
    """The file as text; errors to a hundredth of a percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Residual)])
    for residual in residuals:
        cells = [round(v, 4) if isinstance(v, float) and not v.is_integer() else v for v in astuple(residual)]
        writer.writerow(["" if cell != cell else cell for cell in cells])
    return text.getvalue()


def parse_residuals(text: str) -> tuple[Residual, ...]:
    """Read what `write_residuals` wrote. Raises SpecError."""
    kinds = {"int": int, "str": str, "float": lambda cell: float(cell or "nan")}
    try:
        return tuple(
            Residual(**{field.name: kinds[str(field.type)](line[field.name]) for field in fields(Residual)})
            for line in csv.DictReader(io.StringIO(text))
        )
    except (KeyError, ValueError, TypeError) as error:
        raise SpecError(f"{FILE}: cannot be read: {error}") from None


@functools.cache
def shipped_residuals() -> tuple[Residual, ...]:
    """The residuals that ship with the planner."""
    return parse_residuals((resources.files("lindos.plan.replay") / FILE).read_text(encoding="utf-8"))

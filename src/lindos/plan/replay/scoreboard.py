"""The scoreboard: every run of a table replayed, each prediction with its interval beside what was measured.

Runs of the shipped table went into the fit; for those the scoreboard also says what was predicted with the run's
publisher, and with its model, left out of the fit (`residuals.py`). Any other table is new to the planner.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.constants import level_name
from lindos.plan.memory import GIB, memory
from lindos.plan.replay.inferred import DEFAULTS, defaults_of, notes_of
from lindos.plan.replay.intervals import Bools, interval, memory_interval
from lindos.plan.replay.published import NEEDED, Row, read_rows
from lindos.plan.replay.replay import Replayable, replayable
from lindos.plan.replay.residuals import Residual, active_parameters, shipped_residuals
from lindos.plan.replay.scoreboard_tables import Replay, Table, summary_of, tables_of
from lindos.plan.replay.scores import held_out_misses
from lindos.specs import Spec

SLOWEST = 1e9
"""Seconds of a step beyond which a row's figures are taken for mistakes (a step of thirty years), ..."""
FASTEST = 1e-6
"""... and below which."""


class Scoreboard(Spec):
    """All rows in the order of the file, and what follows from them. Errors are shares of what was measured."""

    table: str
    rows: tuple[Replay, ...]
    stated: int
    """Rows on GPUs that state a layout, as far as the tensor parallel degree, and how many of them are predicted."""
    stated_predicted: int
    summary: tuple[Table, ...]
    tables: tuple[Table, ...]
    refusals: dict[str, int]
    """Rows refused, by reason, the most frequent first."""
    assumptions: dict[str, str]
    """What stands in for columns that rows leave open."""


def validate(
    rows: Sequence[Row],
    constants: Mapping[str, float],
    *,
    table: str = "the shipped table",
    tell: Callable[[int, int], None] | None = None,
) -> Scoreboard:
    """Replay all rows and compare; `tell` hears how many rows are replayed, and of how many."""
    runs = replayable(rows, timed=False, tell=tell)
    figures = _figures(runs, constants) if runs.rows else {}
    replays = tuple(_replay(row, runs, figures) for row in rows)
    stated = [
        r for r, row in zip(replays, rows, strict=True) if row.count("tp") and row.count("num_gpus") and _gpu(row)
    ]
    refusals = Counter(r.refused for r in replays if r.refused)
    return Scoreboard(
        table=table, rows=replays, stated=len(stated), stated_predicted=sum(r.refused is None for r in stated),
        summary=summary_of(replays), tables=tables_of(replays), refusals=dict(refusals.most_common()),
        assumptions=DEFAULTS,
    )  # fmt: skip


def _gpu(row: Row) -> bool:
    name = row.text("gpu").lower()
    return bool(name) and not any(word in name for word in ("tpu", "trainium", "cpu"))


def _figures(runs: Replayable, constants: Mapping[str, float]) -> dict[int, dict[str, object]]:
    """What is predicted for each row that can be replayed, by its place in the table."""
    seen = [_seen(row) for row in runs.rows]
    known = np.array([level_name(row.publisher) in constants for row in runs.rows])
    # Absurd figures overflow; the rows are refused below.
    with np.errstate(all="ignore"):
        seconds = _all(runs.predicted(constants), runs)
        told = interval(runs.case, known=known, exclude=_own(runs, seen))
        low, high = seconds * told.low_ratio, seconds * told.high_ratio
        peak = _all(memory(runs.case).total, runs) / GIB
        active = _all(active_parameters(runs.case), runs)
    mixture, dates = runs.mixture, _all(runs.case.software.date, runs)
    narrow, wide = memory_interval()
    levels = runs.levels(constants)
    found: dict[int, dict[str, object]] = {}
    for i, row in enumerate(runs.rows):
        if not (FASTEST < low[i] <= high[i] < SLOWEST and 0 < peak[i] < SLOWEST):
            reason = f"its figures are absurd: they make a step of {seconds[i]:.3g} s in {peak[i]:.3g} GiB"
            found[row.index] = {"refused": reason}
            continue
        found[row.index] = {
            "mixture": bool(mixture[i]), "parameters": float(active[i]), "predicted_step_s": float(seconds[i]),
            "low_s": float(low[i]), "high_s": float(high[i]), "predicted_memory_gib": float(peak[i]),
            "low_memory_gib": float(peak[i] * narrow), "high_memory_gib": float(peak[i] * wide),
            "extrapolated": bool(told.extrapolated[i]), "level": float(levels[i]), "nearest": told.nearest[i],
            "software": float(dates[i]), "seen": seen[i] is not None,
            **_unseen(seen[i], row),
        }  # fmt: skip
    return found


def _all(values: Array, runs: Replayable) -> Array:
    return np.broadcast_to(values, len(runs.rows))


def _replay(row: Row, runs: Replayable, figures: Mapping[int, Mapping[str, object]]) -> Replay:
    measured, peak = row.step_seconds, row.number("peak_mem_gib")
    figure = dict(figures.get(row.index, {"refused": runs.refused.get(row.index, "cannot be replayed")}))
    if measured is not None and not FASTEST < measured < SLOWEST:
        figure, measured = {"refused": f"a step of {measured:.3g} s was hardly measured"}, None
    told: dict[str, object] = {
        "row": row.index, "source": row.text("source"), "publisher": row.publisher, "model": row.text("model"),
        "gpu": row.text("gpu"), "group": row.group, "gpus": row.count("num_gpus"), "doubtful": row.doubtful,
        "measured_step_s": measured, "measured_memory_gib": peak if peak and FASTEST < peak < SLOWEST else None,
        "defaults": defaults_of(row) + (() if "refused" in figure else notes_of(row)),
    }  # fmt: skip
    return Replay.model_validate(told | figure)


def _unseen(residual: Residual | None, row: Row) -> dict[str, object]:
    measured = row.step_seconds
    if residual is None or measured is None or np.isnan(residual.error_publisher):
        return {}
    return {
        "unseen_publisher_s": measured * float(np.exp(residual.error_publisher)),
        "unseen_publisher_held": _held("publisher")[residual.index],
        "unseen_model_s": measured * float(np.exp(residual.error_model)),
        "unseen_model_held": _held("model")[residual.index],
    }


@functools.cache
def _held(by: str) -> dict[int, bool]:
    """By row of the shipped table, whether an interval that knows nothing of its publisher, or model, held."""
    residuals = shipped_residuals()
    return {r.index: bool(miss.held) for r, miss in zip(residuals, held_out_misses(residuals, by), strict=True)}


@functools.cache
def _shipped() -> dict[tuple[str, ...], Residual]:
    """Residuals of the shipped rows, by what the row says."""
    residuals = {r.index: r for r in shipped_residuals()}
    return {_words(row): residuals[row.index] for row in read_rows() if row.index in residuals}


def _words(row: Row) -> tuple[str, ...]:
    return tuple(row.text(column) for column in NEEDED)


def _seen(row: Row) -> Residual | None:
    return _shipped().get(_words(row))


def _own(runs: Replayable, seen: Sequence[Residual | None]) -> Bools:
    """Which shipped runs must not vouch for which row: those of its own model, where the fit has seen it."""
    families = np.array([r.family for r in shipped_residuals()])
    known = np.array([residual is not None for residual in seen])
    return known[:, None] & (np.array([row.family for row in runs.rows])[:, None] == families)

"""One line of the scoreboard, and its tables: errors by kind, publisher, source, hardware and size.

Groups of repeats count once, doubtful rows stand apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lindos.plan.replay.scores import LARGE, Miss, Score, median_of_scores, score
from lindos.specs import Spec

SIZES = (1e9, 4e9, 16e9, 64e9, 256e9)
"""Edges of the bands of active parameters."""
COUNTS = (8, 64, 256, 1024, 4096)
"""Edges of the bands of GPUs."""


class Replay(Spec):
    """One row of the table. None: not published, or not predicted; seconds are of one optimiser step."""

    row: int
    """Its place in the table, from 0."""
    source: str
    publisher: str
    model: str
    gpu: str
    group: str
    gpus: int | None
    mixture: bool | None = None
    parameters: float | None = None
    """Parameters a token passes."""
    measured_step_s: float | None = None
    predicted_step_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    refused: str | None = None
    """Why it was not predicted."""
    unseen_publisher_s: float | None = None
    """What was predicted with its publisher left out of the fit; only for rows the fit has seen."""
    unseen_publisher_held: bool | None = None
    """Whether its interval, without neighbours of the same publisher, held what was measured."""
    unseen_model_s: float | None = None
    unseen_model_held: bool | None = None
    measured_memory_gib: float | None = None
    predicted_memory_gib: float | None = None
    low_memory_gib: float | None = None
    high_memory_gib: float | None = None
    extrapolated: bool = False
    """More accelerators than any replayed run has."""
    doubtful: bool
    seen: bool = False
    """Whether it is a run of the table the constants were fitted to."""
    level: float | None = None
    """What its publisher's level multiplied the prediction by; 1: an unknown publisher."""
    software: float | None = None
    """Date of the software that the prediction assumes, as a decimal year."""
    defaults: tuple[str, ...] = ()
    """Columns the row leaves open, for which defaults stand in."""
    nearest: tuple[int, ...] = ()
    """Rows of the shipped table whose errors make the interval, the nearest five."""


class Line(Spec):
    """One line of a table: predictions as they are, and for runs the fit has seen as they were without it."""

    name: str
    shown: Score
    unseen_publisher: Score | None = None
    unseen_model: Score | None = None


class Table(Spec):
    title: str
    lines: tuple[Line, ...]


def summary_of(rows: Sequence[Replay]) -> tuple[Table, ...]:
    """Step time by kind, pooled and by the median publisher; doubtful rows apart; peak memory."""
    good = [row for row in _timed(rows) if not row.doubtful]
    kinds = [
        _line("dense", [r for r in good if not r.mixture]),
        _line(f"dense, {LARGE:,}+ GPUs", [r for r in good if not r.mixture and (r.gpus or 0) >= LARGE]),
        _line("mixture of experts", [r for r in good if r.mixture]),
        _line("all", good),
    ]
    if good:
        kinds.append(_middle("median publisher", _lines(good, lambda r: r.publisher)))
    kinds.append(_line("doubtful rows", [row for row in _timed(rows) if row.doubtful]))
    memory = [row for row in rows if row.measured_memory_gib and row.predicted_memory_gib]
    peaks = [
        Line(name="complete rows", shown=score("complete rows", [_peak(r) for r in memory if not r.doubtful])),
        Line(name="doubtful rows", shown=score("doubtful rows", [_peak(r) for r in memory if r.doubtful])),
    ]
    return (Table(title="Step time", lines=_filled(kinds)), Table(title="Peak memory", lines=_filled(peaks)))


def tables_of(rows: Sequence[Replay]) -> tuple[Table, ...]:
    """Step time by what may matter, doubtful rows set aside."""
    good = [row for row in _timed(rows) if not row.doubtful]
    ways: tuple[tuple[str, Callable[[Replay], str], Callable[[Replay], float] | None], ...] = (
        ("By publisher", lambda r: f"{r.publisher}, {_kind(r)}", None),
        ("By source", lambda r: r.source, None),
        ("By accelerator", lambda r: r.gpu, None),
        ("By active parameters", lambda r: _band(r.parameters or 0, SIZES, 1e9, "B"), lambda r: r.parameters or 0),
        ("By GPUs", lambda r: _band(r.gpus or 0, COUNTS, 1, ""), lambda r: r.gpus or 0),
    )
    return tuple(Table(title=title, lines=_filled(_lines(good, way, order))) for title, way, order in ways)


def _timed(rows: Sequence[Replay]) -> list[Replay]:
    return [row for row in rows if row.measured_step_s and row.predicted_step_s]


def _kind(row: Replay) -> str:
    return "mixture of experts" if row.mixture else "dense"


def _band(value: float, edges: Sequence[float], unit: float, sign: str) -> str:
    """`4B to 16B`: the band a value lies in; its upper edge belongs to it."""
    texts = [f"{edge / unit:,.0f}{sign}" for edge in edges]
    place = int(np.searchsorted(edges, value))
    if place == 0:
        return f"up to {texts[0]}"
    return f"above {texts[-1]}" if place == len(edges) else f"{texts[place - 1]} to {texts[place]}"


def _lines(
    rows: Sequence[Replay], way: Callable[[Replay], str], order: Callable[[Replay], float] | None = None
) -> list[Line]:
    """One line a value, ordered by a number or as they come."""
    parts: dict[str, list[Replay]] = {}
    for row in rows if order is None else sorted(rows, key=order):
        parts.setdefault(way(row), []).append(row)
    return [_line(name, some) for name, some in parts.items()]


def _filled(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.shown.rows)


def _line(name: str, rows: Sequence[Replay]) -> Line:
    return Line(
        name=name,
        shown=score(name, [_miss(row) for row in rows]),
        unseen_publisher=_unseen(name, rows, "publisher"),
        unseen_model=_unseen(name, rows, "model"),
    )


def _middle(name: str, lines: Sequence[Line]) -> Line:
    def middle(field: str) -> Score | None:
        scores = [s for s in (getattr(line, field) for line in lines) if s is not None]
        return median_of_scores(name, scores) if scores else None

    shown = middle("shown")
    assert shown is not None
    return Line(
        name=name, shown=shown, unseen_publisher=middle("unseen_publisher"), unseen_model=middle("unseen_model")
    )


def _miss(row: Replay) -> Miss:
    measured = row.measured_step_s or 1.0
    held = (row.low_s or 0) <= measured <= (row.high_s or 0)
    return Miss(row.group, float(np.log(row.predicted_step_s or 1.0) - np.log(measured)), held)


def _peak(row: Replay) -> Miss:
    measured = row.measured_memory_gib or 1.0
    held = (row.low_memory_gib or 0) <= measured <= (row.high_memory_gib or 0)
    return Miss(row.group, float(np.log(row.predicted_memory_gib or 1.0) - np.log(measured)), held)


def _unseen(name: str, rows: Sequence[Replay], by: str) -> Score | None:
    """The errors of the same rows, those the fit has seen, as predicted without their publisher or model."""
    misses = [
        Miss(row.group, float(np.log(without) - np.log(row.measured_step_s)), getattr(row, f"unseen_{by}_held"))
        for row in rows
        if (without := getattr(row, f"unseen_{by}_s")) and row.measured_step_s
    ]
    return score(name, misses) if misses else None

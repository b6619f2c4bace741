"""`lindos plan validate --html`: predicted against measured, errors by size, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lindos.plan.replay.scoreboard import Scoreboard
from lindos.plan.replay.scoreboard_tables import Line, Replay
from lindos.plan.replay.scoreboard_tables import Table as Scores
from lindos.plan.replay.scores import Score
from lindos.plan.report.html import Section, Table, page
from lindos.plan.report.install_page import COLOURS
from lindos.plan.report.scoreboard_report import percent

BAND = 1.1
"""The band drawn around predicted = measured, as a ratio."""


def scoreboard_page(board: Scoreboard) -> str:
    """The page as text."""
    timed = [row for row in board.rows if row.measured_step_s and row.predicted_step_s]
    sections = [Section("Summary", _words(board), tables=[_scores(t) for t in board.summary if t.lines])]
    if timed:
        sections += [
            Section("Predicted against measured", _SCATTER, [_scatter(timed)]),
            Section("Error by GPUs", _BY_SIZE, [_by_size(timed)]),
        ]
    sections += [Section(table.title, tables=[_scores(table)]) for table in board.tables if table.lines]
    if board.refusals:
        refused = [(str(count), reason) for reason, count in board.refusals.items()]
        sections.append(Section("Refused", tables=[Table(("rows", "reason"), refused, frozenset({0}))]))
    sections.append(Section("All rows", tables=[_rows(board)], notes=_assumed(board)))
    subtitle = (
        f"{board.table}: {len(board.rows)} published training runs, {len(timed)} predicted beside a measured time."
    )
    return page("How right the planner is", subtitle, sections)


_SCATTER = (
    "Seconds of one optimiser step. The dashed line is predicted = measured, the band 10% above and below; hollow "
    "marks are doubtful rows. The rows of publishers that the fit has seen are predicted at their publisher's level."
)
_BY_SIZE = "Predicted over measured, less one. Where the fit has seen a run: as predicted with its publisher left out."


def _words(board: Scoreboard) -> str:
    told = (
        "Errors are shares of the measured time, repeats of one run count once, doubtful rows stand apart. Bias above "
        "zero: predicted too slow. Held: the share of measurements within the 80% interval."
    )
    if any(row.seen for row in board.rows):
        told += (
            " Runs of the shipped table went into the fit: judge by the last two columns, which say median / p90 / "
            "held for predictions by fits that left out the run's publisher, or its model."
        )
    if board.stated:
        told += f" Of {board.stated} GPU rows with a stated layout {board.stated_predicted} are predicted."
    return told


def _publishers(rows: Sequence[Replay]) -> list[tuple[str, str, list[Replay]]]:
    """Name, colour and rows of each, the one with most rows first."""
    parts: dict[str, list[Replay]] = {}
    for row in rows:
        parts.setdefault(row.publisher, []).append(row)
    order = sorted(parts, key=lambda name: -len(parts[name]))
    return [(name, COLOURS[i % len(COLOURS)], parts[name]) for i, name in enumerate(order)]


def _scatter(rows: Sequence[Replay]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    both = [v for row in rows for v in (row.measured_step_s, row.predicted_step_s) if v]
    ends = [min(both) / 1.3, max(both) * 1.3]
    edges = [*ends, *ends[::-1]], [ends[0] * BAND, ends[1] * BAND, ends[1] / BAND, ends[0] / BAND]
    band = {"fill": "toself", "fillcolor": "rgba(128,128,128,0.18)", "line": {"width": 0}, "mode": "lines"}
    figure.add_trace(go.Scatter(x=edges[0], y=edges[1], name="within 10%", hoverinfo="skip", **band))
    figure.add_trace(
        go.Scatter(
            x=ends, y=ends, mode="lines", name="predicted = measured", line={"dash": "dash", "color": COLOURS[-1]},
            hoverinfo="skip",
        )
    )  # fmt: skip
    for name, colour, some in _publishers(rows):
        figure.add_trace(
            go.Scatter(
                x=[row.measured_step_s for row in some], y=[row.predicted_step_s for row in some], mode="markers",
                name=name, text=[_label(row) for row in some], marker=_marks(some, colour),
                hovertemplate="%{text}<br>measured %{x:.3g} s, predicted %{y:.3g} s<extra></extra>",
            )
        )  # fmt: skip
    axis = {"type": "log", "range": list(np.log10(ends))}
    figure.update_layout(
        height=560, xaxis={"title": "measured, seconds", **axis}, yaxis={"title": "predicted, seconds", **axis},
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
    )  # fmt: skip
    return figure


def _by_size(rows: Sequence[Replay]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, colour, some in _publishers([row for row in rows if row.gpus]):
        figure.add_trace(
            go.Scatter(
                x=[row.gpus for row in some], y=[_error(row) for row in some], mode="markers", name=name,
                text=[_label(row) for row in some], marker=_marks(some, colour),
                hovertemplate="%{text}<br>%{y:+.1%}<extra></extra>",
            )
        )  # fmt: skip
    figure.add_hline(y=0, line_dash="dash", line_color=COLOURS[-1])
    figure.update_layout(
        height=420, xaxis={"title": "GPUs", "type": "log", "dtick": 1}, yaxis={"title": "error", "tickformat": "+.0%"},
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
    )  # fmt: skip
    return figure


def _marks(rows: Sequence[Replay], colour: str) -> dict[str, Any]:
    symbols = ["circle-open" if row.doubtful else "circle" for row in rows]
    return {"size": 6, "color": colour, "opacity": 0.75, "symbol": symbols}


def _error(row: Replay) -> float:
    predicted = row.unseen_publisher_s or row.predicted_step_s or 0.0
    return predicted / (row.measured_step_s or 1.0) - 1


def _label(row: Replay) -> str:
    return f"row {row.row}: {row.model}, {row.gpus or '?'} x {row.gpu}".replace("<", "&lt;")


def _scores(table: Scores) -> Table:
    unseen = any(line.unseen_publisher for line in table.lines)
    columns = [table.title, "groups", "rows", "median", "p90", "bias", "held"]
    if unseen:
        columns += ["publisher unseen", "model unseen"]
    rows = [_line(line, unseen) for line in table.lines]
    return Table(columns, rows, frozenset(range(1, len(columns))))


def _line(line: Line, unseen: bool) -> list[str]:
    shown = line.shown
    cells = [line.name, str(shown.groups), str(shown.rows), percent(shown.median), percent(shown.p90)]
    cells += [percent(shown.bias, sign=True), percent(shown.coverage)]
    if unseen:
        cells += [_three(line.unseen_publisher), _three(line.unseen_model)]
    return cells


def _three(score: Score | None) -> str:
    return " / ".join(percent(v) for v in (score.median, score.p90, score.coverage)) if score else "-"


def _rows(board: Scoreboard) -> Table:
    columns = (
        "row",
        "source",
        "model",
        "GPU",
        "GPUs",
        "measured, s",
        "predicted, s",
        "80% interval, s",
        "error",
        "told",
    )
    return Table(columns, [_row(row) for row in board.rows], frozenset({0, 4, 5, 6, 7, 8}))


def _row(row: Replay) -> list[str]:
    cells = [str(row.row), row.source, row.model, row.gpu, f"{row.gpus:,}" if row.gpus else "-"]
    cells += [_seconds(row.measured_step_s), _seconds(row.predicted_step_s)]
    between = f"{_seconds(row.low_s)} to {_seconds(row.high_s)}" if row.predicted_step_s else "-"
    error = None
    if row.measured_step_s and row.predicted_step_s:
        error = row.predicted_step_s / row.measured_step_s - 1
    told = [row.refused] if row.refused else []
    told += ["doubtful"] * row.doubtful + ["extrapolated"] * row.extrapolated
    told += [f"defaults: {', '.join(row.defaults)}"] * bool(row.defaults)
    return [*cells, between, percent(error, sign=True), "; ".join(told)]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _assumed(board: Scoreboard) -> list[str]:
    return [f"Where a row leaves it open: {column}: {default}" for column, default in board.assumptions.items()]

"""`lindos plan install --html`: the same plan as plots and one long table."""

from __future__ import annotations

from typing import Any

from lindos.plan.install.install import INTERACTIVE, Installed, InstallPlan
from lindos.plan.report.html import Section, Table, page
from lindos.plan.report.install_report import (
    dollars,
    interval_text,
    number,
    parameters_text,
    price_text,
    size_text,
    where_text,
)
from lindos.specs import Precision

COLOURS = ("#2f7fd0", "#d9822b", "#3a9d6e", "#a05fc2", "#c74a5b", "#8a8f98")
LONGEST = 40
"""Machines in a bar plot; a longer one cannot be read."""


def install_page(plan: InstallPlan) -> str:
    """The page as text."""
    sections = [Section("Cheapest ways", tables=[_ways(plan)])] if plan.ways else []
    drawn = [row for row in plan.rows if row.fits]
    if drawn:
        sections += [
            Section("Speed for one user", _SPEED, [_bars(plan, precision) for precision in _precisions(drawn)]),
            Section("Price against speed", _PRICE, [_scatter(drawn)]),
            Section("Where the weights lie", _WHERE, [_stack(plan, precision) for precision in _precisions(drawn)]),
        ]
    if plan.here:
        sections.append(Section("This machine", tables=[_here(plan)]))
    sections.append(Section("All machines", tables=[_table(plan)], notes=plan.assumptions))
    title = f"What it would take to install {plan.model}"
    return page(title, f"{plan.title}. {parameters_text(plan)}; context {plan.context:,} tokens.", sections)


_SPEED = (
    "Tokens per second of one sequence. Lines are the intervals of the prediction; the dashed one is "
    f"{INTERACTIVE:g} tokens/s, about reading speed."
)
_PRICE = "What an hour costs, bought (written off, with electricity) or rented, whichever is cheaper."
_WHERE = "Experts that found no room in memory are read from disk when they are chosen."


def _precisions(rows: list[Installed]) -> list[Precision]:
    return list(dict.fromkeys(row.precision for row in rows))


def _of(plan: InstallPlan, precision: Precision) -> list[Installed]:
    return [row for row in plan.rows if row.precision is precision and row.fits][:LONGEST]


def _bars(plan: InstallPlan, precision: Precision) -> Any:
    import plotly.graph_objects as go

    rows = _of(plan, precision)[::-1]
    figure = go.Figure(
        go.Bar(
            y=[row.machine for row in rows],
            x=[row.one.value for row in rows],
            orientation="h",
            marker_color=[COLOURS[0] if row.interactive else COLOURS[-1] for row in rows],
            error_x={
                "type": "data",
                "array": [row.one.high - row.one.value for row in rows],
                "arrayminus": [row.one.value - row.one.low for row in rows],
                "thickness": 1,
            },
            hovertemplate="%{y}: %{x:.2g} tokens/s<extra></extra>",
        )
    )
    figure.add_vline(x=INTERACTIVE, line_dash="dash", line_color=COLOURS[1])
    _dress(figure, f"{precision.value}: tokens/s, one user", len(rows))
    figure.update_xaxes(type="log", title="tokens/s")
    return figure


def _scatter(rows: list[Installed]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for colour, precision in zip(COLOURS * 2, _precisions(rows), strict=False):
        priced = [row for row in rows if row.precision is precision and row.hour.lowest]
        figure.add_scatter(
            x=[row.hour.lowest for row in priced],
            y=[row.one.value for row in priced],
            mode="markers",
            name=precision.value,
            marker={"color": colour, "size": 9},
            text=[f"{row.machine}: {price_text(row)}, {where_text(row.alone)}" for row in priced],
            hovertemplate="%{text}<br>$%{x:.2f}/h, %{y:.2g} tokens/s<extra></extra>",
        )
    figure.add_hline(y=INTERACTIVE, line_dash="dash", line_color=COLOURS[1])
    _dress(figure, "", 0)
    figure.update_xaxes(type="log", title="dollars an hour")
    figure.update_yaxes(type="log", title="tokens/s, one user")
    return figure


def _stack(plan: InstallPlan, precision: Precision) -> Any:
    import plotly.graph_objects as go

    rows = _of(plan, precision)[::-1]
    figure = go.Figure()
    for colour, (place, label) in zip(
        COLOURS, (("accelerator", "GPU"), ("host", "memory"), ("disk", "disk")), strict=False
    ):
        figure.add_bar(
            y=[row.machine for row in rows],
            x=[sum(getattr(part, place) for part in row.alone.parts if part.name != "kv") / 1e9 for row in rows],
            orientation="h",
            name=label,
            marker_color=colour,
            hovertemplate="%{y}: %{x:,.0f} GB<extra>" + label + "</extra>",
        )
    figure.update_layout(barmode="stack")
    _dress(figure, f"{precision.value}: where the weights lie", len(rows))
    figure.update_xaxes(title="GB")
    return figure


def _dress(figure: Any, title: str, bars: int) -> None:
    figure.update_layout(
        title=title, height=160 + 22 * bars if bars else 460, margin={"l": 20, "r": 20, "t": 50, "b": 50}
    )
    figure.update_yaxes(automargin=True)


def _ways(plan: InstallPlan) -> Table:
    rows = [
        (way.precision.value, way.purpose, way.machine, f"{dollars(way.dollars)} {way.unit}", interval_text(way.one))
        for way in plan.ways
    ]
    return Table(("weights", "for", "machine", "price", "tokens/s, one user"), rows)


def _here(plan: InstallPlan) -> Table:
    rows = []
    for row in plan.here:
        told = interval_text(row.one) if row.fits else row.alone.reason
        many = "; ".join(f"{number(s.tokens_per_second.value)} with {s.offered}" for s in row.speeds[1:])
        rows.append((row.precision.value, told, many if row.fits else ""))
    return Table(("weights", "tokens/s, one user", "together"), rows)


def _table(plan: InstallPlan) -> Table:
    batches = [speed.offered for speed in plan.rows[0].speeds] if plan.rows else []
    columns = ["weights", "machine", "lies in", "KV cache", *(f"tokens/s, {b}" for b in batches)]
    columns += ["prompt tokens/s", "price", "an hour", "W", "$/Mtok, one user", "$/Mtok, best"]
    rows = [_cells(row) for row in plan.rows]
    return Table(columns, rows, frozenset(range(3, len(columns))))


def _cells(row: Installed) -> list[str]:
    cache = sum(part.accelerator + part.host for part in row.alone.parts if part.name == "kv")
    cells = [row.precision.value, row.machine, where_text(row.alone), size_text(cache) if cache else "-"]
    cells += [interval_text(speed.tokens_per_second) for speed in row.speeds]
    cells += [number(row.alone.prefill_tokens_per_second), price_text(row), dollars(row.hour.lowest)]
    cells += [number(row.watts), interval_text(row.speeds[0].dollars_per_million)]
    return [*cells, interval_text(row.best.dollars_per_million)]

"""The plots of `lindos plan train --html`. Colours are read alike in light and dark, and by the colour-blind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lindos.plan.goodput import DAY, goodput
from lindos.plan.memory import GIB
from lindos.plan.money import run_cost
from lindos.plan.scaling import ScalingPoint
from lindos.plan.training import Option, Range, TrainPlan
from lindos.specs import Layout

BLUE, ORANGE, GREY, LIMIT, STAR = "#2f78c4", "#e08a1e", "#8a8f98", "#d1495b", "#d55e00"
FAMILIES = {
    "computing": ("products", "attention", "memory-bound", "head", "optimizer"),
    "communicating": ("data parallel", "tensor parallel", "expert parallel", "context parallel", "pipeline sends"),
    "waiting": ("pipeline bubble", "stragglers", "host", "older software"),
}
"""What a step's seconds go to: one hue a family, one shade a part."""
SHADES = {
    "computing": ("#2f78c4", "#5b9bdc", "#8fbdea", "#b4d3f1", "#d0e2f5"),
    "communicating": ("#c4560f", "#e07b26", "#f0a04b", "#f5bd7e", "#f8d5ad"),
    "waiting": ("#6f7480", "#9499a5", "#b3b7c1", "#cdd0d8"),
}
KINDS: dict[str, str] = dict(zip(("weights", "gradients", "optimizer", "activations", "buffers"),
                 (BLUE, "#56b4e9", "#009e73", ORANGE, GREY), strict=True))  # fmt: skip
ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
"""Where a legend goes that has few entries."""
SMALL = 0.01
"""Parts below this share of every step are drawn as one."""
MONEY = ((1e9, "billion dollars"), (1e6, "million dollars"), (1.0, "dollars"))
ENERGY = ((1e3, "GWh"), (1.0, "MWh"), (1e-3, "kWh"))
"""Sizes in MWh."""
TIMES = {1: "1 s", 5: "5 s", 15: "15 s", 60: "1 min", 300: "5 min", 900: "15 min", 3600: "1 h", 14400: "4 h",
         DAY: "1 day", 4 * DAY: "4 days", 16 * DAY: "16 days"}  # fmt: skip


def scaled(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The size and the name of the unit that suits an amount, of units listed from large to small."""
    return next(((size, name) for size, name in units if value >= size), units[-1])


def label(number: int, layout: Layout) -> str:
    """A layout beside its bar, on two lines: its number, and the ways it is split."""
    ways = ("tensor", "pipeline", "context", "expert")
    split = [f"{way} {getattr(layout, way)}" for way in ways if getattr(layout, way) > 1]
    split += [f"data {layout.data}", layout.precision]
    half = math.ceil(len(split) / 2)
    return f"<b>{number}</b>  {', '.join(split[:half])},<br>{', '.join(split[half:])}"


def breakdown(plan: TrainPlan) -> Any:
    """Seconds of a step by part, a bar an option."""
    figure = _figure(max(160 + 56 * len(plan.options), 500))
    names = _labels(plan)
    for family, part, colour in _parts(plan.options):
        seconds = [_seconds(option, part, plan.options) for option in plan.options]
        shares = [s / option.step_s.value for s, option in zip(seconds, plan.options, strict=True)]
        figure.add_bar(
            y=names, x=seconds, orientation="h", name=part, marker_color=colour, legendgroup=family,
            legendgrouptitle_text=family, text=[f"{share:.0%}" if share >= 0.06 else "" for share in shares],
            textposition="inside", insidetextanchor="middle", textangle=0, customdata=shares,
            hovertemplate=part + ": %{x:,.3g} s, %{customdata:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack", legend={"traceorder": "grouped", "tracegroupgap": 12})
    figure.update_xaxes(title="seconds of a step")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def _large(part: str, options: Iterable[Option]) -> bool:
    return any(option.parts_s.get(part, 0) >= SMALL * option.step_s.value for option in options)


def _parts(options: Sequence[Option]) -> list[tuple[str, str, str]]:
    """(family, part, colour) of what is large enough to be seen, and one for all the rest."""
    found = [
        (family, part, colour)
        for family, parts in FAMILIES.items()
        for part, colour in zip(parts, SHADES[family], strict=True)
        if _large(part, options)
    ]
    return [*found, ("the rest", "small parts", "#b9a7d6")]


def _seconds(option: Option, part: str, options: Sequence[Option]) -> float:
    if part != "small parts":
        return option.parts_s.get(part, 0.0)
    shown = {part for _, part, _ in _parts(options)}
    return sum(seconds for name, seconds in option.parts_s.items() if name not in shown)


def memory_speed(plan: TrainPlan) -> Any:
    """Every layout's memory against its speed; below, in a band of their own, those that do not fit."""
    from plotly.subplots import make_subplots

    fit = [(p.memory_gib, p.step_s) for p in plan.picture if p.step_s is not None]
    over = [p.memory_gib for p in plan.picture if p.step_s is None]
    rows, heights = (2, [0.86, 0.14]) if over else (1, [1.0])
    figure = _dress(make_subplots(rows, 1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.03), 540)
    figure.add_scatter(
        x=[size for size, _ in fit], y=[seconds for _, seconds in fit], mode="markers", name="fits", row=1, col=1,
        marker={"color": BLUE, "size": 5, "opacity": 0.55}, hovertemplate="%{x:,.3g} GiB, %{y:,.3g} s<extra></extra>",
    )  # fmt: skip
    if over:
        _add_band(figure, over)
    limit = plan.options[0].memory_limit / GIB
    figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, line_width=1.5)
    figure.add_annotation(x=math.log10(limit), y=1, yref="y domain", text=f" limit {limit:,.0f} GiB ", showarrow=False,
                          xanchor="left" if over else "right", yanchor="top", font_color=LIMIT)  # fmt: skip
    _mark_options(figure, plan.options)
    figure.update_layout(legend=ABOVE)
    _log(figure, "x", [limit, *over, *(size for size, _ in fit), *(o.memory_total / GIB for o in plan.options)])
    seconds = [*(s for _, s in fit), *(o.step_s.value for o in plan.options)]
    _log(figure, "y", [min(seconds) / 2, *seconds], row=1)
    figure.update_xaxes(title="memory of the fullest accelerator, GiB", row=rows)
    figure.update_yaxes(title="seconds of a step", row=1)
    return figure


def _add_band(figure: Any, sizes: Sequence[float]) -> None:
    """Layouts without a time in the second row, where the height says nothing: golden steps keep them apart."""
    figure.add_scatter(
        x=sizes, y=[i * 0.618034 % 1 for i in range(len(sizes))], mode="markers", name="does not fit", row=2, col=1,
        marker={"color": GREY, "size": 4, "opacity": 0.4}, hovertemplate="%{x:,.3g} GiB<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(showticklabels=False, showgrid=False, range=[-0.1, 1.1], title="no room", row=2)


def _mark_options(figure: Any, options: Sequence[Option]) -> None:
    """The best layouts with their numbers, fanned out below, where nothing is faster."""
    order = sorted(range(len(options)), key=lambda i: options[i].memory_total)
    figure.add_scatter(
        x=[o.memory_total / GIB for o in options], y=[o.step_s.value for o in options], mode="markers", row=1, col=1,
        name="best", marker={"color": STAR, "size": 9, "symbol": "diamond"},
        hovertemplate="%{x:,.3g} GiB, %{y:,.3g} s<extra>best</extra>",
    )  # fmt: skip
    for place, i in enumerate(order):
        figure.add_annotation(
            x=math.log10(options[i].memory_total / GIB), y=math.log10(options[i].step_s.value), xref="x", yref="y",
            text=f"<b>{i + 1}</b>", ax=26 * (place - (len(options) - 1) / 2), ay=34, arrowhead=0, arrowwidth=1,
            arrowcolor=STAR,
        )  # fmt: skip


def memory_kinds(plan: TrainPlan) -> Any:
    """GiB of the fullest accelerator by kind, a bar an option."""
    figure = _figure(150 + 44 * max(len(plan.options), 2))
    for kind in plan.options[0].memory:
        figure.add_bar(
            y=_labels(plan), x=[option.memory[kind] / GIB for option in plan.options], orientation="h", name=kind,
            marker_color=KINDS.get(kind, GREY), hovertemplate=kind + ": %{x:,.3g} GiB<extra></extra>",
        )  # fmt: skip
    limit = plan.options[0].memory_limit / GIB
    figure.add_vline(x=limit, line_dash="dash", line_color=LIMIT, line_width=1.5)
    figure.add_annotation(x=limit, y=1, yref="paper", text=f"limit {limit:,.0f} GiB", showarrow=False,
                          xanchor="center", yanchor="bottom", font_color=LIMIT)  # fmt: skip
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    most = max(limit, *(option.memory_total / GIB for option in plan.options))
    figure.update_xaxes(title="GiB", range=[0, 1.04 * most])
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def smaller(plan: TrainPlan) -> list[ScalingPoint]:
    """Sizes below the cluster's own on which something fits. The cluster's own is the plan itself, for which more
    layouts are searched: joined to the others it would look like a gain of size."""
    return [point for point in plan.scaling if point.step_s is not None and point.devices < plan.cluster.devices]


def scaling_figure(plan: TrainPlan) -> Any:
    """Tokens per second and MFU of the fastest usual layout at each size, and the answer itself."""
    from plotly.subplots import make_subplots

    points = smaller(plan)
    sizes, best = [p.devices for p in points], plan.options[0]
    figure = _dress(make_subplots(2, 1, shared_xaxes=True, row_heights=[0.66, 0.34], vertical_spacing=0.06), 560)
    top = max(points, key=lambda p: p.tokens_per_s / p.devices)
    every = [*sizes, plan.cluster.devices]
    ideal = [top.tokens_per_s / top.devices * size for size in every]
    figure.add_scatter(
        x=every, y=ideal, mode="lines", name=f"all as fast as at {top.devices:,}", row=1, col=1, hoverinfo="skip",
        line={"color": GREY, "dash": "dash", "width": 1.5},
    )  # fmt: skip
    for row, (ys, star, text) in enumerate((
        ([p.tokens_per_s for p in points], best.tokens_per_s, "%{y:,.3s} tokens/s"),
        ([100 * p.mfu for p in points], 100 * best.mfu, "MFU %{y:.1f}%"),
    ), 1):  # fmt: skip
        _line_and_star(figure, sizes, ys, plan.cluster.devices, star, text, row=row, legend=row == 1)
    for row in (1, 2):
        _size_axis(figure, every, row=row)
    figure.update_xaxes(title="", row=1)
    _log(figure, "y", [*ideal, *(p.tokens_per_s for p in points), best.tokens_per_s], row=1, si=True)
    figure.update_yaxes(title="tokens/s", row=1)
    figure.update_yaxes(title="MFU, %", rangemode="tozero", row=2)
    return figure


def cost_by_size(plan: TrainPlan) -> Any:
    """Money and calendar days of the same run on more and more accelerators, failures and restarts included."""
    from plotly.subplots import make_subplots

    priced, best = plan.options[0].dollars is not None, plan.options[0]
    rows = [(p.devices, *_run(plan, p.used, p.tokens_per_s)) for p in smaller(plan)]
    rows = [row for row in rows if math.isfinite(row[1])]
    sizes = [row[0] for row in rows]
    every = [*sizes, plan.cluster.devices]
    figure = _dress(make_subplots(1, 2 if priced else 1, horizontal_spacing=0.1), 400)
    days = "%{y:,.3g} days"
    _line_and_star(figure, sizes, [r[1] for r in rows], plan.cluster.devices, best.calendar_days.value, days)
    _log(figure, "y", [*(row[1] for row in rows), best.calendar_days.value], row=1, col=1)
    figure.update_yaxes(title="calendar days", row=1, col=1)
    _size_axis(figure, every, row=1, col=1, each=2 if priced else 1)
    if priced and best.dollars:
        size, unit = scaled(best.dollars.value, MONEY)
        ys, star = [row[2] / size for row in rows], best.dollars.value / size
        _line_and_star(figure, sizes, ys, plan.cluster.devices, star, "%{y:,.3g} " + unit, col=2, legend=False)
        figure.update_yaxes(title=unit, rangemode="tozero", tickformat=",", row=1, col=2)
        _size_axis(figure, every, row=1, col=2, each=2)
    return figure


def _run(plan: TrainPlan, devices: int, tokens_per_s: float) -> tuple[float, float]:
    """(calendar days, dollars) of the plan's tokens on so many accelerators."""
    share = goodput(plan.cluster, devices).share
    if share <= 0:
        return math.inf, math.inf
    hours = plan.tokens / tokens_per_s / 3600 / share
    return hours / 24, run_cost(plan.cluster, hours, devices).dollars


def cost_by_option(plan: TrainPlan) -> Any:
    """Money and energy of each option with their 80% intervals."""
    from plotly.subplots import make_subplots

    dollars = [option.dollars for option in plan.options if option.dollars]
    columns: list[tuple[list[Range], Sequence[tuple[float, str]]]] = [(dollars, MONEY)] if dollars else []
    columns.append(([option.energy_mwh for option in plan.options], ENERGY))
    figure = _dress(
        make_subplots(1, len(columns), shared_yaxes=True, horizontal_spacing=0.05), 150 + 40 * max(len(plan.options), 2)
    )
    for column, (ranges, units) in enumerate(columns, 1):
        size, unit = scaled(ranges[0].value, units)
        figure.add_scatter(
            y=_labels(plan), x=[r.value / size for r in ranges], mode="markers", row=1, col=column, showlegend=False,
            marker={"color": BLUE, "size": 10}, error_x=_errors(ranges, size),
            hovertemplate="%{x:,.3g} " + unit + "<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title=unit, rangemode="tozero", tickformat=",", row=1, col=column)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def _errors(ranges: Sequence[Range], size: float) -> dict[str, Any]:
    up = [(r.high - r.value) / size for r in ranges]
    down = [(r.value - r.low) / size for r in ranges]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 2, "width": 5, "color": BLUE}


def goodput_figure(plan: TrainPlan) -> Any:
    """The share of the calendar that trains against the time between checkpoints, for three restart times."""
    figure, best = _figure(420), plan.options[0]
    chosen = best.goodput.checkpoint_interval_s
    seconds = [chosen * 10 ** (i / 30) for i in range(-40, 49)]
    ways = ((0.5, "#56b4e9", "dot"), (1.0, BLUE, "solid"), (2.0, ORANGE, "dash"))
    for times, colour, dash in ways if best.goodput.failures_per_day else ways[1:2]:
        restart = best.goodput.restart_s * times
        cluster = plan.cluster.model_copy(update={"restart": restart})
        shares = [100 * goodput(cluster, best.devices, interval=s).share for s in seconds]
        figure.add_scatter(
            x=seconds, y=shares, mode="lines", name=f"restart in {restart:,.0f} s",
            line={"color": colour, "dash": dash},
            hovertemplate="%{y:.1f}% with a checkpoint every %{x:,.0f} s<extra></extra>",
        )  # fmt: skip
    share, (size, unit) = 100 * best.goodput.share, scaled(chosen, ((3600.0, "h"), (60.0, "min"), (1.0, "s")))
    figure.add_scatter(
        x=[chosen], y=[share], mode="markers", name=f"this plan: every {chosen / size:.3g} {unit}, {share:.1f}%",
        marker={"color": STAR, "size": 12, "symbol": "star"}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(legend=ABOVE)
    ticks = [s for s in TIMES if seconds[0] <= s <= seconds[-1]]
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[TIMES[s] for s in ticks], title="time between checkpoints"
    )
    figure.update_yaxes(title="goodput, % of the calendar", range=[0, 101])
    return figure


def _labels(plan: TrainPlan) -> list[str]:
    return [label(number, option.layout) for number, option in enumerate(plan.options, 1)]


def _figure(height: int) -> Any:
    import plotly.graph_objects as go

    return _dress(go.Figure(), height)


def _dress(figure: Any, height: int) -> Any:
    return figure.update_layout(height=height, separators=".,", margin={"l": 64, "r": 24, "t": 28, "b": 56})


def _line_and_star(
    figure: Any, xs: Sequence[float], ys: Sequence[float], x: float, y: float, text: str, *, row: int = 1, col: int = 1,
    legend: bool = True,
) -> None:  # fmt: skip
    """A curve over sizes, and the answer, which may lie off it: there all layouts were searched."""
    hover = "%{x:,} accelerators: " + text + "<extra></extra>"
    figure.add_scatter(x=xs, y=ys, mode="lines+markers", name="usual layouts", line_color=BLUE, hovertemplate=hover,
                       showlegend=legend, row=row, col=col)  # fmt: skip
    figure.add_scatter(
        x=[x], y=[y], mode="markers", name="this plan, all layouts searched", hovertemplate=hover,
        marker={"color": STAR, "size": 12, "symbol": "star"}, showlegend=legend, row=row, col=col,
    )  # fmt: skip
    figure.update_layout(legend=ABOVE)


def _size_axis(figure: Any, sizes: Sequence[int], *, row: int, col: int = 1, each: int = 1) -> None:
    """Numbers of accelerators, from the largest down, every so many of them written."""
    shown = list(sizes)[::-1][::each]
    _log(figure, "x", sizes, row=row, col=col)
    figure.update_xaxes(tickvals=shown, ticktext=[f"{s:,}" for s in shown], title="accelerators", row=row, col=col)


def _short(value: float) -> str:
    """`500k`, `2M`."""
    size, letter = scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")))
    return f"{value / size:,g}{letter}"


def _log(
    figure: Any, axis: str, values: Sequence[float], *, row: int | None = None, col: int | None = None,
    si: bool = False,
) -> None:  # fmt: skip
    """A logarithmic axis around these values with ones, twos and fives written out; of many only ones."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.04 * (high - low), 0.02)
    decades = range(math.floor(low - room), math.ceil(high + room) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    at = [step * 10.0**decade for decade in decades for step in steps]
    written = [_short(v) if si else f"{v:,g}" for v in at]
    update = figure.update_xaxes if axis == "x" else figure.update_yaxes
    update(type="log", range=[low - room, high + room], tickvals=at, ticktext=written, row=row, col=col)

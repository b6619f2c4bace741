"""Training runs drawn: loss, balance, gradient norm, speed and goodput over the same steps."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from lindos.specs import SpecError
from lindos.train.history import Account, History, smoothed
from lindos.train.journal import clock

# Told apart by people who see fewer colours, too (Okabe and Ito, https://jfly.uni-koeln.de/color/).
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, PALE = "#333333", "#8c8c8c", "#bfbfbf"
RUNS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
PARTS = {
    "training": ("training", GREEN),
    "other": ("evaluations, checkpoints, other", SKY),
    "redone": ("redoing steps", ORANGE),
    "down": ("down after faults", VERMILION),
    "paused": ("paused", PALE),
}
"""The parts of an account: what they are called, and their colours."""
MARKS = {
    "skip": ("step skipped", "x", PURPLE),
    "watch": ("something seen by the watch", "v", ORANGE),
    "rewind": ("gone back", "<", INK),
}
LEGEND: dict[str, Any] = {"fontsize": 8, "framealpha": 0.9, "edgecolor": PALE}
DOTS: dict[str, Any] = {"markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 4}
MOST_POINTS = 2000
"""No panel has more columns of dots: of a longer run each column's lowest and highest value are drawn."""

Panel = Callable[[Axes, Sequence[History]], None]


def draw_runs(runs: Sequence[History], kind: str) -> bytes:
    """A picture of one run, or of several beside each other; `kind` is svg, png or pdf. Raises SpecError."""
    account = runs[0].account if len(runs) == 1 and runs[0].account and runs[0].account.total > 0 else None
    panels: list[tuple[Panel, float]] = [(_loss, 3.2)]
    panels += [(_balance, 1.2)] if any(run.balanced for run in runs) else []
    panels += [(_norm, 1.2), (_speed, 1.2)]
    panels += [(_goodput, 1.2)] if any(run.account for run in runs) else []
    heights = [height for _, height in panels] + ([0.28] if account else [])
    # No date, no random ids: a picture of the same runs is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "lindos", "svg.fonttype": "none", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(10, 1.1 + 1.15 * sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axis, (panel, _) in zip(axes, panels, strict=False):
            panel(axis, runs)
            _furnish(axis, runs, under=axes[len(panels) - 1])
        _tokens_above(axes[0], runs)
        axes[len(panels) - 1].set_xlabel("steps")
        if account:
            _account(axes[-1], account)
        figure.suptitle(_plain(_title(runs)), x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.align_ylabels(axes[: len(panels)])
        return _saved(figure, kind)


def _saved(figure: Figure, kind: str) -> bytes:
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    out = io.BytesIO()
    try:
        figure.savefig(out, format=kind, metadata=undated[kind], dpi=150)
    except (ValueError, OverflowError) as error:
        raise SpecError(f"these figures cannot be drawn: {error}") from None
    return out.getvalue()


def _title(runs: Sequence[History]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} training runs"
    [run] = runs
    planned = f" of {run.planned:,}" if run.planned and run.planned != run.reached else ""
    tokens = run.curves["tokens"][-1]
    seen = f", {amount(tokens)} tokens" if tokens > 0 else ""
    return f"{run.name}: {run.reached:,}{planned} steps{seen}"


def names_of(runs: Sequence[History]) -> list[str]:
    """What to call each run among the others: its name, with its folder where another has the same."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({run.folder})" for name, run in zip(names, runs, strict=True)]


def amount(value: float, _position: object = None) -> str:
    """A number as short as it is read: 950, 1.5k, 20M, 3B, 6T."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _plain(text: str) -> str:
    """As it is: a dollar sign in a name begins no formula, and an underscore hides nothing from a legend."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def _curve(axis: Axes, run: History, figure: str, colour: str, *, pale: float, label: str = "") -> None:
    """A figure's values, pale, under their smoothed line; `label` names that."""
    done, values = run.step + 1, run.curves[figure]
    axis.plot(*_thinned(done, values), color=colour, alpha=pale, linewidth=0.6)
    axis.plot(*_thinned(done, smoothed(values)), color=colour, linewidth=1.6, label=_plain(label) or None)


def _curves(axis: Axes, runs: Sequence[History], figure: str) -> None:
    """A figure of all runs that have it."""
    for run, colour in _coloured(runs):
        if figure != "balance" or run.balanced:
            _curve(axis, run, figure, colour, pale=0.3 if len(runs) == 1 else 0.15)


def _coloured(runs: Sequence[History]) -> list[tuple[History, str]]:
    return [(run, RUNS[index % len(RUNS)]) for index, run in enumerate(runs)]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value of each of so many columns, in their order: spikes stay."""
    kept = np.flatnonzero(np.isfinite(y))
    if len(kept) > 2 * MOST_POINTS:
        columns = [part[np.sort([y[part].argmin(), y[part].argmax()])] for part in np.array_split(kept, MOST_POINTS)]
        kept = np.concatenate(columns)
    return x[kept], y[kept]


def _loss(axis: Axes, runs: Sequence[History]) -> None:
    alone = len(runs) == 1
    for name, (run, colour) in zip(names_of(runs), _coloured(runs), strict=True):
        after, losses = run.held_out
        learnt = f"{'training, smoothed' if alone else name}: {smoothed(run.curves['loss'])[-1]:.3f}"
        held_out = f", held-out {losses[-1]:.3f}" if len(losses) and not alone else ""
        _curve(axis, run, "loss", colour, pale=0.3 if alone else 0.15, label=learnt + held_out)
        dots = VERMILION if alone else colour
        axis.plot(after + 1, losses, "o", label="held-out text" if alone and len(losses) else None, color=dots, **DOTS)
    axis.set_ylabel("loss, nats a token")
    _fit_losses(axis, runs)
    if alone:
        _marks(axis, runs[0])
        _name_last(axis, runs[0])
    title = None if alone else "training, smoothed; dots: held-out text"
    axis.legend(loc="upper right", title=title, title_fontsize=8, **LEGEND)


def _name_last(axis: Axes, run: History) -> None:
    """The last loss on held-out text, beside its dot."""
    after, losses = run.held_out
    if not len(after):
        return
    axis.annotate(
        f"{losses[-1]:.3f}", (after[-1] + 1, losses[-1]), (7, 0), textcoords="offset points", color=VERMILION,
        va="center", fontsize=8.5, fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def _fit_losses(axis: Axes, runs: Sequence[History]) -> None:
    """Room for everything after the first fiftieth: what is learnt there would flatten all the rest."""
    seen = [run.held_out[1] for run in runs]
    for run in runs:
        losses = run.curves["loss"]
        seen.append(losses[len(losses) // 50 :])
    values = np.concatenate(seen)
    values = values[np.isfinite(values)]
    if len(values) and values.min() < values.max():
        room = 0.06 * (values.max() - values.min())
        axis.set_ylim(values.min() - 1.6 * room, values.max() + room)


def _marks(axis: Axes, run: History) -> None:
    """What happened, along the foot of the panel; restarts are lines in all panels, and named here."""
    foot = axis.get_xaxis_transform()
    for kind, (label, marker, colour) in MARKS.items():
        steps = run.marks[kind]
        if len(steps):
            axis.scatter(steps + 1, np.full(len(steps), 0.05), s=26, marker=marker, color=colour, transform=foot,
                         label=f"{label} ({len(steps):,})", zorder=5, linewidths=1.2)  # fmt: skip
    saved = run.marks["checkpoint"]
    if len(saved):
        axis.scatter(saved, np.full(len(saved), 0.012), s=14, marker="|", color=GREY, transform=foot,
                     label=f"checkpoint ({len(saved):,})", linewidths=0.8)  # fmt: skip
    for orderly, label in ((True, "resumed"), (False, "restarted after a fault")):
        count = sum(leg.orderly == orderly for leg in run.legs[:-1])
        if count:
            axis.plot([], [], **_restart_line(orderly), label=f"{label} ({count:,})")


def _restart_line(orderly: bool) -> dict[str, Any]:
    look = (GREY, ":", 1.0) if orderly else (VERMILION, "--", 1.0)
    return dict(zip(("color", "linestyle", "linewidth"), look, strict=True))


def _balance(axis: Axes, runs: Sequence[History]) -> None:
    _curves(axis, runs, "balance")
    axis.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axis.set_ylim(bottom=0.98)
    axis.set_ylabel("busiest expert\n(1 = even share)")


def _norm(axis: Axes, runs: Sequence[History]) -> None:
    _curves(axis, runs, "norm")
    axis.set_ylabel("gradient norm")
    values = np.concatenate([run.curves["norm"] for run in runs])
    values = values[np.isfinite(values)]
    if len(values) and 0 < values.min() < values.max() / 20:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(amount))
    elif len(values) and values.max() > 0:
        axis.set_ylim(0, 1.1 * values.max())
    optimizer = runs[0].settings.get("optimizer")
    clip = optimizer.get("clip") if isinstance(optimizer, dict) else None
    if len(runs) == 1 and isinstance(clip, float) and len(values) and 0 < clip < values.max():
        axis.axhline(clip, color=GREY, linewidth=0.8, linestyle="--", label=f"clipped above {clip:g}")
        axis.legend(loc="upper right", **LEGEND)


def _speed(axis: Axes, runs: Sequence[History]) -> None:
    _curves(axis, runs, "tokens_per_s")
    axis.set_ylabel("tokens/s")
    axis.yaxis.set_major_formatter(FuncFormatter(amount))
    values = np.concatenate([run.curves["tokens_per_s"] for run in runs])
    values = values[np.isfinite(values)]
    if len(values):
        axis.set_ylim(0, max(1e-9, 1.2 * float(np.percentile(values, 99))))


def _goodput(axis: Axes, runs: Sequence[History]) -> None:
    for run, colour in _coloured(runs):
        account = run.account
        if account is None:
            continue
        lines = [(account.course, ":" if account.paused else "-", "of all time", account.goodput)]
        if account.paused:
            lines.append((account.running, "-", "without pauses", account.goodput_running))
        for course, style, label, last in lines:
            shown = f"{label}: {last:.1%}" if len(runs) == 1 else None
            axis.plot(*_thinned(run.step + 1, course), color=colour, linestyle=style, linewidth=1.6, label=shown)
    axis.set_ylim(0, 1.05)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_ylabel("goodput,\nshare of time")
    if len(runs) == 1:
        axis.legend(loc="best", **LEGEND)
    elif any(run.account and run.account.paused for run in runs):
        axis.legend([], [], loc="lower right", title="dotted: with pauses", title_fontsize=8, **LEGEND)


def _furnish(axis: Axes, runs: Sequence[History], *, under: Axes) -> None:
    """What all panels have: a light grid, the same steps, the restarts."""
    axis.grid(color="#e6e6e6", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(PALE)
    axis.tick_params(colors=INK, length=3, labelbottom=axis is under)
    axis.xaxis.set_major_formatter(FuncFormatter(amount))
    axis.set_xlim(0, 1.01 * max(run.reached for run in runs))
    if len(runs) == 1:
        for before, leg in zip(runs[0].legs, runs[0].legs[1:], strict=False):
            axis.axvline(leg.step, zorder=1, **_restart_line(before.orderly))


def _tokens_above(axis: Axes, runs: Sequence[History]) -> None:
    """A second scale in tokens, where all runs have the same number of them in a step."""
    each = np.concatenate([run.curves["tokens"] / (run.step + 1) for run in runs])
    each = each[np.isfinite(each)]
    if not len(each) or each.min() <= 0 or not math.isclose(each.min(), each.max(), rel_tol=1e-6):
        return
    rate = float(each[0])
    scales = (lambda steps: np.asarray(steps) * rate, lambda tokens: np.asarray(tokens) / rate)
    above = axis.secondary_xaxis("top", functions=scales)
    above.xaxis.set_major_formatter(FuncFormatter(amount))
    above.set_xlabel("tokens")
    above.spines["top"].set_color(PALE)
    above.tick_params(colors=INK, length=3)


def _account(axis: Axes, account: Account) -> None:
    """A bar of where the time went, each part named under it with its hours and share."""
    left = 0.0
    for part, seconds in account.parts.items():
        label, colour = PARTS[part]
        if seconds > 0:
            text = f"{label}: {clock(seconds)} ({seconds / account.total:.1%})"
            axis.barh(0, seconds, left=left, color=colour, edgecolor="white", linewidth=0.8, label=text)
        left += seconds
    axis.set_xlim(0, left or 1)
    axis.set_axis_off()
    axis.set_title(f"where {clock(account.total)} went", loc="left", fontsize=9)
    axis.legend(loc="upper left", bbox_to_anchor=(-0.005, 0.0), ncols=3, fontsize=8, frameon=False)

"""The ratios as bars with their spread, beside what they should be."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks.engine.results import Figure, Record

matplotlib.use("Agg", force=False)
from matplotlib.figure import Figure as Picture


def draw(record: Record, path: Path, title: str) -> None:
    """Write a picture of the figures that have a ratio, if any; the kind of file is by its name."""
    figures = [figure for figure in record.figures if figure.ratio is not None]
    if not figures:
        return
    picture = Picture(figsize=(8, 1.2 + 0.42 * len(figures)), layout="constrained")
    axes = picture.add_subplot()
    for place, figure in enumerate(figures):
        ratio = figure.ratio
        assert ratio is not None
        met = figure.wanted is not None and ratio.median >= figure.wanted
        spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        axes.barh(place, ratio.median, xerr=spread, height=0.6, color="#3b7a57" if met else "#b8860b", capsize=3)
        if figure.wanted is not None:
            axes.plot([figure.wanted] * 2, [place - 0.4, place + 0.4], color="#a01c1c", linewidth=2)
    axes.axvline(1.0, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(figures)), [_label(figure) for figure in figures])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the other (median, lowest and highest round); red: the target")
    axes.set_title(title, fontsize=10)
    with matplotlib.rc_context({"svg.hashsalt": "lindos", "svg.fonttype": "none"}):
        picture.savefig(path)


def _label(figure: Figure) -> str:
    return f"{figure.part}, {figure.at}\nbeside {figure.sides[-1].name}"

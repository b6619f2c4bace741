"""How far predictions missed measurements: medians, spread, bias and how often the interval held, each group once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lindos.plan.replay.intervals import interval_at, places_of_residuals
from lindos.plan.replay.residuals import Residual
from lindos.specs import Spec

LARGE = 1024
"""Accelerators from which a run counts as large."""


@dataclass(frozen=True)
class Miss:
    """One prediction beside its measurement."""

    group: str
    error: float
    """Natural logarithm of predicted over measured."""
    held: bool | None = None
    """Whether the interval held the measurement; None: there was none."""


class Score(Spec):
    """Errors of some predictions, as shares of the measured time; groups of repeats count once."""

    name: str
    groups: int
    rows: int
    median: float | None
    """Of the absolute errors."""
    p90: float | None
    bias: float | None
    """The median of the signed errors: above zero, predictions are too slow."""
    coverage: float | None
    """Share of the groups' measurements within the 80% interval."""


def score(name: str, misses: Iterable[Miss]) -> Score:
    """The errors of some predictions; no prediction, no figure."""
    groups: dict[str, list[Miss]] = {}
    for miss in misses:
        groups.setdefault(miss.group, []).append(miss)
    rows = sum(map(len, groups.values()))
    if not groups:
        return Score(name=name, groups=0, rows=0, median=None, p90=None, bias=None, coverage=None)
    means = np.array([np.mean([miss.error for miss in some]) for some in groups.values()])
    errors = np.abs(np.expm1(means))
    held = [np.mean([m.held for m in some if m.held is not None]) for some in _with_interval(groups.values())]
    return Score(
        name=name, groups=len(groups), rows=rows, median=float(np.median(errors)), p90=float(np.quantile(errors, 0.9)),
        bias=float(np.expm1(np.median(means))), coverage=float(np.mean(held)) if held else None,
    )  # fmt: skip


def _with_interval(groups: Iterable[list[Miss]]) -> list[list[Miss]]:
    return [some for some in groups if any(miss.held is not None for miss in some)]


KINDS: tuple[tuple[str, Callable[[Residual], bool]], ...] = (
    ("dense", lambda r: not r.mixture),
    (f"dense, {LARGE:,}+ GPUs", lambda r: not r.mixture and r.accelerators >= LARGE),
    ("mixture of experts", lambda r: bool(r.mixture)),
)


class LeftOut(Spec):
    """What came of leaving out one publisher, or one model, at a time."""

    by: str
    """`publisher` or `model`."""
    kinds: tuple[Score, ...]
    each: tuple[Score, ...]
    """One a publisher or model left out, dense and mixtures apart."""
    median_of_medians: tuple[Score, ...]
    """Of the figures in `each`, for dense models and for mixtures."""


def left_out(residuals: Sequence[Residual], by: str) -> LeftOut:
    """The tables of `by` (`publisher` or `model`), doubtful rows set aside."""
    owner = "publisher" if by == "publisher" else "family"
    timed = [r for r in residuals if not np.isnan(getattr(r, f"error_{by}"))]
    misses = held_out_misses(timed, by)
    told = [(r, miss) for r, miss in zip(timed, misses, strict=True) if not r.doubtful]
    kinds = tuple(score(name, [m for r, m in told if of(r)]) for name, of in KINDS)
    each: list[Score] = []
    medians: list[Score] = []
    for kind, word in ((0, "dense"), (1, "mixture of experts")):
        names = dict.fromkeys(getattr(r, owner) for r, _ in told if r.mixture == kind)
        some = [
            score(f"{name}, {word}", [m for r, m in told if r.mixture == kind and getattr(r, owner) == name])
            for name in sorted(names)
        ]
        each += some
        medians.append(median_of_scores(word, some))
    return LeftOut(by=by, kinds=kinds, each=tuple(each), median_of_medians=tuple(medians))


def median_of_scores(name: str, scores: Sequence[Score]) -> Score:
    """The median of several scores' figures: no one of them weighs more for having more rows."""

    def middle(field: str) -> float | None:
        values = [v for v in (getattr(s, field) for s in scores) if v is not None]
        return float(np.median(values)) if values else None

    figures = {field: middle(field) for field in ("median", "p90", "bias", "coverage")}
    return Score(name=name, groups=sum(s.groups for s in scores), rows=sum(s.rows for s in scores), **figures)


def held_out_misses(residuals: Sequence[Residual], by: str) -> list[Miss]:
    """Each published run as predicted without its publisher or model, which are kept from its interval too."""
    if not residuals:
        return []
    owner = "publisher" if by == "publisher" else "family"
    names = np.array([getattr(r, owner) for r in residuals])
    own = names[:, None] == names[None]
    places = places_of_residuals(residuals)
    widths = np.log(interval_at(places, known=by == "model", exclude=own, residuals=residuals).high_ratio)
    errors = [getattr(r, f"error_{by}") for r in residuals]
    return [Miss(r.group, e, abs(e) <= w) for r, e, w in zip(residuals, errors, widths, strict=True)]

"""Fitting the constants to published runs, and judging the fit on runs it has not seen.

Least squares on the logarithm of predicted over measured, robust against runs that no model explains (soft L1), with
each constant's prior as one more residual. A group of repeats counts once, doubtful rows half, and a publisher's
weight grows with the square root of its groups only, so that no one table rules. Publishers differ in what no column
says (tuning, clocks, what a step includes): each gets a level of its own in the fit (a random effect), so that the
constants explain what differs within a table. The levels are part of the result; a publisher the fit has not seen,
and every plan, is predicted at the average level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.constants import Constants
from lindos.plan.replay.replay import Replayable
from lindos.plan.step import step

LEVEL = 0.08
"""Standard deviation of publishers' levels, as a logarithm."""
SPREAD = 0.07
"""Expected error of one row: a residual of this logarithm counts as one."""


def row_weights(runs: Replayable) -> Array:
    """How much each row counts."""
    groups = Counter(row.group for row in runs.rows)
    once = np.array([(0.5 if row.doubtful else 1.0) / groups[row.group] for row in runs.rows])
    sums: Counter[str] = Counter()
    for row, weight in zip(runs.rows, once, strict=True):
        sums[row.publisher] += weight
    share = np.array([sums[row.publisher] for row in runs.rows]) ** -0.5
    weights = once * share
    return weights * (len({row.group for row in runs.rows}) / weights.sum())


def fit(runs: Replayable, start: Constants) -> Constants:
    """The constants that explain these runs best, with the levels of their publishers; what is not fitted stays.

    The search begins at the expected values, so that the result does not depend on the values `start` holds.
    """
    from scipy.optimize import least_squares  # a fifth of a second that only a fit should pay

    names = start.fitted
    expected = np.array([np.log(start.entries[n].expected or start[n]) for n in names])
    factors = np.array([np.log(start.entries[n].factor or np.e) for n in names])
    weights, measured = np.sqrt(row_weights(runs)), np.log(runs.measured)
    publishers = sorted({row.publisher for row in runs.rows})
    belongs = np.array([publishers.index(row.publisher) for row in runs.rows])
    count = len(names)
    told = np.bincount(belongs, weights=weights**2) ** 0.5
    firmness = np.concatenate([np.ones(count), np.sqrt(told / told.mean())])

    def residuals(unknowns: Array) -> Array:
        offsets, levels = unknowns[:count], unknowns[count:]
        values = {n: float(np.exp(e + o * f)) for n, e, o, f in zip(names, expected, offsets, factors, strict=True)}
        predicted = np.log(step(runs.case, {**start, **values}).seconds) + LEVEL * levels[belongs]
        errors = (predicted - measured) / SPREAD
        # Soft L1 on the rows alone; a prior stays a plain square.
        softened = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.concatenate([weights * softened, unknowns * firmness])

    found = least_squares(residuals, np.zeros(count + len(publishers)), max_nfev=40, ftol=1e-5, xtol=1e-5)
    values = np.exp(expected + found.x[:count] * factors)
    levels = np.exp(LEVEL * found.x[count:])
    changed = start.changed(dict(zip(names, values, strict=True)))
    return changed.with_levels(dict(zip(publishers, map(float, levels), strict=True)))


@dataclass(frozen=True)
class HeldOut:
    """Predictions of each row by constants fitted without its publisher (or its model)."""

    by: str
    predicted: Array


def held_out(runs: Replayable, start: Constants, by: str, progress: Callable[[str], None] | None = None) -> HeldOut:
    """Leave out one publisher (`by="publisher"`) or model (`by="family"`) at a time and predict it."""
    names = np.array([getattr(row, by) for row in runs.rows])
    predicted = np.full(len(runs.rows), np.nan)
    for name in dict.fromkeys(names):
        if progress:
            progress(str(name))
        out = names == name
        constants = fit(runs.take(~out), start) if not out.all() else start.prior()
        predicted[out] = runs.take(out).predicted(constants)
    return HeldOut(by, predicted)

"""The 80% interval of a prediction, from the errors on the nearest published runs that the fit had not seen.

The rule. Runs of the same kind (dense or with experts) are ordered by their distance in accelerators, sequence length,
active parameters, generation, precision and pipelining; the nearest 30 groups of dense runs, or 40 with experts, are
taken, each group of repeats once and each publisher by the square root of its groups, so that no one table rules. The
interval reaches as far up and down (as a ratio) as 80% of their errors are large: the sign of another publisher's error
says little about the next one's. Neighbours are few and share their publishers' habits, so ten stand-ins with errors of
the size known for the kind (10% dense, 30% with experts) are counted among them. For publishers whose level is known,
the errors are those with the model left out of the fit; for all others, plans among them, with the publisher left out.

Beyond 6,144 accelerators hardly anything is published: each doubling widens the interval by half of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lindos.plan.arrays import GENERATIONS, PRECISIONS, Array
from lindos.plan.case import Case
from lindos.plan.replay.residuals import Residual, active_parameters, shipped_residuals

Bools = NDArray[np.bool_]

SHARE = 0.8
"""Of measured runs that should lie within the interval."""
NEAREST = (30.0, 40.0)
"""Groups that count as near: dense, with experts."""
STAND_INS = 10.0
"""Groups that the stand-ins weigh."""
USUAL = (0.10, 0.30)
"""Standard deviation of the stand-ins' errors, as a logarithm: dense, with experts."""
USUAL_MEMORY = 0.05
"""The same for peak memory."""
LARGEST = 6144
"""Accelerators of the largest published runs that are many enough to tell anything."""
WIDER = 0.5
"""By how much of itself each doubling beyond them widens the interval."""
SCALES = (2.0, 1.5, 2.0)
"""Doublings of accelerators, sequence and parameters that lie as far apart as two generations do."""
NAMED = 5
CHUNK = 2048


@dataclass(frozen=True)
class Interval:
    """What the measured value may be, as ratios to the predicted one; one number a case."""

    low_ratio: Array
    high_ratio: Array
    nearest: list[tuple[int, ...]]
    """Rows of the shipped table that lie nearest, one a group, the nearest first."""
    extrapolated: Bools


@dataclass(frozen=True)
class Places:
    """Where cases lie: what distances are taken of."""

    mixture: Bools
    numbers: Array
    """Accelerators, sequence and active parameters as logarithms over their scales; one case a line."""
    kinds: Array
    """Generation, width of products and pipelining; each difference is one step away."""
    world: Array

    def take(self, index: object) -> Places:
        return Places(self.mixture[index], self.numbers[index], self.kinds[index], self.world[index])  # type: ignore[index]


def interval(
    case: Case,
    *,
    known: Bools | bool = False,
    exclude: Bools | None = None,
    residuals: Sequence[Residual] | None = None,
) -> Interval:
    """The intervals of step times. `known`: whose publisher's level is known; `exclude` (cases x residuals): neighbours
    that must not count."""
    return interval_at(places_of(case), known=known, exclude=exclude, residuals=residuals)


def interval_at(
    places: Places,
    *,
    known: Bools | bool = False,
    exclude: Bools | None = None,
    residuals: Sequence[Residual] | None = None,
) -> Interval:
    """The same for cases of which only the place is known."""
    told = shipped_residuals() if residuals is None else residuals
    count = len(places.world)
    widths = np.zeros(count)
    nearest: list[tuple[int, ...]] = [()] * count
    for by, chosen in (("error_model", known), ("error_publisher", np.logical_not(known))):
        index = np.flatnonzero(np.broadcast_to(chosen, count))
        table = _Table(told, by)
        for begin in range(0, len(index), CHUNK):
            some = index[begin : begin + CHUNK]
            left_out = None if exclude is None else np.broadcast_to(exclude, (count, len(told)))[some]
            widths[some], names = table.widths(places.take(some), left_out)
            for place, rows in zip(some.tolist(), names, strict=True):
                nearest[place] = rows
    beyond = np.log2(np.maximum(places.world / LARGEST, 1))
    widths = widths * (1 + WIDER * beyond)
    return Interval(np.exp(-widths), np.exp(widths), nearest, beyond > 0)


def memory_interval(residuals: Sequence[Residual] | None = None) -> tuple[float, float]:
    """What peak memory may be, as ratios to the predicted bytes: all published peaks of complete rows count alike."""
    told = shipped_residuals() if residuals is None else residuals
    kept = [r for r in told if not r.doubtful and not np.isnan(r.error_memory)]
    errors = np.abs([r.error_memory for r in kept])
    values, weights = _with_stand_ins(errors, USUAL_MEMORY)
    order = np.argsort(values)
    row = np.concatenate([once(kept), weights])[order]
    width = float(_quantiles(values[order], row[None])[0])
    return float(np.exp(-width)), float(np.exp(width))


def places_of(case: Case) -> Places:
    """Where these cases lie."""
    world = case.layout.world
    parts = [
        case.work.mixture_layers > 0, world, case.work.sequence, active_parameters(case), case.hardware.generation,
        case.layout.precision, case.layout.pipeline > 1,
    ]  # fmt: skip
    mixture, world, sequence, parameters, generation, precision, pipeline = (
        np.array(part) for part in np.broadcast_arrays(*parts)
    )
    return _places(mixture, (world, sequence, parameters), (generation, precision, pipeline))


def places_of_residuals(residuals: Sequence[Residual]) -> Places:
    """Where the published runs lie."""
    numbers = [np.array([getattr(r, k) for r in residuals], float) for k in ("accelerators", "sequence", "parameters")]
    generation = np.array([GENERATIONS.index(r.generation) for r in residuals], float)
    precision = np.array([PRECISIONS.index(r.precision) for r in residuals], float)
    kinds = (generation, precision, np.array([r.pipeline for r in residuals], float))
    return _places(np.array([r.mixture > 0 for r in residuals], bool), numbers, kinds)


def _places(mixture: Array, numbers: Sequence[Array], kinds: Sequence[Array]) -> Places:
    generation, precision, pipeline = kinds
    width = np.maximum(precision, 2) - 2  # 16 bits and more are one class, fp8 and fp4 two others
    logs = [np.log2(np.maximum(n, 1)) / scale for n, scale in zip(numbers, SCALES, strict=True)]
    return Places(
        mixture.astype(bool), np.stack(logs, 1), np.stack([generation, width, pipeline.astype(float)], 1), numbers[0]
    )


def once(residuals: Sequence[Residual]) -> Array:
    """The weight of each run, so that a group of repeats counts as one."""
    groups = Counter(r.group for r in residuals)
    return np.array([1 / groups[r.group] for r in residuals])


class _Table:
    """The errors of one kind, ready to be weighed for any case."""

    def __init__(self, residuals: Sequence[Residual], by: str):
        self.keep = np.flatnonzero([not r.doubtful and not np.isnan(getattr(r, by)) for r in residuals])
        self.rows = [residuals[i] for i in self.keep.tolist()]
        self.places = places_of_residuals(self.rows) if self.rows else None
        self.weights = once(self.rows)
        self.errors = np.abs([getattr(r, by) for r in self.rows])
        publishers = sorted({r.publisher for r in self.rows})
        self.publisher = np.array([publishers.index(r.publisher) for r in self.rows], int)
        self.belongs = np.eye(len(publishers))[self.publisher]

    def widths(self, places: Places, left_out: Bools | None) -> tuple[Array, list[tuple[int, ...]]]:
        """How far up and down, as a logarithm, and the nearest rows by name."""
        distance = self._distances(places)
        if left_out is not None:
            distance = np.where(left_out[:, self.keep], np.inf, distance)
        order = np.argsort(distance, axis=1, kind="stable")
        reached = np.cumsum(self.weights[order], axis=1) - self.weights[order]
        room = np.where(places.mixture, NEAREST[1], NEAREST[0])[:, None]
        near = np.zeros(distance.shape, bool)
        np.put_along_axis(near, order, reached < room, axis=1)
        near &= np.isfinite(distance)
        weights = self._balanced(near * self.weights)
        widths = np.zeros(len(places.world))
        for kind in (0, 1):
            of_kind = places.mixture == bool(kind)
            values, extra = _with_stand_ins(self.errors, USUAL[kind])
            columns = np.argsort(values, kind="stable")
            added = np.broadcast_to(extra, (int(of_kind.sum()), len(extra)))
            row = np.concatenate([weights[of_kind], added], axis=1)[:, columns]
            widths[of_kind] = _quantiles(values[columns], row)
        return widths, [self._names(line, mask) for line, mask in zip(order, near, strict=True)]

    def _distances(self, places: Places) -> Array:
        if self.places is None:
            return np.zeros((len(places.world), 0))
        far = ((places.numbers[:, None] - self.places.numbers) ** 2).sum(-1)
        far = far + (places.kinds[:, None] != self.places.kinds).sum(-1)
        return np.where(places.mixture[:, None] == self.places.mixture, far, np.inf)

    def _balanced(self, weights: Array) -> Array:
        """Publishers by the square root of their groups, the sum unchanged."""
        totals = weights @ self.belongs
        share = np.sqrt(np.maximum(totals, 1e-12))[:, self.publisher]
        balanced = weights / share
        sums = balanced.sum(1, keepdims=True)
        return balanced * weights.sum(1, keepdims=True) / np.where(sums > 0, sums, 1.0)

    def _names(self, order: NDArray[np.int64], near: Bools) -> tuple[int, ...]:
        found: dict[str, int] = {}
        for place in order.tolist():
            if len(found) == NAMED or not near[place]:
                break
            found.setdefault(self.rows[place].group, self.rows[place].index)
        return tuple(found.values())


def _with_stand_ins(errors: Array, usual: float) -> tuple[Array, Array]:
    """Errors with the stand-ins' behind them, and the stand-ins' weights."""
    count = 16
    normal = NormalDist(sigma=usual)
    spread = np.abs([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    return np.concatenate([errors, spread]), np.full(count, STAND_INS / count)


def _quantiles(values: Array, weights: Array) -> Array:
    """The weighted quantile SHARE of ascending values for each line of weights, between two values in proportion."""
    middles = np.cumsum(weights, axis=1) - weights / 2
    aim = SHARE * weights.sum(axis=1)
    return np.array(
        [np.interp(a, line[w > 0], values[w > 0]) for a, line, w in zip(aim, middles, weights, strict=True)]
    )

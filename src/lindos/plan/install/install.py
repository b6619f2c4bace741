"""What it would take to install a model: every machine of the catalogue, ranked by price among those fast enough.

Speeds are predictions of a bandwidth model (`decode`), not measurements: each carries an interval. Costs take a machine
to be busy all the time, so they are the lowest that can be reached.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from lindos.kernels import Probe
from lindos.plan.constants import shipped_constants
from lindos.plan.install.decode import Decode, decode
from lindos.plan.install.here import decode_here, here_precisions
from lindos.plan.install.packed import packed_precisions
from lindos.plan.money import (
    ELECTRICITY,
    HOURS_PER_MONTH,
    MACHINE_YEARS,
    HourPrice,
    machine_hour,
    machine_watts,
    per_million_tokens,
)
from lindos.specs import Machine, ModelSpec, Precision, Spec, SpecError

INTERACTIVE = 5.0
"""Tokens per second of one user at which an answer is pleasant to read while it comes: about reading speed."""
BATCHES = (8, 32, 256)

NotNegative = Annotated[float, Field(ge=0)]


class Figure(Spec):
    """A predicted number and its interval."""

    low: NotNegative
    value: NotNegative
    high: NotNegative

    @classmethod
    def around(cls, value: float, factor: float) -> Figure:
        """`factor` times lower and higher."""
        return cls(low=value / factor, value=value, high=value * factor)


class Speed(Spec):
    """Speed when up to `offered` sequences are at hand, of which the machine takes as many as pay."""

    offered: int
    taken: int
    """Sequences in a step; 0 where none fits."""
    tokens_per_second: Figure
    """Of all of them together."""
    dollars_per_million: Figure
    """Per million generated tokens, busy all the time; 0 where the price is unknown."""


class Installed(Spec):
    """One machine with the model on it, in one precision."""

    machine: str
    title: str
    kind: str
    precision: Precision
    alone: Decode
    """One user, the context full."""
    speeds: tuple[Speed, ...]
    """For one user first, then more."""
    price: NotNegative
    hour: HourPrice
    monthly_rent: NotNegative
    watts: NotNegative

    @property
    def fits(self) -> bool:
        return self.alone.fits

    @property
    def one(self) -> Figure:
        """Tokens per second of one user."""
        return self.speeds[0].tokens_per_second

    @property
    def best(self) -> Speed:
        """The most tokens per second; of equals, with the fewest sequences."""
        return max(self.speeds, key=lambda speed: (speed.tokens_per_second.value, -speed.offered))

    @property
    def interactive(self) -> bool:
        return self.fits and self.one.value >= INTERACTIVE


class Way(Spec):
    """The cheapest machine for a purpose."""

    precision: Precision
    purpose: str
    machine: str
    dollars: NotNegative
    unit: str
    """Of the dollars: `to buy`, `an hour`, `per million tokens`."""
    one: Figure


class InstallPlan(Spec):
    """The answer of `lindos plan install`."""

    model: str
    title: str
    parameters: int
    active_parameters: int
    context: int
    budget: float | None
    weight_bytes: dict[Precision, float]
    rows: tuple[Installed, ...]
    """Interactive ones by price, then the slower by price, then those that do not fit."""
    ways: tuple[Way, ...]
    here: tuple[Installed, ...] = ()
    """This machine with Lindos's own engine, where it was asked for."""
    probe: Probe | None = None
    assumptions: tuple[str, ...]


def plan_install(
    model: ModelSpec,
    *,
    precisions: Sequence[Precision],
    machines: Iterable[Machine],
    budget: float | None = None,
    batch: int | None = None,
    context: int | None = None,
    probe: Probe | None = None,
    constants: Mapping[str, float] | None = None,
) -> InstallPlan:
    """Rank the machines that the budget allows; with a probe, predict Lindos's own engine on this machine as well.

    `budget` is dollars to buy, or what a month of rent may cost. `batch` is offered beside 1, 8, 32 and 256.
    """
    constants = shipped_constants() if constants is None else constants
    if budget is not None and not 0 < budget < math.inf:  # nan is neither
        raise SpecError(f"the budget must be a number, more than 0 dollars (got {budget:g})")
    if not precisions:
        raise SpecError("give at least one precision")
    context = _context(model, context)
    offered = sorted({1, *BATCHES, batch or 1})
    rows = [
        installed(model, machine, precision, offered, context, constants)
        for machine in machines
        if _affordable(machine, budget)
        for precision in dict.fromkeys(precisions)
    ]
    rows.sort(key=_rank)
    here: list[Installed] = []
    if probe is not None:
        here = [_installed_here(model, probe, p, offered, context, constants) for p in here_precisions(model, probe)]
    return InstallPlan(
        model=model.name,
        title=model.title,
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        context=context,
        budget=budget,
        weight_bytes={p: model.weight_bytes(p) for p in dict.fromkeys(precisions)},
        rows=tuple(rows),
        ways=tuple(way for precision in dict.fromkeys(precisions) for way in cheapest(rows, precision)),
        here=tuple(here),
        probe=probe,
        assumptions=_assumptions(constants, context, bool(here)),
    )


def installed(
    model: ModelSpec,
    machine: Machine,
    precision: Precision,
    offered: Sequence[int],
    context: int,
    constants: Mapping[str, float],
) -> Installed:
    """One row: the machine with one user, and with each number of sequences offered (ascending, from 1)."""
    hour = machine_hour(machine)
    alone = decode(model, machine, precision, 1, context, constants)
    tried = [alone]
    if alone.fits:
        tried += [decode(model, machine, precision, b, context, constants) for b in _ladder(offered)]
    return Installed(
        machine=machine.name,
        title=machine.title,
        kind=machine.kind,
        precision=precision,
        alone=alone,
        speeds=_speeds(tried, offered, hour.lowest, [constants["install_spread"]] * 2),
        price=machine.price,
        hour=hour,
        monthly_rent=machine.rent * HOURS_PER_MONTH,
        watts=machine_watts(machine),
    )


def cheapest(rows: Iterable[Installed], precision: Precision) -> list[Way]:
    """The cheapest machines of one precision: to run it at all from memory, at reading speed, and per token."""
    memory = [row for row in rows if row.precision is precision and row.alone.from_memory]
    fast = [row for row in memory if row.interactive]
    found: list[Way] = []

    def add(purpose: str, unit: str, among: list[tuple[float, Installed]]) -> None:
        priced = [(dollars, row) for dollars, row in among if dollars]
        if priced:
            dollars, row = min(priced, key=lambda pair: (pair[0], -pair[1].one.value))
            found.append(
                Way(precision=precision, purpose=purpose, machine=row.machine, dollars=dollars, unit=unit, one=row.one)
            )

    add("runs from memory", "to buy", [(row.price, row) for row in memory])
    add(f"at least {INTERACTIVE:g} tokens/s", "to buy", [(row.price, row) for row in fast])
    add(f"at least {INTERACTIVE:g} tokens/s", "an hour", [(row.hour.rented, row) for row in fast])
    add("many users", "per million tokens", [(row.best.dollars_per_million.value, row) for row in memory])
    return found


def _context(model: ModelSpec, context: int | None) -> int:
    if context is None:
        return min(4096, model.sequence)
    if not 1 <= context <= model.sequence:
        raise SpecError(f"context must lie between 1 and {model.sequence:,}, what {model.name} is meant for")
    return context


def _affordable(machine: Machine, budget: float | None) -> bool:
    """Whether buying it, or a month of renting it, stays within the budget; a machine without a price does not."""
    if budget is None:
        return True
    costs = [cost for cost in (machine.price, machine.rent * HOURS_PER_MONTH) if cost]
    return bool(costs) and min(costs) <= budget


def _rank(row: Installed) -> tuple[bool, bool, bool, float, float]:
    """Order: fits, fast enough, price known, cheapest hour, speed."""
    return not row.fits, not row.interactive, not row.hour.lowest, row.hour.lowest, -row.one.value


def _ladder(offered: Sequence[int]) -> list[int]:
    """Batches worth trying for what is offered: powers of two and the numbers themselves."""
    powers = [1 << n for n in range(1, max(offered).bit_length())]
    return sorted({*powers, *offered} - {1})


def _speeds(
    tried: Sequence[Decode], offered: Sequence[int], hour: float, spreads: Sequence[float]
) -> tuple[Speed, ...]:
    """For each number offered, the fastest of the batches tried up to it: a server need not take all at once.

    `spreads` are the factors of the intervals with one sequence and with several.
    """
    found = []
    for count in offered:
        fitting = [step for step in tried if step.fits and step.batch <= count]
        best = max(fitting, key=lambda step: (step.tokens_per_second, -step.batch), default=None)
        rate, spread = best.tokens_per_second if best else 0.0, spreads[count > 1]
        found.append(
            Speed(
                offered=count,
                taken=best.batch if best else 0,
                tokens_per_second=Figure.around(rate, spread),
                dollars_per_million=Figure.around(per_million_tokens(hour, rate), spread),
            )
        )
    return tuple(found)


def _installed_here(
    model: ModelSpec, probe: Probe, precision: Precision, offered: Sequence[int], context: int,
    constants: Mapping[str, float],
) -> Installed:  # fmt: skip
    """This machine with Lindos's own engine; nobody asks its price."""
    tried = [decode_here(model, probe, precision, b, context, constants) for b in [1, *_ladder(offered)]]
    return Installed(
        machine="this-machine",
        title=f"{probe.processor}, {probe.cores} cores",
        kind="this machine",
        precision=precision,
        alone=tried[0],
        speeds=_speeds(tried, offered, 0.0, _here_spreads(tried, probe, constants)),
        price=0.0,
        hour=HourPrice(bought=0.0, rented=0.0),
        monthly_rent=0.0,
        watts=0.0,
    )


def _here_spreads(tried: Sequence[Decode], probe: Probe, constants: Mapping[str, float]) -> list[float]:
    """With one sequence, and with several: what was held against measurements is sure to so much."""
    near, far = constants["engine_spread"], constants["install_spread"]
    if tried[0].precision not in packed_precisions(probe):
        return [near, far]
    return [near if all(step.from_memory for step in tried if step.fits) else far] * 2


def _assumptions(constants: Mapping[str, float], context: int, here: bool) -> tuple[str, ...]:
    spread = constants["install_spread"]
    found = [
        "Speeds are predictions of a bandwidth model, not measurements; a tuned engine is assumed. "
        f"Intervals: {spread:g} times lower to {spread:g} times higher.",
        f"Every sequence has {context:,} tokens behind it, cached in bf16; the embedding is never below bf16 "
        "(int8 in Lindos's own quantised models).",
        f"Costs: busy all the time (100% utilisation); bought machines written off over {MACHINE_YEARS:g} years, "
        f"electricity at ${ELECTRICITY:g} per kWh; rented ones at list price. The cheaper way counts.",
    ]
    if here:
        found.append(
            "This machine: Lindos's own engine, quantised weights by its kernels as they were measured, others by "
            f"PyTorch. Intervals: {constants['engine_spread']:g} times with one user, or quantised weights in memory; "
            f"{spread:g} times with several users, or with experts on the disk, which are read when they are chosen."
        )
    return tuple(found)

"""Why the fastest layout wins: what each of its choices saves over the next best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lindos.plan.arrays import CHOICES
from lindos.plan.case import Case
from lindos.plan.memory import GIB, memory
from lindos.plan.search import NAMES, Found, as_layouts
from lindos.plan.step import step
from lindos.specs import Spec

ASKED = (
    "tensor", "pipeline", "virtual_stages", "schedule", "context", "expert", "sharding", "micro_batch", "recompute",
    "precision",
)  # fmt: skip


class Why(Spec):
    """One choice of the winner against the best layout that chooses otherwise."""

    field: str
    chosen: str
    instead: str
    slower: float
    """How much longer a step of the other takes, as a share."""
    because: str


def why(shared: Case, found: Found, constants: Mapping[str, float], limit: float) -> tuple[Why, ...]:
    """For each field, the fastest layout that fits with another value there, and where its time goes."""
    if not found.kinds:
        return ()
    seconds, row = found.best(1)[0]
    mine = _parts(shared, row, constants)
    reasons = []
    for field in ASKED:
        own = row[NAMES.index(field)]
        others = [scored for (name, value), scored in found.rivals.items() if name == field and value != own]
        if not others:
            continue
        other_seconds, other = min(others)
        reasons.append(
            Why(
                field=field.replace("_", " "),
                chosen=_spelt(field, own),
                instead=_spelt(field, other[NAMES.index(field)]),
                slower=other_seconds / seconds - 1,
                because=_because(mine, _parts(shared, other, constants), shared, row, other, limit),
            )
        )
    return tuple(sorted(reasons, key=lambda reason: -reason.slower))


def _parts(shared: Case, row: tuple[float, ...], constants: Mapping[str, float]) -> dict[str, float]:
    case = Case(shared.work, shared.hardware, as_layouts([row]), shared.software)
    return {name: float(value[0]) for name, value in step(case, constants).parts.items()}


def _because(
    mine: dict[str, float], theirs: dict[str, float], shared: Case, row: tuple[float, ...], other: tuple[float, ...],
    limit: float,
) -> str:  # fmt: skip
    """The part that grows the most; where none does, what memory says."""
    grows = {name: theirs[name] - mine[name] for name in mine}
    name = max(grows, key=lambda part: grows[part])
    total = sum(mine.values())
    if grows[name] > 0.002 * total:
        return f"{name}: {mine[name]:.3g} s here, {theirs[name]:.3g} s there"
    here, there = _gib(shared, row), _gib(shared, other)
    return f"no time between them; {here:.0f} GiB here, {there:.0f} GiB there, {limit / GIB:.0f} are free"


def _gib(shared: Case, row: tuple[float, ...]) -> float:
    case = Case(shared.work, shared.hardware, as_layouts([row]), shared.software)
    return float(memory(case).total[0]) / GIB


def _spelt(field: str, value: float) -> str:
    choices: Any = CHOICES.get(field)
    return str(choices[int(value)]) if choices else str(int(value))

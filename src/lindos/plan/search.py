"""Every layout of a cluster that divides, scored as arrays: memory for all of them, time for those that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

import numpy as np

from lindos.plan.arrays import PRECISIONS, RECOMPUTES, SCHEDULES, SHARDINGS, Array, Index, Layouts
from lindos.plan.case import Case
from lindos.plan.choices import Choices, Stages
from lindos.plan.memory import memory
from lindos.plan.step import step

CHUNK = 1 << 15
"""Candidates computed at once: large enough that NumPy's calls cost little, small enough for the caches."""
KIND = ("tensor", "pipeline", "context", "expert", "precision")
"""What makes two layouts different answers; of each kind the fastest is kept."""
SHOWN = 3000
"""Candidates kept for the picture of memory against speed, spread evenly over all."""
NAMES = tuple(f.name for f in fields(Layouts))
Scored = tuple[float, tuple[float, ...]]


@dataclass
class Found:
    """What a search saw and kept."""

    candidates: int = 0
    """Distinct layouts that divide."""
    fit: int = 0
    """Of them, those whose fullest rank fits its memory."""
    kinds: dict[float, Scored] = field(default_factory=dict)
    """The fastest layout of each kind."""
    rivals: dict[tuple[str, float], Scored] = field(default_factory=dict)
    """The fastest layout for each value of each field."""
    picture: list[tuple[float, float, bool]] = field(default_factory=list)
    """(bytes, seconds or NaN, fits) of some candidates."""
    smallest: Scored | None = None
    """The layout that takes the least memory; what to look at when nothing fits."""

    def best(self, count: int) -> list[Scored]:
        """(seconds of a step, the layout's fields) of the fastest kinds."""
        return sorted(self.kinds.values())[:count]


def as_layouts(rows: list[tuple[float, ...]]) -> Layouts:
    """Layouts from rows of numbers in the order of the fields."""
    table = np.array(rows, np.float64).reshape(len(rows), len(NAMES))
    return Layouts(**{name: table[:, i] for i, name in enumerate(NAMES)})


def search(shared: Case, choices: Choices, constants: Mapping[str, float], *, limit: float) -> Found:
    """Score every layout that `choices` allows; `limit` is the bytes a rank may take.

    `shared` is a case of length one: its work, hardware and software hold for all candidates.
    """
    found = Found()
    every = max(1, choices.estimate() // SHOWN)
    for table in _chunks(choices):
        layouts = Layouts(**{name: table[i] for i, name in enumerate(NAMES)})
        _score(found, Case(shared.work, shared.hardware, layouts, shared.software), table, constants, limit, every)
    return found


def _chunks(choices: Choices) -> Iterator[Array]:
    """Candidates as tables [field, candidate] of about CHUNK columns."""
    waiting: list[Array] = []
    size = 0
    for block in blocks(choices):
        waiting.append(block)
        size += block.shape[1]
        if size >= CHUNK:
            yield np.concatenate(waiting, axis=1)
            waiting, size = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


def blocks(choices: Choices) -> Iterator[Array]:
    """For each way to cut the model into ranks, all ways to spread the rest, as a table [field, candidate]."""
    position = {name: i for i, name in enumerate(NAMES)}
    for tensor, stages, context in product(choices.tensor, choices.stages, choices.context):
        inner = tensor * stages.pipeline * context
        if inner > choices.devices:
            continue
        rows = list(_inner(choices, tensor, stages, context))
        if not rows:
            continue
        table = np.empty((len(NAMES), len(rows)))
        table[[position[n] for n in ("shards", "replicas", "micro_batch", "expert", "sharding")]] = np.array(rows).T
        outer = {
            "tensor": tensor, "pipeline": stages.pipeline, "virtual_stages": stages.virtual, "context": context,
            "schedule": SCHEDULES.index(stages.schedule), "ends_count": stages.ends,
        }  # fmt: skip
        for name, value in outer.items():
            table[position[name]] = value
        ways = [(RECOMPUTES.index(r), PRECISIONS.index(p)) for r in choices.recompute for p in choices.precision]
        whole = np.repeat(table, len(ways), axis=1)
        whole[[position["recompute"], position["precision"]]] = np.tile(np.array(ways).T, len(rows))
        yield whole


def _inner(choices: Choices, tensor: int, stages: Stages, context: int) -> Iterator[tuple[int, ...]]:
    """(shards, replicas, micro-batch, expert, sharding) of all layouts with this tensor, these stages and context."""
    inner = tensor * stages.pipeline * context
    for micro in choices.micro_batch:
        for data in choices.data(inner, micro):
            if stages.virtual > 1 and choices.batch // (data * micro) % stages.pipeline:
                continue  # interleaving takes micro-batches in rounds of as many as there are stages
            experts = [e for e in choices.expert if choices.experts_divide(e, tensor, data * context * tensor)]
            # Sharding over a single rank is no other layout than not sharding.
            shardings = choices.sharding if data * context > 1 else choices.sharding[:1]
            for expert, sharding in product(experts, shardings):
                for shards in choices.shards(sharding, data, tensor * context):
                    yield shards, data // shards, micro, expert, SHARDINGS.index(sharding)


def _score(found: Found, case: Case, table: Array, constants: Mapping[str, float], limit: float, every: int) -> None:
    total = np.broadcast_to(memory(case).total, (table.shape[1],))
    fits = total <= limit
    start = -found.candidates % every
    found.candidates += table.shape[1]
    found.fit += int(fits.sum())
    least = int(np.argmin(total))
    if found.smallest is None or total[least] < found.smallest[0]:
        found.smallest = (float(total[least]), tuple(table[:, least]))
    index = np.flatnonzero(fits)
    seconds = np.full(table.shape[1], np.nan)
    if len(index):
        seconds[index] = step(case.take(index), constants).seconds
        _keep(found, table, seconds, index)
    for i in range(start, table.shape[1], every):
        found.picture.append((float(total[i]), float(seconds[i]), bool(fits[i])))


def _keep(found: Found, table: Array, seconds: Array, index: Index) -> None:
    """The fastest of a chunk, over all and for each value of each field."""
    order = index[np.argsort(seconds[index], kind="stable")]
    kind = np.zeros(len(order))
    for name in KIND:
        kind = kind * 4096 + table[NAMES.index(name), order]
    _fastest(found.kinds, lambda value: value, kind, table, seconds, order)
    for position, name in enumerate(NAMES):
        _fastest(found.rivals, lambda value, name=name: (name, value), table[position, order], table, seconds, order)


def _fastest(
    kept: dict[Any, Scored], key: Callable[[float], Any], values: Array, table: Array, seconds: Array, order: Index
) -> None:
    """For each distinct value keep the fastest layout; `order` lists the candidates from fast to slow."""
    distinct, first = np.unique(values, return_index=True)
    for value, at in zip(distinct, first, strict=True):
        i = order[at]
        name = key(float(value))
        if name not in kept or seconds[i] < kept[name][0]:
            kept[name] = (float(seconds[i]), tuple(table[:, i]))

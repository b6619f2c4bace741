"""Which values each field of a layout may take for one model, cluster and batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from lindos.plan.arrays import SHARDINGS, Hardware
from lindos.specs import ModelSpec, SpecError

LARGEST_TENSOR = 16
MOST_TOKENS = 1e18
MOST_SEQUENCES = 100_000_000
MOST_LAYERS = 10_000
SMALLEST_SLICE = 1024
"""Tokens of a sequence that a context rank keeps at least."""


class Stages(NamedTuple):
    """One way to cut the layers into pipeline stages."""

    pipeline: int
    virtual: int
    schedule: str
    ends: bool
    """Whether embedding and head take a layer's place."""


@dataclass(frozen=True)
class Choices:
    """The values of each field; what must divide is checked where fields meet."""

    model: ModelSpec
    devices: int
    domain: int
    sequence: int
    batch: int
    tensor: tuple[int, ...]
    stages: tuple[Stages, ...]
    context: tuple[int, ...]
    expert: tuple[int, ...]
    micro_batch: tuple[int, ...]
    sharding: tuple[str, ...]
    recompute: tuple[str, ...]
    precision: tuple[str, ...]

    def data(self, inner: int, micro: int) -> list[int]:
        """Numbers of data ranks: those that divide the batch and use an eighth of what is there or more, the eight
        largest; what they leave are spares."""
        most = min(self.devices // inner, self.batch // micro)
        if most < 1 or self.batch % micro:
            return []
        found = [d for d in _divisors(self.batch // micro) if most // 8 <= d <= most]
        return sorted(found, reverse=True)[:8]

    def experts_divide(self, expert: int, tensor: int, ranks: int) -> bool:
        """Whether experts can be spread over `expert` of a stage's ranks (or, with 1, be split by `tensor`)."""
        if expert == 1:
            return self.model.expert_width % tensor == 0
        return ranks % expert == 0

    def shards(self, sharding: str, data: int, inner: int) -> Iterable[int]:
        """Over how many data ranks state is sharded: all; weights also within a domain, or over eight of them."""
        if sharding != "weights":
            return (data,)
        near = [math.gcd(data, max(1, self.domain * times // inner)) for times in (1, 8)]
        return sorted({data, *near} - ({1} if data > 1 else set()))

    def estimate(self) -> int:
        """About how many candidates there are."""
        count = len(self.tensor) * len(self.stages) * len(self.context) * len(self.expert) * len(self.micro_batch)
        return count * len(self.sharding) * len(self.recompute) * len(self.precision) * 2


def choices_for(
    model: ModelSpec, hardware: Hardware, devices: int, *, sequence: int, batch: int,
    precision: Iterable[str], thorough: bool = True,
) -> Choices:  # fmt: skip
    """All choices of a model on so many devices; not `thorough`: those that usually win, for pictures."""
    if model.layers > MOST_LAYERS:
        raise SpecError(f"{model.name}: at most {MOST_LAYERS:,} layers are searched (got {model.layers:,})")
    domain = int(hardware.domain[0])
    largest = min(domain, LARGEST_TENSOR, devices)
    tensor = [t for t in _divisors(model.heads) if t <= largest and model.dense_width % t == 0]
    contexts = [c for c in (1, 2, 4, 8, 16, 32) if sequence % (2 * c) == 0 and sequence // c >= SMALLEST_SLICE] or [1]
    return Choices(
        model=model,
        devices=devices,
        domain=domain,
        sequence=sequence,
        batch=batch,
        tensor=tuple(tensor),
        stages=tuple(_stages(model, devices)),
        context=tuple(contexts),
        expert=tuple(_divisors(model.experts)) if model.experts else (1,),
        micro_batch=(1, 2, 4, 8, 16) if thorough else (1, 2, 4),
        sharding=SHARDINGS if thorough else ("optimizer", "weights"),
        recompute=("none", "selective", "full"),
        precision=tuple(precision),
    )


def _stages(model: ModelSpec, devices: int) -> Iterable[Stages]:
    """Cuts of the layers, and of the layers with embedding and head among them where that alone divides."""
    ends = model.layers + 2 + model.mtp_layers
    for pipeline in range(1, min(model.layers, devices) + 1):
        for virtual in range(1, ends // pipeline + 1):
            parts = pipeline * virtual
            even = model.layers % parts == 0
            if not even and (ends % parts or pipeline == 1):
                continue
            if pipeline == 1:
                if virtual == 1:
                    yield Stages(1, 1, "1f1b", False)
            elif virtual > 1:
                yield Stages(pipeline, virtual, "interleaved", not even)
            else:
                yield Stages(pipeline, 1, "1f1b", not even)
                yield Stages(pipeline, 1, "zero-bubble", not even)


@functools.lru_cache(maxsize=1024)
def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(max(number, 1)) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def check_amounts(*, tokens: float, sequence: int, batch: int) -> None:
    """Raise SpecError for amounts no run can have."""
    if math.isnan(tokens) or math.isinf(tokens):
        raise SpecError(f"tokens must be a number (got {tokens:g})")
    if not tokens > 0:
        raise SpecError(f"tokens must be more than zero (got {tokens:g})")
    if tokens > MOST_TOKENS:
        raise SpecError(f"tokens: {tokens:g} are more than any run; at most {MOST_TOKENS:g} are planned")
    if batch > MOST_SEQUENCES:
        raise SpecError(f"the batch: at most {MOST_SEQUENCES:,} sequences are planned (got {batch:,})")
    if sequence < 1:
        raise SpecError(f"the sequence must have at least one token (got {sequence})")
    if batch < 1:
        raise SpecError(f"the batch must have at least one sequence (got {batch})")
    if batch * sequence > tokens:
        raise SpecError(f"one batch ({batch:,} sequences of {sequence:,}) is more than all tokens ({tokens:g})")

"""What one rank multiplies and exchanges in a step, whatever the machine.

The step model itself says it, evaluated on a machine that does one operation a second and passes one byte a second,
where nothing starts, waits or overlaps: there its seconds are operations and bytes. So a trainer whose products and
exchanges are counted is held against the very formulas that planned times come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lindos.plan.arrays import PRECISIONS, Array, Hardware
from lindos.plan.case import Case
from lindos.plan.compute import Compute
from lindos.plan.network import Network
from lindos.plan.sharding import held_by, streams, weight_exchanges
from lindos.plan.stages import stage_of
from lindos.plan.step import stage

UNIT = Hardware.of(
    {
        "generation": 0, "peak16": 1, "peak8": 1, "peak4": 1, "memory_bytes": 1, "memory_bandwidth": math.inf,
        "watts": 0, "domain": math.inf, "link_bandwidth": 1, "port_bandwidth": 1, "latency": 0, "pod": math.inf,
        "oversubscription": 1, "ultra": 0,
    }
)  # fmt: skip
PRODUCTS = ("products", "attention", "head")
EXCHANGES = ("tensor parallel", "context parallel", "expert parallel")


class _Lossless(Mapping[str, float]):
    """Constants of a machine without losses: what multiplies is 1, what is added, or an exponent, 0."""

    ADDED = frozenset(
        ("wave_outputs", "tile_edge", "tile_rows", "imbalance", "head_exponent", "power_exponent", "collective_start",
         "exchange_start", "cast_bytes")
    )  # fmt: skip

    def __getitem__(self, name: str) -> float:
        return 0.0 if name in self.ADDED else 1.0

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class Volumes:
    """Of one rank and one step."""

    flops: dict[str, Array]
    """Operations of matrix products, by what they are for; recompute included."""
    moved: dict[str, Array]
    """Bytes through the rank's link, by the kind of parallelism."""

    @property
    def total_flops(self) -> Array:
        return sum(self.flops.values(), np.zeros(1))

    @property
    def total_moved(self) -> Array:
        return sum(self.moved.values(), np.zeros(1))


def volumes(case: Case, pipeline_rank: int) -> Volumes:
    """What a rank of this pipeline stage does in a step of each case."""
    plain = replace(case.layout, precision=np.array([float(PRECISIONS.index("bf16"))]))
    unit = replace(case, hardware=UNIT, layout=plain)
    constants = _Lossless()
    network, share = Network(unit, constants), stage_of(unit, pipeline_rank)
    once = stage(unit, constants, Compute(unit, constants), network, share)
    rounds, layout = case.micro_batches, case.layout
    moved = {name: once[name] * rounds for name in EXCHANGES}
    # A stage's stream to the next and its gradient back; every virtual stage but the last has a next one.
    ahead = layout.virtual_stages - share.heads
    behind = layout.virtual_stages - share.embeds
    moved["pipeline parallel"] = network.stage() * (ahead + behind) * rounds
    shared = weight_exchanges(unit, network, held_by(unit, share))
    each = shared.gathers + shared.gathers_again + shared.scatters
    summed = np.where(layout.sharding == 0, 2.0, 1.0) * shared.scatters
    often = np.where(layout.sharding == 2, rounds, 1.0)
    once_a_step = np.where(layout.sharding == 0, 0.0, shared.gathers) + summed * often
    moved["data parallel"] = np.where(streams(case), each * rounds, once_a_step) + shared.sums
    return Volumes({name: once[name] * rounds for name in PRODUCTS}, moved)

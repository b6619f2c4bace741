"""Where the weights and the KV cache of an installed model lie: accelerators, processors' memory, disk.

The parts every token passes come first and take the fastest place; experts fill what is left. A part may be split
between places (by layers, by experts), so that more memory never moves anything to a slower place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lindos.specs import Machine, ModelSpec, Precision

Place = Literal["accelerator", "host", "disk"]
PartName = Literal["embedding", "dense", "kv", "experts"]
PLACES: tuple[Place, ...] = ("accelerator", "host", "disk")


@dataclass(frozen=True)
class Placed:
    """Bytes of every part per place, and what found no room."""

    stored: Mapping[PartName, float]
    """Bytes of each part."""
    where: Mapping[PartName, Mapping[Place, float]]
    """Bytes of each part in each place."""
    missing: float
    """Bytes that found no room; 0 when everything fits."""

    def share(self, part: PartName, place: Place) -> float:
        """The share of a part that lies in a place; 0 of an empty part."""
        return self.where[part][place] / self.stored[part] if self.stored[part] else 0.0


def stored_bytes(spec: ModelSpec, precision: Precision, batch: int, context: int) -> dict[PartName, float]:
    """Bytes of each part; the weights' parts sum to `spec.weight_bytes(precision)` exactly.

    `embedding` holds embedding and head, `dense` everything else that every token passes (attention, norms, routers,
    shared experts, leading dense layers), `kv` the bf16 cache of `batch` sequences of `context` tokens.
    """
    experts = spec.mixture_layers * spec.experts * spec.expert_parameters
    dense = spec.parameters - spec.embedding_parameters - experts
    width = precision.bytes_per_weight
    return {
        "embedding": spec.embedding_parameters * max(width, Precision.BF16.bytes_per_weight),
        "dense": dense * width,
        "kv": kv_bytes(spec, batch, context),
        "experts": experts * width,
    }


def kv_bytes(spec: ModelSpec, batch: int, context: int) -> float:
    """Bytes of the bf16 cache of `batch` sequences of `context` tokens."""
    return float(math.ceil(batch * spec.kv_bytes_per_token() * spec.kv_tokens(context)))


def rooms(machine: Machine, constants: Mapping[str, float]) -> dict[Place, float]:
    """Whole bytes that weights and KV cache may fill in each place; 0 where a place is missing or its speed unknown."""
    found: dict[Place, float] = {"accelerator": 0.0, "host": 0.0, "disk": 0.0}
    gpu = machine.accelerator
    if gpu is not None:
        share = constants["install_accelerator_memory"]
        found["accelerator"] = float(math.floor(machine.accelerators * gpu.memory_bytes * share))
    if machine.host_bandwidth and not unified(machine):
        # What a probe found free is free: the system's own part is already out of it.
        share = 1.0 if machine.kind == "this machine" else constants["install_host_memory"]
        found["host"] = float(math.floor(machine.host_memory_bytes * share))
    if machine.disk_bandwidth and (found["host"] or found["accelerator"]):
        found["disk"] = float(math.floor(machine.disk_bytes))
    return found


def unified(machine: Machine) -> bool:
    """Whether accelerator and processors share one memory, so that it must not be counted twice."""
    return machine.accelerator is not None and machine.accelerator.generation == "apple"


def place(stored: Mapping[PartName, float], room: Mapping[Place, float]) -> Placed:
    """Fill the places from the fastest down, part by part; only experts may lie on disk."""
    left = dict(room)
    where: dict[PartName, dict[Place, float]] = {}
    missing = 0.0
    for part, size in stored.items():
        rest, taken = size, dict.fromkeys(PLACES, 0.0)
        for name in PLACES if part == "experts" else PLACES[:2]:
            taken[name] = min(rest, left[name])
            left[name] -= taken[name]
            rest -= taken[name]
        where[part] = taken
        missing += rest
    return Placed(stored, where, missing)


def distinct_experts(experts: int, chosen: int, tokens: int) -> float:
    """How many of a layer's experts `tokens` tokens touch together, if each chooses evenly: E (1 - (1 - k/E)^B)."""
    return experts * (1 - (1 - chosen / experts) ** tokens) if experts else 0.0


def cache_hits(share: float, touched: float, alone: float, constants: Mapping[str, float]) -> float:
    """How often an expert that is not on an accelerator is found in a recency cache of `share` of such experts.

    With one sequence routing is local in time: hits = share^p, with p so that an eighth of the experts hits two thirds.
    The more of a layer's experts a step touches (`touched`, a share; `alone` with one sequence), the less recency says;
    when it touches all of them, only what is cached hits.
    """
    if share <= 0:
        return 0.0
    power = math.log(constants["install_cache_hits"]) / math.log(constants["install_cache_small"])
    local = (1 - touched) / (1 - alone) if alone < 1 else 0.0
    return share + (share**power - share) * local

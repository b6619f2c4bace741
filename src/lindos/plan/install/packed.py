"""Speed of quantised models in Lindos's own engine on the machine at hand, from what a probe measured of its kernels.

A step reads each matrix once and multiplies it with the inputs that meet it: all rows of the step, or those that chose
the expert. Experts that memory does not hold are read from the disk meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lindos.kernels import Probe
from lindos.plan.install.decode import Decode, Part
from lindos.plan.install.places import (
    PartName,
    Place,
    Placed,
    cache_hits,
    distinct_experts,
    kv_bytes,
    place,
)
from lindos.specs import ModelSpec, Precision

CHUNK = 256
"""Tokens of a prompt that go through the network together, as many as the engine takes by default."""
EXACT = 64
"""Tokens beyond which all experts that are chosen are taken to be chosen by as many."""
TINY = 50_000_000
"""Active parameters below which the engine takes half of the cores, as `lindos.engine` does."""
CACHES = 32 << 20
"""Bytes a token reads of a model from which on nothing of it stays in the processor's caches."""
INT8_BYTES = 1 + 2 / 32
"""With a scale for each 32 weights."""


def packed_precisions(measured: Probe) -> tuple[Precision, ...]:
    """The formats whose kernels were measured, widest first."""
    return tuple(dict.fromkeys(rate.precision for rate in measured.kernel_rates))


def packed_bytes(spec: ModelSpec, precision: Precision, batch: int, context: int) -> dict[PartName, float]:
    """Bytes of each part as `lindos convert --quantise` stores it: embedding and head are int8 beside int4."""
    experts = spec.mixture_layers * spec.experts * spec.expert_parameters
    dense = spec.parameters - spec.embedding_parameters - experts
    ends = Precision.INT8 if precision is Precision.INT4 else precision
    return {
        "embedding": spec.embedding_parameters * _bytes(ends),
        "dense": dense * _bytes(precision),
        "kv": kv_bytes(spec, batch, context),
        "experts": experts * _bytes(precision),
    }


def decode_packed(
    spec: ModelSpec, measured: Probe, precision: Precision, batch: int, context: int, constants: Mapping[str, float]
) -> Decode:
    """Place a computable model in memory and on the disk of this machine, and time a step of Lindos's own engine."""
    stored = packed_bytes(spec, precision, batch, context)
    room: dict[Place, float] = {
        "accelerator": 0.0,
        "host": float(int(measured.memory_available * constants["packed_memory"])),
        "disk": float(int(measured.disk_free)) if measured.disk_bandwidth else 0.0,
    }
    placed = place(stored, room)
    asked = Decode(
        model=spec.name,
        machine="this-machine",
        precision=precision,
        batch=batch,
        context=context,
        fits=not placed.missing,
    )
    if placed.missing:
        reason = (
            f"{sum(stored.values()) / 1e9:,.1f} GB are {placed.missing / 1e9:,.1f} GB more than memory and disk hold"
        )
        return asked.model_copy(update={"missing_bytes": placed.missing, "reason": reason})
    step = _Step(spec, measured, precision, placed, constants)
    chunk = min(context, CHUNK)
    parts, disk = step.parts(batch, context, batch), step.disk(batch)
    prompt = sum(step.parts(chunk, context // 2, 1).values()) + step.overhead(chunk, 1)
    waiting = max(0.0, disk - sum(parts.values()))  # what the disk takes beyond what the kernels do meanwhile
    prompt_waiting = max(0.0, step.disk(chunk) - prompt)
    overhead = step.overhead(batch, batch)
    return asked.model_copy(
        update={
            "parts": tuple(Part(name=name, **placed.where[name], seconds=parts[name]) for name in stored),
            "host_experts": "computed" if spec.mixture_layers else "none",
            "disk_experts": "cached" if placed.where["experts"]["disk"] else "none",
            "disk_hits": step.hits(batch),
            "disk_seconds": waiting,
            "launch_seconds": overhead,
            "step_seconds": sum(parts.values()) + waiting + overhead,
            "prefill_tokens_per_second": chunk / (prompt + prompt_waiting),
        }
    )


class _Step:
    """Times the parts of a step."""

    def __init__(
        self,
        spec: ModelSpec,
        measured: Probe,
        precision: Precision,
        placed: Placed,
        constants: Mapping[str, float],
    ) -> None:
        self._spec, self._measured, self._placed, self._constants = spec, measured, placed, constants
        self._precision = precision
        half = spec.active_parameters < TINY and measured.cores > 1
        self._cores = measured.cores // 2 / measured.cores if half else 1.0
        self._ends = Precision.INT8 if precision is Precision.INT4 else precision
        active = placed.stored["embedding"] + placed.stored["dense"]
        active += placed.stored["experts"] * spec.experts_per_token / spec.experts if spec.experts else 0.0
        self._cold = min(1.0, active / CACHES)

    def parts(self, rows: int, context: int, sampled: int) -> dict[PartName, float]:
        """Seconds of `rows` tokens with `context` tokens behind each, `sampled` of which give logits."""
        spec = self._spec
        experts = spec.mixture_layers * spec.experts * spec.expert_parameters
        dense = spec.parameters - spec.embedding_parameters - experts
        seconds: dict[PartName, float] = {
            "embedding": self._product(self._ends, spec.vocabulary * spec.width, sampled),
            "dense": self._product(self._precision, dense, rows),
            "kv": self._attention(rows, context, sampled),
            "experts": 0.0,
        }
        if spec.experts:
            weights = spec.mixture_layers * spec.experts * spec.expert_parameters
            shares = chosen_by(spec.experts, spec.experts_per_token, rows)
            seconds["experts"] = sum(share * self._product(self._precision, weights, met) for met, share in shares)
        return seconds

    def disk(self, rows: int) -> float:
        """Seconds that the disk takes for the experts of a step that are not in memory."""
        if not self._placed.where["experts"]["disk"]:
            return 0.0
        touched = self._placed.stored["experts"] * self._touched(rows) / self._spec.experts
        return touched * (1 - self.hits(rows)) / self._measured.disk_bandwidth

    def hits(self, rows: int) -> float:
        """Share of a step's experts that memory holds."""
        share = self._placed.share("experts", "host")
        if share >= 1 or not self._spec.experts:
            return 1.0
        touched, alone = self._touched(rows) / self._spec.experts, self._touched(1) / self._spec.experts
        return cache_hits(share, touched, alone, self._constants)

    def overhead(self, rows: int, sampled: int) -> float:
        """Seconds beside kernels: Python once a step, threads that wait for each other, and what each token takes."""
        constants = self._constants
        calls = constants["packed_step_calls"] + self._spec.layers * constants["packed_layer_calls"]
        # Weights that sweep the caches take the code out of them, too.
        calls *= self._cold + (1 - self._cold) * constants["packed_warm_calls"]
        calls += sampled * constants["packed_sampled_calls"] + rows * constants["packed_row_calls"]
        return calls * self._measured.call_seconds

    def _touched(self, rows: int) -> float:
        """Experts of a layer."""
        return distinct_experts(self._spec.experts, self._spec.experts_per_token, rows)

    def _product(self, precision: Precision, weights: float, rows: float) -> float:
        known = [(r.rows, 1 / r.weights_per_second) for r in self._measured.kernel_rates if r.precision is precision]
        from_memory, arithmetic = seconds_per_weight(known, rows), rows * min(each / met for met, each in known)
        cached = max(arithmetic, from_memory / self._constants["packed_cached"])
        return weights * (self._cold * from_memory + (1 - self._cold) * cached) / self._cores

    def _attention(self, rows: int, context: int, sequences: int) -> float:
        """Each sequence's keys and values are read once for all of its rows; the products are each row's own."""
        spec, measured, constants = self._spec, self._measured, self._constants
        read = kv_bytes(spec, sequences, context) / measured.memory_bandwidth
        flops = rows * 4 * spec.heads * spec.head_size * spec.kv_tokens(context) * spec.layers
        return max(read, flops / measured.matrix_flops) / constants["packed_attention_share"]


def chosen_by(experts: int, chosen: int, rows: int) -> list[tuple[float, float]]:
    """(inputs, share): by how many of `rows` tokens what share of a layer's experts is chosen, if choices are even."""
    chance = chosen / experts
    if rows > EXACT or chance == 1:
        some = 1 - (1 - chance) ** rows
        return [(rows * chance / some, some)]
    return [(met, math.comb(rows, met) * chance**met * (1 - chance) ** (rows - met)) for met in range(1, rows + 1)]


def seconds_per_weight(known: Sequence[tuple[int, float]], rows: float) -> float:
    """Between the (rows, seconds) that were measured along straight lines; beyond the last as much for each row."""
    points = sorted(known)
    for (low, fast), (high, slow) in pairwise(points):
        if rows <= high:
            return fast + (slow - fast) * max(0.0, rows - low) / (high - low)
    last, seconds = points[-1]
    return seconds * max(1.0, rows / last)


def _bytes(precision: Precision) -> float:
    return INT8_BYTES if precision is Precision.INT8 else precision.bytes_per_weight

"""Speed of an installed model: bytes touched over the bandwidth of the place they lie in, arithmetic, links, launches.

A model of bandwidths, not of one engine: what share of a data sheet's bandwidth engines reach stands in the constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lindos.plan.constants import shipped_constants
from lindos.plan.install.places import (
    PartName,
    Place,
    Placed,
    cache_hits,
    distinct_experts,
    kv_bytes,
    place,
    rooms,
    stored_bytes,
    unified,
)
from lindos.specs import Machine, ModelSpec, Precision, Spec, SpecError

CHUNK = 2048
"""Tokens of a prompt that go through the network together."""
LATENCY_DEVICES = 8
"""Up to so many accelerators the latencies of the constants hold for an all-reduce; over more it grows."""
NEVER = float("inf")


class Part(Spec):
    """One part of the model: where it lies (bytes) and what it costs in a step (seconds)."""

    name: PartName
    accelerator: float
    host: float
    disk: float
    seconds: float
    """Reading it and computing with it, wherever it lies."""


class Decode(Spec):
    """One model on one machine: does it fit, where does everything lie, how long does a decode step take."""

    model: str
    machine: str
    precision: Precision
    batch: int
    context: int
    """Tokens behind each sequence, all of them cached."""
    fits: bool
    missing_bytes: float = 0.0
    """How many bytes found no room."""
    reason: str = ""
    """Why it does not fit."""
    parts: tuple[Part, ...] = ()

    split: Literal["one", "tensor", "layers"] = "one"
    """How several accelerators share the work: not at all, every matrix over all of them, or layer after layer."""
    host_experts: Literal["none", "computed", "streamed"] = "none"
    """What happens to experts in the processors' memory: the processors compute them, or accelerators fetch them."""
    disk_experts: Literal["none", "cached", "swept"] = "none"
    """Experts on disk: read when chosen and not in memory, or all of them once a step."""
    disk_hits: float = 1.0
    """Share of the chosen experts off the accelerators that need not be read from disk."""

    disk_seconds: float = 0.0
    """Waiting for the disk, within a step."""
    link_seconds: float = 0.0
    launch_seconds: float = 0.0
    step_seconds: float = 0.0
    prefill_tokens_per_second: float = 0.0
    """How fast one prompt of `context` tokens is read."""

    @property
    def from_memory(self) -> bool:
        """Whether it runs without reading weights from disk."""
        return self.fits and not any(part.disk for part in self.parts)

    @property
    def user_tokens_per_second(self) -> float:
        """What one sequence of the batch gets; 0 where it does not fit."""
        return 1 / self.step_seconds if self.fits else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of all sequences together."""
        return self.batch * self.user_tokens_per_second

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights, wherever they lie."""
        return sum(p.accelerator + p.host + p.disk for p in self.parts if p.name != "kv")


def decode(
    spec: ModelSpec,
    machine: Machine,
    precision: Precision = Precision.BF16,
    batch: int = 1,
    context: int = 4096,
    constants: Mapping[str, float] | None = None,
) -> Decode:
    """Place the model on the machine and time one decode step of `batch` sequences. Raises SpecError."""
    if batch < 1 or context < 1:
        raise SpecError(f"batch and context must be at least 1 (got {batch} and {context})")
    constants = shipped_constants() if constants is None else constants
    room = rooms(machine, constants)
    placed = place(stored_bytes(spec, precision, batch, context), room)
    asked = Decode(
        model=spec.name,
        machine=machine.name,
        precision=precision,
        batch=batch,
        context=context,
        fits=not placed.missing,
    )
    if placed.missing:
        return asked.model_copy(update=_misfit(placed, room))
    network = _Network(spec, machine, precision, placed, constants)
    flops = batch * spec.forward_flops_per_token(context)
    step = network.step(batch, placed.stored["kv"], flops)
    chunk = min(context, CHUNK)
    prompt = network.step(
        chunk, kv_bytes(spec, 1, -(-context // 2)), chunk * spec.forward_flops_per_token(context // 2)
    )
    parts = tuple(Part(name=name, **placed.where[name], seconds=step.parts.get(name, 0.0)) for name in placed.stored)
    return asked.model_copy(
        update={
            "parts": parts,
            "split": step.split,
            "host_experts": step.host_experts,
            "disk_experts": step.disk_experts,
            "disk_hits": step.disk_hits,
            "disk_seconds": step.disk,
            "link_seconds": step.link,
            "launch_seconds": step.launch,
            "step_seconds": step.seconds,
            "prefill_tokens_per_second": chunk / prompt.seconds,
        }
    )


def _misfit(placed: Placed, room: Mapping[Place, float]) -> dict[str, object]:
    total, memory = sum(placed.stored.values()), room["accelerator"] + room["host"]
    text = (
        f"needs {total / 1e9:,.1f} GB (KV cache {placed.stored['kv'] / 1e9:,.1f} GB), {memory / 1e9:,.1f} GB of memory"
    )
    text += f" and {room['disk'] / 1e9:,.0f} GB of disk are usable" if room["disk"] else " are usable"
    stuck = "" if not room["disk"] else "; only experts may lie on disk"
    return {"missing_bytes": placed.missing, "reason": f"{text}: {placed.missing / 1e9:,.1f} GB short{stuck}"}


@dataclass(frozen=True)
class _Step:
    """Seconds of one step; those of `parts` include arithmetic, `disk` is waiting beyond them."""

    parts: dict[PartName, float]
    split: Literal["one", "tensor", "layers"]
    host_experts: Literal["none", "computed", "streamed"]
    disk_experts: Literal["none", "cached", "swept"]
    disk_hits: float
    disk: float
    link: float
    launch: float

    @property
    def seconds(self) -> float:
        return sum(self.parts.values()) + self.disk + self.link + self.launch


@dataclass(frozen=True)
class _Network:
    """A placed model, ready to be timed."""

    spec: ModelSpec
    machine: Machine
    precision: Precision
    placed: Placed
    constants: Mapping[str, float]

    def step(self, tokens: int, kv_read: float, flops: float) -> _Step:
        """`tokens` go through the network together, `kv_read` bytes of cache are read."""
        touched, work = self._touched(tokens, kv_read), self._work(tokens, flops)
        several = self.machine.accelerators > 1
        splits: tuple[Literal["one", "tensor", "layers"], ...] = ("tensor", "layers") if several else ("one",)
        return min((self._timed(split, tokens, touched, work) for split in splits), key=lambda step: step.seconds)

    @property
    def _hostless(self) -> bool:
        """Whether accelerators read the disk themselves: one memory for all, or nothing known of the processors'."""
        return self.machine.accelerator is not None and (unified(self.machine) or not self.machine.host_bandwidth)

    def _touched(self, tokens: int, kv_read: float) -> dict[PartName, float]:
        """Bytes of each part that a step reads: of the embedding only the looked-up rows, of the experts the chosen."""
        spec, stored = self.spec, self.placed.stored
        width = max(self.precision.bytes_per_weight, Precision.BF16.bytes_per_weight)
        distinct = distinct_experts(spec.experts, spec.experts_per_token, tokens)
        return {
            "embedding": (spec.vocabulary + tokens) * spec.width * width,
            "dense": stored["dense"],
            "kv": kv_read,
            "experts": stored["experts"] * (distinct / spec.experts if spec.experts else 0.0),
        }

    def _work(self, tokens: int, flops: float) -> dict[PartName, float]:
        """Operations of each part; attention over the cache is what the others leave of `flops`."""
        spec = self.spec
        head = 2.0 * tokens * spec.width * spec.vocabulary
        matrices = 3 if spec.gated else 2
        experts = (
            2.0 * tokens * spec.mixture_layers * spec.experts_per_token * matrices * spec.width * spec.expert_width
        )
        products = 2.0 * tokens * spec.layers * spec.attention_matrices
        products += 2.0 * tokens * spec.dense_layers * matrices * spec.width * spec.dense_width
        products += 2.0 * tokens * spec.mixture_layers * spec.width * (matrices * spec.shared_width + spec.experts)
        cache = max(0.0, flops - head - experts - products)
        return {"embedding": head, "dense": products, "kv": cache, "experts": experts}

    def _timed(
        self, split: Literal["one", "tensor", "layers"], tokens: int, touched: dict[PartName, float],
        work: dict[PartName, float],
    ) -> _Step:  # fmt: skip
        units = self.machine.accelerators if split == "tensor" else min(1, self.machine.accelerators)
        parts: dict[PartName, float] = {}
        for name in ("embedding", "dense", "kv"):
            on, off = self.placed.share(name, "accelerator"), self.placed.share(name, "host")
            beside, _ = self._beside(off * touched[name], off * work[name], units)
            parts[name] = self._accelerated(on * touched[name], on * work[name], units) + beside
        on = self.placed.share("experts", "accelerator")
        off = 1 - on if self.placed.stored["experts"] else 0.0
        beside, how = self._beside(off * touched["experts"], off * work["experts"], units)
        parts["experts"] = self._accelerated(on * touched["experts"], on * work["experts"], units) + beside
        disk, waiting, hits = self._disk(tokens, touched["experts"], beside)
        return _Step(
            parts=parts,
            split=split,
            host_experts=how if off else "none",
            disk_experts=disk,
            disk_hits=hits,
            disk=waiting,
            link=self._links(tokens) if split == "tensor" else 0.0,
            launch=self._launches(),
        )

    def _accelerated(self, size: float, flops: float, units: int) -> float:
        gpu = self.machine.accelerator
        if gpu is None or not size + flops:
            return 0.0
        bandwidth = units * gpu.memory_bandwidth * self.constants["install_accelerator_bandwidth"]
        rate = units * rate_of(gpu.peak_flops, self.precision) * self.constants["install_accelerator_flops"]
        return max(size / bandwidth, flops / rate)

    def _beside(self, size: float, flops: float, units: int) -> tuple[float, Literal["computed", "streamed"]]:
        """What lies off the accelerators: the processors compute with it, or an accelerator fetches it, if faster."""
        if not size + flops:
            return 0.0, "computed"
        if units and self._hostless:
            return self._accelerated(size, flops, units), "streamed"  # from disk straight to where it is needed
        computed, streamed = self._hosted(size, flops), NEVER
        if units and self.machine.host_link and self.machine.host_bandwidth:
            link = (
                min(units * self.machine.host_link, self.machine.host_bandwidth) * self.constants["install_host_link"]
            )
            streamed = max(size / link, self._accelerated(size, flops, units))
        return (computed, "computed") if computed <= streamed else (streamed, "streamed")

    def _hosted(self, size: float, flops: float) -> float:
        machine = self.machine
        # A probed bandwidth was reached; a data sheet's never is.
        share = "engine_memory_share" if machine.kind == "this machine" else "install_host_bandwidth"
        bandwidth = machine.host_bandwidth * self.constants[share]
        peak = max(1, machine.cores) * self.constants["install_core_flops"]
        # Processors multiply int4 weights in int8 (VNNI, AMX), as llama.cpp does; accelerators widen them.
        units = Precision.INT8 if self.precision is Precision.INT4 else self.precision
        rate = rate_of(machine.host_flops or {Precision.FP32: peak}, units)
        return max(size / bandwidth, flops / (rate * self.constants["install_host_flops"])) if bandwidth else NEVER

    def _disk(
        self, tokens: int, touched: float, computing: float
    ) -> tuple[Literal["none", "cached", "swept"], float, float]:
        """How experts on disk are had, the seconds they hold up a step, and the share that need not be read.

        The processors' memory is their cache; accelerators' memory is where there is no other, else it holds the same
        experts all the time.
        """
        where = self.placed.where["experts"]
        if not where["disk"]:
            return "none", 0.0, 1.0
        spec = self.spec
        bandwidth = self.machine.disk_bandwidth * self.constants["install_disk_bandwidth"]
        distinct = distinct_experts(spec.experts, spec.experts_per_token, tokens) / spec.experts
        memory = where["accelerator"] if self._hostless else where["host"]
        touched *= (memory + where["disk"]) / self.placed.stored["experts"]
        cached = memory / (memory + where["disk"])
        hits = cache_hits(cached, distinct, spec.experts_per_token / spec.experts, self.constants)
        waiting = touched * (1 - hits) / bandwidth
        # A sweep knows what comes next, so reading runs beside computing.
        swept = max(0.0, where["disk"] / bandwidth - computing)
        return ("cached", waiting, hits) if waiting <= swept else ("swept", swept, cached)

    def _links(self, tokens: int) -> float:
        """Two ring all-reduces a layer of the tokens' bf16 residual stream: 2 (n-1)/n of its bytes over one link.

        A message crosses the devices in about log2(n) hops, so that latency grows with it.
        """
        machine, gpu = self.machine, self.machine.accelerator
        if gpu is None:
            return 0.0
        count = machine.accelerators
        direct = bool(gpu.link_bandwidth) and gpu.link_domain >= count
        bandwidth = gpu.link_bandwidth if direct else machine.host_link
        if not bandwidth:
            return NEVER
        latency = self.constants["install_link_latency" if direct else "install_pcie_latency"]
        latency *= max(1.0, math.log2(count) / math.log2(LATENCY_DEVICES))
        size = 2 * (count - 1) / count * tokens * self.spec.width * Precision.BF16.bytes_per_weight
        return 2 * self.spec.layers * (latency + size / (bandwidth * self.constants["install_link_bandwidth"]))

    def _launches(self) -> float:
        each = "install_host_layer" if self.machine.accelerator is None else "install_accelerator_layer"
        return self.spec.layers * self.constants[each]


def rate_of(peaks: Mapping[Precision, float], precision: Precision) -> float:
    """Peak operations per second for weights of a precision: in its own units, or widened to bf16, fp16 or fp32.

    int4 weights are widened: no engine in wide use multiplies whole numbers in four bits.
    """
    own = () if precision is Precision.INT4 else (precision,)
    found = [peaks[p] for p in (*own, Precision.BF16, Precision.FP16, Precision.FP32) if p in peaks]
    return max(found) if found else max(peaks.values())

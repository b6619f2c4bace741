"""Cases as arrays: what one training step depends on, one number a case, so that a million are computed at once.

`Work` is a model's sizes and its batch, `Hardware` a cluster's figures, `Layouts` how the work is spread, `Software`
what runs it. Each field is a NumPy array of one number a case, or of one number that all cases share; every formula of
the planner is written in these names and broadcasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lindos.specs import Accelerator, Cluster, Layout, ModelSpec, Precision, SpecError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]
Some = TypeVar("Some", bound="Columns")

GENERATIONS = ("ampere", "hopper", "blackwell")
"""Whose efficiencies are fitted; others borrow (`BORROWED`), and the plan says so."""
BORROWED = {
    "volta": "ampere", "ada": "ampere", "cdna3": "hopper", "apple": "ampere", "tpu-v3": "ampere", "tpu-v4": "ampere",
    "tpu-v5e": "ampere", "tpu-v5p": "hopper", "tpu-v6e": "hopper",
}  # fmt: skip
VARIANTS = {"blackwell-ultra": "blackwell"}
"""Generations that are another's with a difference the formulas know."""
SHARDINGS = ("none", "optimizer", "gradients", "weights")
RECOMPUTES = ("none", "selective", "full")
SCHEDULES = ("1f1b", "interleaved", "zero-bubble")
PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "fp4")


@dataclass(frozen=True)
class Columns:
    """Arrays of one length (or of length one) under names."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From numbers or sequences of numbers."""
        return cls(**{f.name: np.atleast_1d(np.asarray(values[f.name], np.float64)) for f in fields(cls)})

    def table(self) -> dict[str, Array]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def take(self, index: Any) -> Self:
        """Some of the cases; a shared number stays shared."""
        return type(self)(**{k: v if v.size == 1 else v[index] for k, v in self.table().items()})


def stack(parts: Sequence[Some]) -> Some:
    """Cases of one number each, one after another."""
    kind = type(parts[0])
    return kind(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(kind)})


@dataclass(frozen=True)
class Work(Columns):
    """Sizes of a model, one sequence and one optimiser step of it."""

    layers: Array
    mixture_layers: Array
    width: Array
    heads: Array
    kv_heads: Array
    query_key_size: Array
    value_size: Array
    head_size: Array
    kv_rank: Array
    query_rank: Array
    rope_size: Array
    vocabulary: Array
    positions: Array
    dense_width: Array
    experts: Array
    chosen: Array
    """Experts a token passes."""
    expert_width: Array
    shared_width: Array
    ways_in: Array
    """Matrices into an MLP: 2 with a gate, 1 without."""
    mtp_layers: Array
    window: Array
    full_share: Array
    """Share of the layers whose attention sees everything."""
    tied: Array
    norms: Array
    query_key_norms: Array
    """1 where queries and keys are normed."""
    routed_nodes: Array
    """At most so many machines receive one token; 0: no limit."""
    plain_experts: Array
    """1 where experts add biases or clamp, which no fused activation does."""
    attention_matrices: Array
    layer_fixed: Array
    """Parameters of a layer with experts, the experts apart."""
    expert_parameters: Array
    dense_layer_parameters: Array
    embedding_parameters: Array
    sequence: Array
    batch: Array
    """Sequences in one optimiser step."""


@dataclass(frozen=True)
class Hardware(Columns):
    """Figures of one accelerator and of the network it is in."""

    generation: Array
    """Index into GENERATIONS."""
    peak16: Array
    peak8: Array
    peak4: Array
    memory_bytes: Array
    memory_bandwidth: Array
    watts: Array
    domain: Array
    """Accelerators linked directly."""
    link_bandwidth: Array
    """Bytes per second and direction of one accelerator into its domain."""
    port_bandwidth: Array
    """Bytes per second and direction of one accelerator's share of its machine's ports."""
    latency: Array
    """Seconds of a small message between machines."""
    pod: Array
    """Accelerators that reach each other at full bandwidth."""
    oversubscription: Array
    ultra: Array
    """1 where exponentials, and so softmax, run at twice their generation's rate (Blackwell Ultra)."""


@dataclass(frozen=True)
class Layouts(Columns):
    """Degrees of parallelism; the names are those of `Layout`, choices are indices into the tuples above."""

    replicas: Array
    shards: Array
    tensor: Array
    pipeline: Array
    virtual_stages: Array
    schedule: Array
    ends_count: Array
    context: Array
    expert: Array
    sharding: Array
    micro_batch: Array
    recompute: Array
    precision: Array

    @property
    def data(self) -> Array:
        return self.replicas * self.shards

    @property
    def world(self) -> Array:
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def stage_ranks(self) -> Array:
        return self.data * self.tensor * self.context

    def layout(self, index: int) -> Layout:
        """One of them as a spec."""
        values: dict[str, Any] = {k: int(v[0] if v.size == 1 else v[index]) for k, v in self.table().items()}
        for name, choices in CHOICES.items():
            values[name] = choices[values[name]]
        return Layout(**{**values, "ends_count": bool(values["ends_count"])})


CHOICES = {"schedule": SCHEDULES, "sharding": SHARDINGS, "recompute": RECOMPUTES, "precision": PRECISIONS}


@dataclass(frozen=True)
class Software(Columns):
    """What runs the step."""

    date: Array
    """Year of the release, as a decimal."""
    flash: Array
    """How attention is computed: 0 with its scores in memory, 1 and 2 fused as in FlashAttention 1 and 2, 3 fused for
    the accelerator's own generation (FlashAttention-3, cuDNN 9)."""
    query_block: Array
    """Queries whose scores are computed together, those behind a key included; 0 where the rates allow for it."""
    gathering: Array
    """1 where sharded weights are gathered in buckets and ahead of their use; 0: one by one, as in 2021."""
    compiled: Array
    """1 where norms, activations and residuals are fused; 0 in eager mode."""
    graphs: Array
    """Share of the launches that CUDA graphs take from the host: 0, about a half (parts of a layer), 1."""
    dispatch_overlap: Array
    """1 where the experts' exchange is overlapped with other micro-batches' products."""
    tensor_overlap: Array
    """1 where tensor-parallel exchanges are overlapped with products."""
    sequence_parallel: Array
    """1 where tensor ranks split norms and residuals by tokens."""
    gathered_again: Array
    """1 where what tensor ranks gather before a product is gathered once more for its weights' gradient, not kept, and
    nothing hides it."""
    stops_early: Array
    """1 where full recompute ends with the last thing that the backward pass needs."""
    gradient_bytes: Array
    """Of one gradient where it is accumulated and reduced."""
    ends_kept: Array
    """1 where embedding and head stay gathered between a forward pass and its backward pass."""
    key_gradient_bytes: Array
    """Of a key's or value's gradient on its way around a context group."""
    site: Array
    """What a matrix product reaches at this site, as a share of what it usually reaches."""
    logit_bytes: Array
    """Bytes a logit takes with all the loss makes of it: 6 with a fused loss, 14 in plain PyTorch."""
    logit_rows: Array
    """Tokens whose logits exist at once; 0: all of a micro-batch."""
    head_gradient_bytes: Array
    """Of one number of the head's gradient that is taken beside the logits; 0 where it waits for the backward pass."""
    late_gradients: Array
    """1 where gradients take memory from the first backward pass on, not from the start."""
    gate_again: Array
    """1 where the product of gate and up is computed again in the backward pass, not kept."""
    inner_bytes: Array
    """Of one number inside an MLP, what its backward pass makes in passing; 0 where kernels are fused."""
    scatter_bytes: Array
    """Of one gradient on its way to the ranks it is scattered to, where a copy waits there; 0 where none does."""
    products_again: Array
    """Share of the products that selective recompute computes again (PyTorch's per-op way keeps every other one)."""
    fused_sort: Array
    """1 where the experts' exchange sorts tokens by expert itself (DeepEP, HybridEP)."""
    token_drop: Array
    """1 where experts have a fixed capacity, and tokens beyond it are dropped."""


USUAL_WAYS: dict[str, float] = {
    "query_block": 0, "gathered_again": 0, "stops_early": 0, "ends_kept": 0, "key_gradient_bytes": 2, "logit_rows": 0,
    "head_gradient_bytes": 0, "late_gradients": 0, "gate_again": 0, "inner_bytes": 0, "scatter_bytes": 0,
}  # fmt: skip
"""How published software does what a trainer may do in another way."""


def work_of(model: ModelSpec, *, sequence: int, batch: int) -> Work:
    """The sizes of one model as a case of length one."""
    latent, table, experts = model.latent, model.model_dump(), model.mixture_layers > 0
    values: dict[str, Any] = {f.name: table[f.name] for f in fields(Work) if f.name in table}
    values |= {
        "mixture_layers": model.mixture_layers,
        "query_key_size": model.query_key_size,
        "value_size": model.value_size,
        "kv_rank": latent.kv_rank if latent else 0,
        "query_rank": latent.query_rank if latent else 0,
        "rope_size": latent.rope_size if latent else 0,
        "positions": sequence if model.learned_positions else 0,
        "chosen": model.experts_per_token,
        "ways_in": 2 if model.gated else 1,
        "full_share": model.full_layers / model.layers,
        "tied": model.tied_head,
        "norms": model.norms_per_layer,
        "query_key_norms": model.query_key_norms,
        "plain_experts": model.biases == "all" and model.experts > 0,
        "attention_matrices": model.attention_matrices,
        "layer_fixed": model.layer_parameters - model.experts * model.expert_parameters if experts else 0,
        "expert_parameters": model.expert_parameters if experts else 0,
        "dense_layer_parameters": model.dense_layer_parameters,
        "embedding_parameters": model.embedding_parameters + model.width * (2 if model.norm_bias else 1),
        "sequence": sequence,
        "batch": batch,
    }
    return Work.of(values)


def hardware_of(cluster: Cluster) -> Hardware:
    """The figures of one cluster as a case of length one. Raises SpecError where it has no accelerators."""
    chip, devices = accelerator_of(cluster), cluster.machine.devices
    return hardware(
        chip,
        domain=max(1, min(chip.link_domain, devices)) if chip.link_bandwidth else 1,
        link=chip.link_bandwidth or cluster.machine.host_link or 16e9,
        port=cluster.node_bandwidth * cluster.fabric.efficiency / devices,
        latency=cluster.fabric.latency,
        pod=devices * (cluster.nodes_per_pod if cluster.nodes_per_pod > 1 else cluster.nodes),
        oversubscription=cluster.oversubscription,
    )


def hardware(
    chip: Accelerator, *, domain: int, link: float, port: float, latency: float, pod: int, oversubscription: float
) -> Hardware:
    """An accelerator and its place in a network: bandwidths in bytes per second and direction, latency in seconds.

    Raises SpecError where it has no 16-bit units.
    """
    peak16 = chip.peak_flops.get(Precision.BF16) or chip.peak_flops.get(Precision.FP16)
    if peak16 is None:
        raise SpecError(f"{chip.title or chip.name} has no 16-bit units; training is not planned without")
    peak8 = chip.peak_flops.get(Precision.FP8, peak16)
    return Hardware.of(
        {
            "generation": GENERATIONS.index(fitted_generation(chip)),
            "peak16": peak16,
            "peak8": peak8,
            "peak4": chip.peak_flops.get(Precision.FP4, peak8),
            "memory_bytes": chip.memory_bytes,
            "memory_bandwidth": chip.memory_bandwidth,
            "watts": chip.power_watts,
            "domain": domain,
            "link_bandwidth": link,
            "port_bandwidth": port,
            "latency": latency,
            "pod": pod,
            "oversubscription": oversubscription,
            "ultra": chip.generation == "blackwell-ultra",
        }
    )


def fitted_generation(chip: Accelerator) -> str:
    """The generation whose efficiencies an accelerator has, or borrows."""
    return VARIANTS.get(chip.generation) or BORROWED.get(chip.generation, chip.generation)


def accelerator_of(cluster: Cluster) -> Accelerator:
    if cluster.machine.accelerator is None:
        raise SpecError(f"cluster '{cluster.name}' has no accelerators; training is planned for GPUs")
    return cluster.machine.accelerator


def layouts_of(layouts: Iterable[Layout]) -> Layouts:
    """Layouts as one array a field."""
    tables = [layout.model_dump() for layout in layouts]
    for table in tables:
        for name, choices in CHOICES.items():
            table[name] = choices.index(table[name])
    return Layouts.of({f.name: [table[f.name] for table in tables] for f in fields(Layouts)})


def decimal_year(date: str) -> float:
    """`2024-04` as 2024.25."""
    year, month = date.split("-")[:2]
    return int(year) + (int(month) - 1) / 12

"""What one rank holds, to the tensor: weights, gradients, optimiser state, activations, the largest passing buffer.

Mixed-precision training keeps two bytes a weight for products, and in fp32 a master copy and Adam's two moments
(ZeRO, https://arxiv.org/abs/1910.02054, section 3.1). Activations are what the backward pass of each tensor needs,
after Korthikanti et al. (https://arxiv.org/abs/2205.05198), with attention fused and without dropout.

The first pipeline stage holds the embedding and most micro-batches in flight, the last the head and the logits; both
are computed, and the fuller one is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lindos.plan.arrays import Array, Mask
from lindos.plan.case import Case

GIB = float(1 << 30)
KINDS = ("weights", "gradients", "optimizer", "activations", "buffers")


@dataclass(frozen=True)
class Memory:
    """Bytes of the fullest rank, by kind."""

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    buffers: Array
    """Logits, gathered layers, the embedding's gradient: what is there in passing."""

    @property
    def total(self) -> Array:
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers

    def table(self) -> dict[str, Array]:
        return {kind: getattr(self, kind) for kind in KINDS}


@dataclass(frozen=True)
class _Stage:
    """What lies on one pipeline stage."""

    dense: Array
    mixtures: Array
    flight: Array
    """Micro-batches whose activations are held at once."""
    ends: Array
    """Parameters of the embedding or the head, or both."""
    logits: Array
    """1 where this stage has the head."""


def memory(case: Case) -> Memory:
    """Peak bytes allocated on the fullest rank of each case, before the framework's own share."""
    first, last = (_stage_memory(case, stage) for stage in _stages(case))
    fuller = first.total >= last.total
    return Memory(**{k: np.where(fuller, getattr(first, k), getattr(last, k)) for k in KINDS})


def _stages(case: Case) -> tuple[_Stage, _Stage]:
    work, layout = case.work, case.layout
    p, v = layout.pipeline, layout.virtual_stages
    one = p == 1
    layers = (case.dense_layers + case.trained_mixture) / p
    dense = np.minimum(case.dense_layers, layers)
    mixed = np.where(one, case.trained_mixture, np.minimum(case.trained_mixture, layers))
    # Interleaving keeps more micro-batches in flight (Narayanan et al. 2021, section 2.2).
    flight = np.minimum(np.where(v > 1, p * (1 + (p - 1) / (p * v)), p), np.maximum(case.micro_batches, 1))
    ends = np.where(one, work.embedding_parameters, work.embedding_parameters / (2 - work.tied))
    last_flight = np.where(v > 1, np.minimum(1 + (p - 1) / p, case.micro_batches), 1.0)
    first = _Stage(dense, np.where(one, case.trained_mixture, layers - dense), flight, ends, one.astype(float))
    last = _Stage(np.maximum(layers - mixed, 0), mixed, last_flight, ends, np.ones(1))
    return first, last


def gathered_whole(case: Case) -> Mask:
    """Where sharded weights stay gathered through the step: with pipeline stages, which use them again and again."""
    return (case.layout.sharding == 3) & (case.layout.pipeline > 1)


def _stage_memory(case: Case, stage: _Stage) -> Memory:
    work, layout, software = case.work, case.layout, case.software
    dense = stage.dense * work.dense_layer_parameters + stage.mixtures * work.layer_fixed + stage.ends
    dense = dense / layout.tensor
    experts = stage.mixtures * work.experts * work.expert_parameters / (layout.expert * case.expert_split)
    sharded = dense / case.dense_shards + experts / case.expert_shards
    both = dense + experts
    streams = (layout.sharding == 3) & ~gathered_whole(case)
    # FSDP keeps its shard of the weights in fp32, which is the master copy at once,
    weights = np.where(streams, 4.0 * sharded, 2.0 * both)
    # and its gradients with it.
    each_gradient = np.where(layout.sharding == 3, 4.0, software.gradient_bytes)
    gradients = each_gradient * np.where((layout.sharding >= 2) & ~gathered_whole(case), sharded, both)
    optimizer = np.where(streams, 8.0, 12.0) * sharded
    each = stage.dense * kept_bytes(case, mixture=False) + stage.mixtures * kept_bytes(case, mixture=True)
    return Memory(weights, gradients, optimizer, stage.flight * each + _working(case), _buffers(case, stage, streams))


def _sizes(case: Case) -> tuple[Array, Array, Array]:
    """Numbers a token of one rank: queries, keys with values, and attention's output."""
    work, heads = case.work, case.work.heads / case.layout.tensor
    latent = work.kv_rank > 0
    pairs = np.where(latent, heads, work.kv_heads / case.layout.tensor)
    keys_values = pairs * (np.where(latent, work.query_key_size, work.head_size) + work.value_size)
    return heads * work.query_key_size, keys_values, heads * work.value_size


def layer_bytes(case: Case, *, mixture: bool) -> Array:
    """Activations of one layer and micro-batch that its backward pass needs, without recompute."""
    work, layout = case.work, case.layout
    tokens, split = case.tokens, case.split_tokens
    heads = work.heads / layout.tensor
    queries, keys_values, output = _sizes(case)
    norms = 2.0 * split * work.width * 4  # both residual inputs and both norms' outputs
    latents = 2 * (work.query_rank + work.kv_rank) + work.rope_size
    attention = 2.0 * tokens * (queries + keys_values + output + latents) + 4.0 * tokens * heads
    unfused = np.where(case.software.flash > 0, 0.0, 5.0 * tokens * work.sequence * heads)
    inner = (work.ways_in + 1) * np.where(mixture, work.shared_width, work.dense_width) / layout.tensor
    total = norms + attention + unfused + 2.0 * tokens * inner
    if mixture:
        rows = case.expert_rows
        routed = 2.0 * rows * ((work.ways_in + 1) * work.expert_width / case.expert_split + 2 * work.width)
        total = total + routed + 8.0 * split * work.experts
    return total


def kept_bytes(case: Case, *, mixture: bool) -> Array:
    """Activations of one layer and micro-batch that stay until its backward pass, under the layout's recompute."""
    work, layout = case.work, case.layout
    whole = layer_bytes(case, mixture=mixture)
    inputs = 2.0 * case.split_tokens * work.width
    inner = np.where(mixture, work.shared_width, work.dense_width) / layout.tensor * case.tokens
    if mixture:
        inner = inner + case.expert_rows * work.expert_width / case.expert_split
    cheap = 2.0 * 2 * case.split_tokens * work.width + 2.0 * inner
    heads = work.heads / layout.tensor
    cheap = cheap + np.where(case.software.flash > 0, 0.0, 5.0 * case.tokens * work.sequence * heads)
    # The per-op way keeps attention's output and the output of every other product.
    queries, keys_values, output = _sizes(case)
    products = case.tokens * (queries + keys_values) + work.ways_in * inner + 2 * case.split_tokens * work.width
    per_op = inputs + 2.0 * case.tokens * output + 2.0 * (1 - case.software.products_again) * products
    lightly = np.where(case.software.products_again > 0, per_op, whole - cheap)
    return np.where(layout.recompute == 2, inputs, np.where(layout.recompute == 1, lightly, whole))


def _working(case: Case) -> Array:
    """One layer's activations, computed again just before they are needed."""
    mixed = np.where(case.work.mixture_layers > 0, layer_bytes(case, mixture=True), layer_bytes(case, mixture=False))
    return np.where(case.layout.recompute == 2, mixed, 0.0)


def _buffers(case: Case, stage: _Stage, streams: Mask) -> Array:
    """The largest thing that passes: logits and what the loss makes of them, or the embedding's gradient; and
    layers gathered by sharded weights."""
    work, layout = case.work, case.layout
    table = case.tokens * work.vocabulary / layout.tensor
    logits = stage.logits * case.software.logit_bytes * table
    embedding = 2.0 * work.vocabulary * work.width / layout.tensor
    experts = work.experts * work.expert_parameters / (layout.expert * case.expert_split)
    layer = np.maximum(work.layer_fixed / layout.tensor + experts, work.dense_layer_parameters / layout.tensor)
    return np.maximum(logits, embedding) + np.where(streams, 2 * 2.0 * layer, 0.0)

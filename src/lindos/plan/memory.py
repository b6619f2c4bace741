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
from lindos.plan.stages import StageShare, stage_of

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


def memory(case: Case) -> Memory:
    """Peak bytes allocated on the fullest rank of each case, before the framework's own share."""
    first, last = (memory_of(case, stage_of(case, index)) for index in (0, case.layout.pipeline - 1))
    fuller = first.total >= last.total
    return Memory(**{k: np.where(fuller, getattr(first, k), getattr(last, k)) for k in KINDS})


def gathered_whole(case: Case) -> Mask:
    """Where sharded weights stay gathered through the step: with pipeline stages, which use them again and again."""
    return (case.layout.sharding == 3) & (case.layout.pipeline > 1)


def memory_of(case: Case, stage: StageShare) -> Memory:
    """Peak bytes of a rank with this stage."""
    work, layout, software = case.work, case.layout, case.software
    dense = stage.dense * work.dense_layer_parameters + stage.mixtures * work.layer_fixed + stage.ends(case)
    dense = dense / layout.tensor
    experts = stage.mixtures * work.experts * work.expert_parameters / (layout.expert * case.expert_split)
    sharded = dense / case.dense_shards + experts / case.expert_shards
    both = dense + experts
    streams = (layout.sharding == 3) & ~gathered_whole(case)
    # FSDP keeps its shard of the weights in fp32, which is the master copy at once,
    ends = stage.ends(case) / layout.tensor
    weights = np.where(streams, 4.0 * sharded + 2.0 * software.ends_kept * ends, 2.0 * both)
    # and its gradients with it.
    each_gradient = np.where(layout.sharding == 3, 4.0, software.gradient_bytes)
    once = (software.late_gradients > 0) & (layout.pipeline == 1) & (case.micro_batches <= 1)
    apart = ((layout.sharding >= 2) & ~gathered_whole(case)) | (once & (layout.sharding == 1))
    gradients = each_gradient * np.where(apart, sharded, both)
    optimizer = np.where(streams, 8.0, 12.0) * sharded
    passing = _fullest(case, stage, gradients, np.where(streams, ends, 0.0), _buffers(case, stage, streams))
    return Memory(weights, passing[0], optimizer, *passing[1:])


def _fullest(
    case: Case, stage: StageShare, gradients: Array, ends: Array, buffers: Array
) -> tuple[Array, Array, Array]:
    """Gradients, activations and buffers when most is held; `ends` are parameters whose gradients leave last.

    Where gradients come late, that is before any is there, or once the first micro-batch is back, or when the ends'
    leave and there are no activations any more, nor gathered ends.
    """
    software, working = case.software, _working(case)
    each = stage.dense * kept_bytes(case, mixture=False) + stage.mixtures * kept_bytes(case, mixture=True)
    scattered = 2.0 + software.scatter_bytes - 2.0 * software.ends_kept
    leaving = np.where(software.scatter_bytes > 0, scattered * ends, 0.0)
    back = np.minimum(stage.flight, np.maximum(case.micro_batches - 1 / case.layout.virtual_stages, 0.0))
    late = software.late_gradients > 0
    then = gradients + np.maximum(np.where(back > 0, back * each + working + buffers, 0.0), leaving)
    none_yet = late & (stage.flight * each + working + buffers > then)
    activations = np.where(late & ~none_yet, np.maximum(back, 1.0), stage.flight) * each + working
    full = np.where(late, np.maximum(buffers, leaving - activations), buffers)
    return np.where(none_yet, 0.0, gradients), activations, full


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
    # What norms read, and what those before products give.
    norms = 2.0 * split * work.width * (work.norms + np.minimum(work.norms, 2))
    latents = 2 * (work.query_rank + work.kv_rank) + work.rope_size
    attention = 2.0 * tokens * (queries + keys_values + output + latents) + 4.0 * tokens * heads
    normed = work.query_key_norms * (queries + work.kv_heads * work.head_size / layout.tensor)
    unfused = np.where(case.software.flash > 0, 0.0, 5.0 * tokens * work.sequence * heads)
    kept = work.ways_in + 1 - case.software.gate_again
    inner = kept * np.where(mixture, work.shared_width, work.dense_width) / layout.tensor
    total = norms + attention + unfused + 2.0 * tokens * (inner + normed)
    if mixture:
        rows = case.expert_rows
        routed = 2.0 * rows * (kept * work.expert_width / case.expert_split + 2 * work.width)
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
    cheap = 2.0 * 2 * case.split_tokens * work.width + 2.0 * (1 - case.software.gate_again) * inner
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


def _buffers(case: Case, stage: StageShare, streams: Mask) -> Array:
    """The largest thing that passes: logits and what the loss makes of them, or the embedding's gradient; and
    layers gathered by sharded weights."""
    work, layout, software = case.work, case.layout, case.software
    vocabulary = work.vocabulary / layout.tensor
    rows = np.where(software.logit_rows > 0, np.minimum(software.logit_rows, case.tokens), case.tokens)
    logits = stage.heads * vocabulary * (software.logit_bytes * rows + software.head_gradient_bytes * work.width)
    embedding = 2.0 * vocabulary * work.width
    experts = work.experts * work.expert_parameters / (layout.expert * case.expert_split)
    layer = np.maximum(work.layer_fixed / layout.tensor + experts, work.dense_layer_parameters / layout.tensor)
    backward = embedding + software.inner_bytes * _inner(case) + np.where(streams, software.scatter_bytes * layer, 0.0)
    return np.maximum(logits, backward) + np.where(streams, 2 * 2.0 * layer, 0.0)


def _inner(case: Case) -> Array:
    """Numbers inside the MLPs of one layer and micro-batch."""
    work = case.work
    dense = np.where(case.dense_layers > 0, work.dense_width, 0.0)
    plain = np.maximum(dense, work.shared_width) / case.layout.tensor * case.tokens
    return np.maximum(plain, case.expert_rows * work.expert_width / case.expert_split)

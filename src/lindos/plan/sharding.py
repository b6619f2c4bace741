"""What sharing weights among data ranks exchanges: gathers of weights, scatters of gradients, sums between replicas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lindos.plan.arrays import Array, Mask
from lindos.plan.case import Case
from lindos.plan.compute import BF16
from lindos.plan.memory import gathered_whole
from lindos.plan.network import Network
from lindos.plan.stages import StageShare


class Held(NamedTuple):
    """Parameters of one rank before they are sharded."""

    dense: Array
    """All that are no experts."""
    experts: Array
    ends: Array
    """Of the dense ones: embedding and head."""


class WeightExchanges(NamedTuple):
    """Seconds of each; how often they happen depends on what is sharded."""

    gathers: Array
    """All weights of a rank, before they are used."""
    gathers_again: Array
    """Those that were freed after the forward pass, before the backward pass."""
    scatters: Array
    """All gradients of a rank, to the ranks that weights or optimiser state are spread over."""
    sums: Array
    """What is summed once a step: sharded gradients between replicas, a tied embedding's between a pipeline's ends."""


def streams(case: Case) -> Mask:
    """Where weights are gathered for every use and freed again (FSDP, ZeRO-3)."""
    return (case.layout.sharding == 3) & ~gathered_whole(case)


def held_by(case: Case, stage: StageShare) -> Held:
    """What a rank with this stage holds."""
    work, layout = case.work, case.layout
    ends = stage.ends(case) / layout.tensor
    dense = (stage.mixtures * work.layer_fixed + stage.dense * work.dense_layer_parameters) / layout.tensor + ends
    experts = stage.mixtures * work.experts * work.expert_parameters / (layout.expert * case.expert_split)
    return Held(dense, experts, ends)


def weight_exchanges(case: Case, network: Network, held: Held) -> WeightExchanges:
    """What it takes to keep `held` in step with the ranks that hold the same."""
    layout, software, stride = case.layout, case.software, case.layout.tensor
    ranks = np.where(layout.sharding == 0, case.dense_copies, layout.shards * layout.context)
    expert_ranks = np.maximum(ranks * layout.tensor / (layout.expert * case.expert_split), 1.0)
    expert_stride = layout.expert * case.expert_split

    def share(dense: Array, bytes_each: Array | float) -> Array:
        own = network.data(dense, ranks, stride, bytes_each)
        return own + network.data(held.experts, expert_ranks, expert_stride, bytes_each)

    both_ways, within = 2 * software.gradient_bytes, case.expert_shards
    between = network.data(held.dense / ranks, layout.replicas, ranks * stride, both_ways)
    copies = np.maximum(case.expert_copies / within, 1.0)
    between = between + network.data(held.experts / within, copies, within * expert_stride, both_ways)
    between = np.where((layout.replicas > 1) & (layout.sharding > 0), between, 0.0)
    tied_ends = np.where((case.work.tied > 0) & (layout.pipeline > 1), 2.0, 1.0)
    between = between + network.data(held.ends / case.dense_shards, tied_ends, layout.stage_ranks, both_ways)
    freed = held.dense - np.where(software.ends_kept > 0, held.ends, 0.0)
    return WeightExchanges(
        share(held.dense, BF16), share(freed, BF16), share(held.dense, software.gradient_bytes), between
    )

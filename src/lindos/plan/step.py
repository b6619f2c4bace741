"""One training step: where its time goes.

    step = (micro-batches + bubble) x stage + what data parallelism does not hide + optimiser + fixed, x losses

A stage is what one pipeline rank does with one micro-batch: its layers' compute (`compute.py`) with the exchanges
(`network.py`) that products do not hide, or the host's launches where those take longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.case import Case
from lindos.plan.compute import BF16, Compute
from lindos.plan.network import Network
from lindos.plan.sharding import held_by, streams, weight_exchanges
from lindos.plan.stages import StageShare, average_stage

TODAY = 2026.6
"""The software date whose speed the constants describe: that of the newest replayed releases."""
RIPE = 2.0
"""Years after a generation's first release in which its kernels mature."""
FIRST = np.array([2020.4, 2023.0, 2025.0])
"""When each generation's first part could be had (A100, H100, B200)."""


@dataclass(frozen=True)
class Step:
    """Seconds of one step by part, and what follows."""

    parts: dict[str, Array]

    @property
    def seconds(self) -> Array:
        return sum(self.parts.values(), np.zeros(1))


def step(case: Case, constants: Mapping[str, float]) -> Step:
    """The time of one optimiser step of each case, in seconds by part."""
    compute, network = Compute(case, constants), Network(case, constants)
    share = average_stage(case)
    once = stage(case, constants, compute, network, replace(share, heads=_slowest_head(case)))
    once["host"] = _host(case, constants, share, sum(once.values(), np.zeros(1)))
    parts = _pipeline(case, constants, network, once)
    parts["data parallel"] = _data_parallel(case, constants, network, once)
    parts["optimizer"] = _optimizer(case, compute, constants)
    return Step(_with_losses(case, constants, parts))


def stage(
    case: Case, constants: Mapping[str, float], compute: Compute, network: Network, share: StageShare
) -> dict[str, Array]:
    """Seconds by part of one micro-batch, forward and back, on a rank with this share of the layers."""
    layout = case.layout
    plain, mixed = compute.layer(mixture=False), compute.layer(mixture=True)

    def both(kind: str) -> Array:
        return share.dense * getattr(plain, kind) + share.mixtures * getattr(mixed, kind)

    again = (layout.recompute == 2).astype(float)
    lightly = (layout.recompute == 1).astype(float)
    unfused = case.software.flash == 0
    parts: dict[str, Array] = {}
    parts["products"] = both("products") * (1 + again + lightly * case.software.products_again) + both(
        "products_backward"
    )
    parts["attention"] = both("attention") * (1 + again + lightly * unfused) + both("attention_backward")
    parts["memory-bound"] = both("pointwise") * (1 + again + 0.5 * lightly) + both("pointwise_backward")
    head = compute.head()
    parts["head"] = share.heads * (head[0] + head[1])
    core = both("attention") + both("attention_backward")
    return parts | _exchanges(case, constants, network, share, core)


def _slowest_head(case: Case) -> Array:
    """How much of the head the slowest stage sees: balanced away where it counts as layers, else the last one's."""
    layout = case.layout
    uneven = (case.work.layers % (layout.pipeline * layout.virtual_stages)) != 0
    return np.where((layout.ends_count > 0) | uneven, 1 / layout.pipeline, 1.0)


def _exchanges(
    case: Case, c: Mapping[str, float], network: Network, share: StageShare, core: Array
) -> dict[str, Array]:
    """Exchanges within a stage, each as far as nothing hides it."""
    layers = share.mixtures + share.dense
    again = (case.layout.recompute == 2).astype(float)
    shown = np.where(case.software.tensor_overlap > 0, c["tensor_shown"], 1.0)
    out = {"tensor parallel": network.tensor() * _tensor_exchanges(case, share) * shown}
    # Keys and values forward; once more, and their gradients, on the way back.
    keys = network.context() * layers * (2 + again + case.software.key_gradient_bytes / BF16)
    out["context parallel"] = _beside(keys, core, c["context_shown"])
    dispatch = network.exchange() * 2 * share.mixtures * (2 + again)
    hidden = np.where(case.software.dispatch_overlap > 0, c["exchange_shown"], 1.0)
    out["expert parallel"] = dispatch * hidden
    return out


def _tensor_exchanges(case: Case, share: StageShare) -> Array:
    """Gathers and scatters of the residual stream among tensor ranks, for one micro-batch there and back."""
    work, software = case.work, case.software
    again = (case.layout.recompute == 2).astype(float)
    # Around attention one of each, around an MLP one of each; experts that lie whole need none.
    branch = ~case.whole_experts | (work.shared_width > 0)
    forward = 4 * share.dense + np.where(branch, 4, 2) * share.mixtures
    inputs = 2 * share.dense + np.where(work.shared_width > 0, 2, 1) * share.mixtures
    # A backward pass in two halves gathers in both; the first stage has no gradient to pass on, and takes one.
    halves = np.where(case.layout.schedule == 2, 2 - share.embeds, 1.0)
    back = forward + np.where(again > 0, 0.0, software.gathered_again * inputs * halves)
    # What ends a layer is not computed again where nothing keeps it.
    spared = software.stops_early * (work.norms <= 2) * (share.dense + branch * share.mixtures)
    # The embedding's sum goes to the tokens' owners, the head gathers them; each once more on the way back.
    return forward + back + again * (forward - spared) + 2 * (share.embeds + share.heads)


def _beside(exchange: Array, compute: Array, shown: float) -> Array:
    """What an exchange adds to the compute it runs beside: a share of itself, and what is longer than the compute."""
    return np.maximum(exchange - compute, 0) + shown * np.minimum(exchange, compute)


def _host(case: Case, c: Mapping[str, float], share: StageShare, running: Array) -> Array:
    """What the host's launches add: where they take longer than the accelerator, it waits.

    The two are never quite in step, so the larger is rounded off: the fourth-power mean of both.
    """
    years = np.maximum(TODAY - case.software.date, 0)
    again = 1 + (case.layout.recompute == 2) / 3
    slow = np.exp(c["host_ageing"] * years)
    routed = c["host_mixture_layer"] * np.where(case.layout.expert > 1, 1.0, 0.8) * slow
    each = share.dense * c["host_dense_layer"] + share.mixtures * routed
    fixed = np.maximum(case.software.graphs, 0.7 * case.software.token_drop)
    each = each * again * (1 - fixed * (1 - c["graphs_left"]))
    return (running**4 + each**4) ** 0.25 - running


def _pipeline(case: Case, c: Mapping[str, float], network: Network, stage: dict[str, Array]) -> dict[str, Array]:
    """All micro-batches through the stages: 1F1B's bubble, divided by the virtual stages (Narayanan et al. 2021,
    https://arxiv.org/abs/2104.04473), or a third of it with the weight gradients last (zero bubble,
    https://arxiv.org/abs/2401.10241); and never less than a micro-batch takes through all stages and back."""
    layout, m, p = case.layout, case.micro_batches, case.layout.pipeline
    once = sum(stage.values(), np.zeros(1))
    v = layout.virtual_stages
    # With fewer micro-batches than stages the first one's way through the pipeline sets the pace.
    plain = np.maximum(m + (p - 1) / v, p + (m - 1) / v)
    late_weights = np.maximum(m + (p - 1) / 3, (2 * (p + m - 1) + 1) / 3)
    depth = np.where(layout.schedule == 2, late_weights, plain) - m
    parts = {name: value * case.micro_batches for name, value in stage.items()}
    sends = network.stage() * 2 * layout.virtual_stages * (case.micro_batches + depth)
    parts["pipeline sends"] = sends * c["stage_shown"]
    parts["pipeline bubble"] = once * depth
    return parts


def _data_parallel(case: Case, c: Mapping[str, float], network: Network, stage: dict[str, Array]) -> Array:
    """What sharing weights and gradients adds to the step.

    Gradients are reduced during the last micro-batch's backward pass and, where the optimiser state is sharded,
    weights gathered during the first forward pass; sharded weights (FSDP, ZeRO-3) are gathered twice and gradients
    scattered once in every micro-batch.
    """
    layout = case.layout
    once = sum(stage.values(), np.zeros(1))
    fullest = replace(average_stage(case), embeds=np.ones(1), heads=(layout.pipeline == 1).astype(float))
    shared = weight_exchanges(case, network, held_by(case, fullest))
    whole = shared.gathers + shared.gathers_again + shared.scatters
    each_batch = _beside(whole, once, c["sharded_shown"])
    early = np.maximum(whole / c["early_gathers"] - once, 0)
    each_batch = np.where(case.software.gathering > 0, each_batch, early)
    window = np.where(layout.virtual_stages > 1, once / layout.virtual_stages, once)
    summed = np.where(layout.sharding == 0, 2, 1) * shared.scatters
    # Sharded gradients leave the rank after every backward pass.
    often = np.where(layout.sharding == 2, np.maximum(case.micro_batches, 1), 1.0)
    backward = _beside(summed, window * 2 / 3, c["reduced_shown"]) * often
    forward = np.where(layout.sharding == 0, 0.0, _beside(shared.gathers, window / 3, c["reduced_shown"]))
    return np.where(streams(case), each_batch * case.micro_batches, backward + forward) + shared.sums


def _optimizer(case: Case, compute: Compute, c: Mapping[str, float]) -> Array:
    """Adam reads and writes master weights, moments and gradients: about 30 bytes for each of the rank's own."""
    dense = case.dense_rank_parameters / case.dense_shards
    experts = case.expert_rank_parameters / case.expert_shards
    held = case.dense_rank_parameters + case.expert_rank_parameters
    unsharded = held * 4.0  # norm and zeroing of gradients
    return (30.0 * (dense + experts) + unsharded) / compute.memory + c["step_fixed"]


def _with_losses(case: Case, c: Mapping[str, float], parts: dict[str, Array]) -> dict[str, Array]:
    """Older software, young hardware, and the slowest of many ranks: shares of everything."""
    total = sum(parts.values(), np.zeros(1))
    years = np.maximum(TODAY - case.software.date, 0)
    ageing = np.where(case.work.mixture_layers > 0, c["ageing_mixture"], c["ageing_dense"]) * years
    first = FIRST[case.hardware.generation.astype(int)]
    unripe = np.clip(first + RIPE - case.software.date, 0, RIPE)
    old = np.expm1(ageing + c["youth"] * unripe)
    waits = c["straggler"] * np.log2(np.maximum(case.layout.world / 8, 1))
    parts["older software"] = total * old
    parts["stragglers"] = total * (1 + old) * waits
    return parts

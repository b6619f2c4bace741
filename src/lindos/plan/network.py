"""What ranks tell each other: tensor, context, expert, pipeline and data parallel exchanges over the real hierarchy.

Ranks are numbered with tensor innermost, then context, then data, then pipeline, as Megatron does, so the small and
talkative groups lie within a domain of directly linked accelerators. Volumes are those of ring algorithms (Thakur et
al. 2005, https://doi.org/10.1177/1094342005051521): an all-gather or reduce-scatter of V bytes among n ranks moves
V (n-1)/n through every rank's link, an all-reduce twice that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.case import Case
from lindos.plan.compute import BF16


class Network:
    """Seconds of each exchange, before anything overlaps."""

    def __init__(self, case: Case, constants: Mapping[str, float]):
        self.case, self.constants = case, constants
        self.link = case.hardware.link_bandwidth * constants["link_share"]
        self.port = case.hardware.port_bandwidth * constants["port_share"]
        self.hop = constants["collective_start"]

    def _group(self, ranks: Array, stride: Array) -> tuple[Array, Array]:
        """Of a group whose neighbours lie `stride` ranks apart: members in one domain, and bandwidth of a member.

        A ring through several machines uses the ports of all its members in a machine: they move its data in parallel
        (NCCL's channels), so a member sees its own port times the members beside it, at most its link.
        """
        inside = np.clip(np.floor(self.case.hardware.domain / stride), 1, ranks)
        between = np.minimum(self.port * inside, np.where(inside > 1, self.link, self.port))
        span = ranks * stride
        narrow = np.where(span > self.case.hardware.pod, self.case.hardware.oversubscription, 1.0)
        return inside, np.where(inside >= ranks, self.link, between / narrow)

    def gather(self, bytes_whole: Array, ranks: Array, stride: Array) -> Array:
        """An all-gather or reduce-scatter of `bytes_whole` among `ranks`."""
        inside, bandwidth = self._group(ranks, stride)
        steps = np.log2(np.maximum(ranks, 1)) * self.hop
        steps = steps + np.log2(np.maximum(ranks / inside, 1)) * self.case.hardware.latency
        return np.where(ranks > 1, bytes_whole * (ranks - 1) / ranks / bandwidth + steps, 0.0)

    def tensor(self) -> Array:
        """One gather or scatter of a layer's residual stream among the tensor ranks."""
        case = self.case
        return self.gather(BF16 * case.tokens * case.work.width, case.layout.tensor, np.ones(1))

    def context(self) -> Array:
        """Keys and values of one layer, from every context rank to every other."""
        case, work = self.case, self.case.work
        numbers = np.where(work.kv_rank > 0, work.kv_rank + work.rope_size, 2 * work.kv_heads * work.head_size)
        share = np.where(work.kv_rank > 0, 1.0, 1 / case.layout.tensor)
        whole = BF16 * case.tokens * case.layout.context * numbers * share
        return self.gather(whole, case.layout.context, case.layout.tensor)

    def exchange(self) -> Array:
        """Tokens of one micro-batch and layer to their experts (or back): an all-to-all.

        Within a domain every token-expert pair travels; between domains a token travels once to each domain that holds
        a chosen expert (as DeepEP and HybridEP do), so large domains save the network most of it.
        """
        case, work, layout = self.case, self.case.work, self.case.layout
        ranks = layout.expert
        inside = np.minimum(case.hardware.domain, ranks)
        domains = np.maximum(ranks / inside, 1)
        tokens = case.expert_rows / np.maximum(work.chosen, 1)
        each = BF16 * work.width * tokens
        inner = each * work.chosen * (1 / domains) * (inside - 1) / inside
        visited = domains * (1 - (1 - 1 / domains) ** work.chosen)
        # Routing that limits a token to some machines counts them in eights; larger domains need no more of them.
        visited = np.where(work.routed_nodes > 0, np.minimum(visited, work.routed_nodes), visited)
        outer = each * visited * (domains - 1) / domains
        time = inner / (self.link * self.constants["exchange_link"])
        time = time + outer / (self.port * self.constants["exchange_port"])
        start = self.constants["exchange_start"] + np.where(domains > 1, case.hardware.latency * domains, 0.0)
        return np.where(ranks > 1, time + start, 0.0)

    def stage(self) -> Array:
        """One micro-batch's residual stream to the next pipeline stage."""
        case = self.case
        whole = BF16 * case.split_tokens * case.work.width
        near = case.layout.world <= case.hardware.domain
        send = whole / np.where(near, self.link, self.port) + case.hardware.latency + self.hop
        return np.where(case.layout.pipeline > 1, send, 0.0)

    def data(self, parameters: Array, ranks: Array, stride: Array, bytes_each: Array | float) -> Array:
        """One gather (or scatter) of some parameters of a rank among the ranks that share them."""
        return self.gather(parameters * bytes_each, ranks, stride)

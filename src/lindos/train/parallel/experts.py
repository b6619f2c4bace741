"""Expert parallelism: every expert lies whole on one rank of a group, and tokens travel to theirs and back.

Uneven by nature: how many rows go where is known when the routers have chosen, so the numbers are exchanged first.

Letters: T tokens, k experts per token, R = T*k choices, P rows that a rank's own experts compute, D width, E experts,
n ranks, L = E / n experts of a rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lindos.model import Routing
from lindos.model.elementwise import gated_backward, gated_forward
from lindos.model.experts import Groups, grouped_product, grouped_weight_gradient
from lindos.model.halves import wanted
from lindos.train.parallel.collectives import exchange, exchanged
from lindos.train.parallel.mesh import Group

Counts = Callable[[Tensor, int], list[int]]
"""From counts on a device, and their sum, to the host's knowledge of them."""


def told(counts: Tensor, _total: int) -> list[int]:
    """Ask the device."""
    return counts.tolist()


class Journey(NamedTuple):
    """How rows travel: `order_R` sorts choices by expert, `sent` and `received` are rows to and from every rank,
    `sorted_P` sorts what arrives by expert, whose rows are `groups`."""

    order_R: Tensor
    sent: list[int]
    received: list[int]
    sorted_P: Tensor
    groups: Groups


class ExpertExchange:
    """`mix_experts` over a group of ranks. `known` asks a device for counts; a rehearsal answers in its place."""

    def __init__(self, group: Group, experts: int, *, known: Counts = told, on_device: bool = False) -> None:
        self.group, self.experts, self.known, self.on_device = group, experts, known, on_device

    def __call__(
        self, x_TD: Tensor, routing: Routing, gate_LDF: Tensor, up_LDF: Tensor, down_LFD: Tensor, activation: str
    ) -> Tensor:
        """As `mix_experts`; the weights are those of this rank's experts."""
        journey = self.plan(routing.chosen)
        chosen = routing.chosen.shape[1]
        rows_RD = x_TD.index_select(0, journey.order_R // chosen)
        arrived_PD = exchange(rows_RD, journey.sent, journey.received, self.group)
        sorted_PD = _Permuted.apply(arrived_PD, journey.sorted_P, True)
        made_PD = run_experts(sorted_PD, journey.groups, gate_LDF, up_LDF, down_LFD, activation)
        back_PD = _Permuted.apply(made_PD, journey.sorted_P, False)
        home_RD = exchange(back_PD, journey.received, journey.sent, self.group)
        y_RD = _Permuted.apply(home_RD, journey.order_R, False)
        gates_Tk1 = routing.gates.to(x_TD.dtype)[..., None]
        return (y_RD.unflatten(0, (-1, chosen)) * gates_Tk1).sum(1)

    def plan(self, chosen_Tk: Tensor) -> Journey:
        """Ask everybody how many rows come, and say how many go."""
        chosen_R, ranks = chosen_Tk.flatten(), self.group.size
        each = self.experts // ranks
        ones_R = torch.ones_like(chosen_R)
        counts_E = torch.zeros(self.experts, dtype=torch.int64, device=chosen_R.device).scatter_add_(
            0, chosen_R, ones_R
        )
        theirs_nL = exchanged(counts_E, [each] * ranks, [each] * ranks, self.group).view(ranks, each)
        rows = len(chosen_R)
        mine, theirs = self.known(counts_E, rows), self.known(theirs_nL.flatten(), rows)
        sent = [sum(mine[rank * each : (rank + 1) * each]) for rank in range(ranks)]
        received = [sum(theirs[rank * each : (rank + 1) * each]) for rank in range(ranks)]
        return Journey(torch.argsort(chosen_R, stable=True), sent, received, *self._by_expert(theirs, chosen_R.device))

    def _by_expert(self, theirs: list[int], device: torch.device) -> tuple[Tensor, Groups]:
        """Rows arrive by rank and then by expert; their order by expert and then by rank, and each expert's rows."""
        each = self.experts // self.group.size
        starts = [0]
        for count in theirs:
            starts.append(starts[-1] + count)
        order = [
            torch.arange(starts[block], starts[block + 1])
            for expert in range(each)
            for block in range(expert, len(theirs), each)
        ]
        groups = [sum(theirs[expert::each]) for expert in range(each)]
        sorted_P = torch.cat(order).to(device)
        if not self.on_device:
            return sorted_P, groups
        return sorted_P, torch.tensor(groups, device=device).cumsum(0, dtype=torch.int32)


class _Permuted(torch.autograd.Function):
    """Rows taken in the order that `order` says, or put where it says; the one is the other's way back."""

    @staticmethod
    def forward(ctx: Any, x_PD: Tensor, order_P: Tensor, take: bool) -> Tensor:
        ctx.save_for_backward(order_P)
        ctx.take = take
        return _permuted(x_PD, order_P, take)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _permuted(grads[0], ctx.saved_tensors[0], not ctx.take), None, None


def _permuted(x_PD: Tensor, order_P: Tensor, take: bool) -> Tensor:
    return x_PD.index_select(0, order_P) if take else torch.empty_like(x_PD).index_copy_(0, order_P, x_PD)


def run_experts(
    x_PD: Tensor, groups: Groups, gate_LDF: Tensor, up_LDF: Tensor, down_LFD: Tensor, activation: str
) -> Tensor:
    """down(act(gate(x)) * up(x)) of each row by its own expert; rows are sorted by expert."""
    return _Experts.apply(x_PD, groups, gate_LDF, up_LDF, down_LFD, activation)


class _Experts(torch.autograd.Function):
    """Keeps the rows and the two products, as the experts of one process do."""

    @staticmethod
    def forward(
        ctx: Any, x_PD: Tensor, groups: Groups, gate_LDF: Tensor, up_LDF: Tensor, down_LFD: Tensor, activation: str
    ) -> Tensor:
        g_PF, u_PF = grouped_product(x_PD, gate_LDF, groups), grouped_product(x_PD, up_LDF, groups)
        ctx.save_for_backward(x_PD, g_PF, u_PF, gate_LDF, up_LDF, down_LFD)
        ctx.groups, ctx.activation, ctx.inner = groups, activation, None
        return grouped_product(gated_forward(g_PF, u_PF, activation), down_LFD, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_PD, g_PF, u_PF, gate_LDF, up_LDF, down_LFD = ctx.saved_tensors
        groups, dy_PD = ctx.groups, grads[0].contiguous()
        dx_PD = dgate_LDF = dup_LDF = ddown_LFD = None
        to_input, to_weights = wanted(ctx, 0), wanted(ctx, -3, -2, -1)
        if ctx.inner is None:
            dh_PF = grouped_product(dy_PD, down_LFD.transpose(1, 2), groups)
            ctx.inner = gated_backward(dh_PF, g_PF, u_PF, ctx.activation)
        dg_PF, du_PF, h_PF = ctx.inner
        ctx.inner = ctx.inner if to_input and not to_weights else None  # for the other half
        if to_input:
            dx_PD = grouped_product(dg_PF, gate_LDF.transpose(1, 2), groups)
            dx_PD += grouped_product(du_PF, up_LDF.transpose(1, 2), groups)
        if to_weights:
            dgate_LDF, dup_LDF = (grouped_weight_gradient(x_PD, each, groups) for each in (dg_PF, du_PF))
            ddown_LFD = grouped_weight_gradient(h_PF, dy_PD, groups)
        return dx_PD, None, dgate_LDF, dup_LDF, ddown_LFD, None

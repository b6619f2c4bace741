"""A mixture of experts: the router, and the chosen experts as grouped products.

Tokens are sorted by expert, so that each expert sees one block of rows; gate, up and down are then one product per
expert and no token is padded or dropped. Forward and backward are written out, because autograd would keep twice the
activations and pass over each of them again.

Letters: T tokens, k experts per token, R = T*k choices, P rows sorted by expert
(R and padding), D width, E experts, F expert width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lindos.model.elementwise import gated_backward, gated_forward
from lindos.model.halves import wanted
from lindos.specs import ModelSpec

ROW_QUANTUM = 64

Groups = list[int] | Tensor
"""The rows of each expert, known to the host; or where they end, int32 [E], which stays on the device."""


class Routing(NamedTuple):
    """Where each token goes.

    `logits` and `probabilities` are fp32 [T, E]; `gates` fp32 and `chosen` int64 are [T, k], best expert first.
    """

    logits: Tensor
    probabilities: Tensor
    gates: Tensor
    chosen: Tensor


def route(x_TD: Tensor, router_DE: Tensor, spec: ModelSpec) -> Routing:
    """Softmax over all experts in fp32, then the best k; the gates are renormalised only where the spec says so."""
    logits_TE = _RouterProduct.apply(x_TD, router_DE)
    if spec.router_softcap is not None:
        logits_TE = spec.router_softcap * torch.tanh(logits_TE / spec.router_softcap)
    probabilities_TE = torch.softmax(logits_TE, -1)
    gates_Tk, chosen_Tk = torch.topk(probabilities_TE, spec.experts_per_token, dim=-1)
    if spec.renormalise_gates:
        gates_Tk = gates_Tk / gates_Tk.sum(-1, keepdim=True)
    return Routing(logits_TE, probabilities_TE, gates_Tk, chosen_Tk)


class _RouterProduct(torch.autograd.Function):
    """x @ router in fp32, which keeps `x` as it is: autograd would keep a copy in fp32."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, router_DE: Tensor) -> Tensor:
        ctx.save_for_backward(x_TD, router_DE)
        return x_TD.float() @ router_DE.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, router_DE = ctx.saved_tensors
        dx_TD = (grads[0] @ router_DE.float().t()).to(x_TD.dtype) if wanted(ctx, 0) else None
        drouter_DE = (x_TD.float().t() @ grads[0]).to(router_DE.dtype) if wanted(ctx, 1) else None
        return dx_TD, drouter_DE


class Dispatch(NamedTuple):
    """Which row of the sorted block holds what.

    `token_P` [P] is the token each row copies (padding rows copy token 0 and are never read back), `row_R` [T*k] the
    row of each token's i-th choice, `groups` tells the rows of each expert, padding included.
    """

    token_P: Tensor
    row_R: Tensor
    groups: Groups


def dispatch(chosen_Tk: Tensor, experts: int, quantum: int) -> Dispatch:
    """Sort choices by expert; each expert's rows are rounded up to a multiple of `quantum`."""
    chosen = chosen_Tk.flatten()
    order_R = torch.argsort(chosen, stable=True)
    counts = torch.bincount(chosen, minlength=experts)
    padded = (counts + (quantum - 1)) // quantum * quantum
    shift = (padded.cumsum(0) - padded) - (counts.cumsum(0) - counts)
    row_sorted = torch.arange(len(chosen), device=chosen.device) + shift[chosen[order_R]]
    token_P = torch.zeros(int(padded.sum()), dtype=torch.int64, device=chosen.device)
    token_P[row_sorted] = order_R // chosen_Tk.shape[1]
    row_R = torch.empty_like(order_R)
    row_R[order_R] = row_sorted
    return Dispatch(token_P, row_R, padded.tolist())


def dispatch_on_device(chosen_Tk: Tensor, experts: int) -> Dispatch:
    """Sort choices by expert, without padding; no shape and no number hangs on the choices, so the host never waits."""
    chosen = chosen_Tk.flatten()
    order_R = torch.argsort(chosen, stable=True)
    rows = torch.arange(len(chosen), device=chosen.device)
    row_R = torch.empty_like(order_R).scatter_(0, order_R, rows)
    numbers_E = torch.arange(experts, device=chosen.device)
    ends_E = torch.searchsorted(chosen[order_R], numbers_E, right=True, out_int32=True)
    return Dispatch(order_R // chosen_Tk.shape[1], row_R, ends_E)


def row_quantum(tokens: int, spec_experts: int, device: torch.device) -> int:
    """Rows an expert's block is rounded up to.

    oneDNN compiles a product for each new shape, a third of the time at training sizes where row counts never repeat;
    rounding makes them repeat. Small batches would rather do without the padding.
    """
    return ROW_QUANTUM if device.type == "cpu" and tokens >= 4 * ROW_QUANTUM * spec_experts else 1


def mix_experts(
    x_TD: Tensor,
    routing: Routing,
    gate_EDF: Tensor,
    up_EDF: Tensor,
    down_EFD: Tensor,
    activation: str,
    *,
    on_device: bool | None = None,
) -> Tensor:
    """sum over the chosen experts of gate * down(act(gate(x)) * up(x)); [T, D] in the dtype of `x`.

    `on_device` chooses between the two ways to sort; None takes the one that suits the device.
    """
    experts = gate_EDF.shape[0]
    if x_TD.is_cuda if on_device is None else on_device:
        plan = dispatch_on_device(routing.chosen, experts)
    else:
        plan = dispatch(routing.chosen, experts, row_quantum(routing.chosen.numel(), experts, x_TD.device))
    gates_Tk = routing.gates.to(x_TD.dtype)
    return _MixExperts.apply(
        x_TD, gates_Tk, plan.token_P, plan.row_R, plan.groups, gate_EDF, up_EDF, down_EFD, activation
    )


def grouped_product(x_PD: Tensor, w_EDF: Tensor, groups: Groups) -> Tensor:
    """Rows of expert e times w[e]; rows are sorted by expert, `groups` says which each has. [P, F]."""
    if isinstance(groups, Tensor):
        return functional.grouped_mm(x_PD, w_EDF, offs=groups)
    # On a CPU torch's grouped product is this loop with an allocation per expert; writing into one output is faster.
    out_PF = x_PD.new_empty(x_PD.shape[0], w_EDF.shape[2])
    for x, w, out in zip(x_PD.split(groups), w_EDF.unbind(), out_PF.split(groups), strict=True):
        if len(x):
            torch.mm(x, w, out=out)
    return out_PF


def grouped_weight_gradient(x_PD: Tensor, dy_PF: Tensor, groups: Groups) -> Tensor:
    """For each expert, its rows' x^T · dy: [E, D, F]; zero for an expert without rows."""
    if isinstance(groups, Tensor):
        return functional.grouped_mm(x_PD.t(), dy_PF, offs=groups)
    out_EDF = x_PD.new_empty(len(groups), x_PD.shape[1], dy_PF.shape[1])
    for x, dy, out in zip(x_PD.split(groups), dy_PF.split(groups), out_EDF.unbind(), strict=True):
        torch.mm(x.t(), dy, out=out)
    return out_EDF


class _MixExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        gates_Tk: Tensor,
        token_P: Tensor,
        row_R: Tensor,
        groups: Groups,
        gate_EDF: Tensor,
        up_EDF: Tensor,
        down_EFD: Tensor,
        activation: str,
    ) -> Tensor:
        tokens, chosen = gates_Tk.shape
        x_PD = x_TD.index_select(0, token_P)
        g_PF = grouped_product(x_PD, gate_EDF, groups)
        u_PF = grouped_product(x_PD, up_EDF, groups)
        y_PD = grouped_product(gated_forward(g_PF, u_PF, activation), down_EFD, groups)
        y_TkD = y_PD.index_select(0, row_R).view(tokens, chosen, -1)
        ctx.save_for_backward(x_PD, g_PF, u_PF, y_TkD, gates_Tk, row_R, gate_EDF, up_EDF, down_EFD)
        ctx.groups, ctx.activation, ctx.inner = groups, activation, None
        out_TD = y_TkD[:, 0] * gates_Tk[:, :1]
        for i in range(1, chosen):
            out_TD.addcmul_(y_TkD[:, i], gates_Tk[:, i : i + 1])
        return out_TD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dout_TD, groups = grads[0], ctx.groups
        x_PD, g_PF, u_PF, y_TkD, gates_Tk, row_R, gate_EDF, up_EDF, down_EFD = ctx.saved_tensors
        tokens, chosen = gates_Tk.shape
        dx_TD = dgates_Tk = dgate_EDF = dup_EDF = ddown_EFD = None
        to_input, to_weights = wanted(ctx, 0, 1), wanted(ctx, -3, -2, -1)
        if ctx.inner is None:
            dy_RD = (dout_TD[:, None] * gates_Tk[..., None]).flatten(0, 1)
            # Padding rows get no gradient, so what they computed leaves no mark on the weights.
            dy_PD = torch.zeros_like(x_PD).index_copy_(0, row_R, dy_RD)
            dh_PF = grouped_product(dy_PD, down_EFD.transpose(1, 2), groups)
            ctx.inner = (dy_PD, *gated_backward(dh_PF, g_PF, u_PF, ctx.activation))
        dy_PD, dg_PF, du_PF, h_PF = ctx.inner
        ctx.inner = ctx.inner if to_input and not to_weights else None  # for the other half
        if to_weights:
            ddown_EFD = grouped_weight_gradient(h_PF, dy_PD, groups)
            dup_EDF = grouped_weight_gradient(x_PD, du_PF, groups)
            dgate_EDF = grouped_weight_gradient(x_PD, dg_PF, groups)
        if to_input:
            dgates_Tk = (y_TkD * dout_TD[:, None]).sum(-1)
            dx_PD = grouped_product(dg_PF, gate_EDF.transpose(1, 2), groups)
            dx_PD += grouped_product(du_PF, up_EDF.transpose(1, 2), groups)
            dx_TD = dx_PD.index_select(0, row_R).view(tokens, chosen, -1).sum(1)
        return dx_TD, dgates_Tk, None, None, None, dgate_EDF, dup_EDF, ddown_EFD, None

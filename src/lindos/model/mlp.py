"""The gated MLP every token passes beside its chosen experts (https://arxiv.org/abs/2002.05202, one gate).

Letters: T tokens, D width, F inner width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lindos.model.elementwise import gated_backward, gated_forward
from lindos.model.halves import wanted


def gated_mlp(x_TD: Tensor, gate_DF: Tensor, up_DF: Tensor, down_FD: Tensor, activation: str) -> Tensor:
    """down(act(gate(x)) * up(x)); [T, D] in the dtype of `x`. Differentiable in all four tensors."""
    return _GatedMLP.apply(x_TD, gate_DF, up_DF, down_FD, activation)


class _GatedMLP(torch.autograd.Function):
    """Keeps the input and the two products; the product of both is repeated in the backward pass, as for experts."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, gate_DF: Tensor, up_DF: Tensor, down_FD: Tensor, activation: str) -> Tensor:
        g_TF, u_TF = x_TD @ gate_DF, x_TD @ up_DF
        ctx.save_for_backward(x_TD, g_TF, u_TF, gate_DF, up_DF, down_FD)
        ctx.activation, ctx.inner = activation, None
        return gated_forward(g_TF, u_TF, activation) @ down_FD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dout_TD = grads[0]
        x_TD, g_TF, u_TF, gate_DF, up_DF, down_FD = ctx.saved_tensors
        dx_TD = dgate_DF = dup_DF = ddown_FD = None
        to_input, to_weights = wanted(ctx, 0), wanted(ctx, -3, -2, -1)
        if ctx.inner is None:
            ctx.inner = gated_backward(dout_TD @ down_FD.t(), g_TF, u_TF, ctx.activation)
        dg_TF, du_TF, h_TF = ctx.inner
        ctx.inner = ctx.inner if to_input and not to_weights else None  # for the other half
        if to_input:
            dx_TD = (dg_TF @ gate_DF.t()).addmm_(du_TF, up_DF.t())
        if to_weights:
            dgate_DF, dup_DF, ddown_FD = x_TD.t() @ dg_TF, x_TD.t() @ du_TF, h_TF.t() @ dout_TD
        return dx_TD, dgate_DF, dup_DF, ddown_FD, None

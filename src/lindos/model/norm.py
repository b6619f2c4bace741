"""RMSNorm (Zhang and Sennrich, https://arxiv.org/abs/1910.07467) in fp32 whatever the dtype around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lindos.model.elementwise import norm_backward, norm_forward


def rms_norm(x_TD: Tensor, scale_D: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * scale, in the dtype of `x`."""
    return _RMSNorm.apply(x_TD, scale_D, eps)


class _RMSNorm(torch.autograd.Function):
    """Keeps the input and one number a row; autograd over the formula would keep three fp32 copies."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, scale_D: Tensor, eps: float) -> Tensor:
        y_TD, inverse_T1 = norm_forward(x_TD, scale_D, eps)
        ctx.save_for_backward(x_TD, scale_D, inverse_T1)
        return y_TD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, scale_D, inverse_T1 = ctx.saved_tensors
        dx_TD, dscale_TD = norm_backward(grads[0], x_TD, scale_D, inverse_T1)
        return dx_TD, dscale_TD.flatten(0, -2).sum(0).to(scale_D.dtype), None

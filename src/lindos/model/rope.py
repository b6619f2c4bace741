"""Rotary positions (Su et al., https://arxiv.org/abs/2104.09864), rotate-half form, phase in fp32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lindos.model.elementwise import rotate_pairs


def rotary_phase(positions_T: Tensor, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """(cos, sin), each fp32 [T, head_size], the second half repeating the first."""
    exponent = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions_T.device) / head_size
    angle = positions_T.float()[..., None] / (base**exponent)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x_THC: Tensor, phase: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each head of `x` by the phase of its position. The product runs in fp32, the result keeps x's dtype."""
    return _Rotate.apply(x_THC, *phase)


class _Rotate(torch.autograd.Function):
    """A rotation's transpose is the rotation back, so nothing but the phase is kept."""

    @staticmethod
    def forward(ctx: Any, x_THC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        ctx.save_for_backward(cos_TC, sin_TC)
        return rotate_pairs(x_THC, cos_TC, sin_TC)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos_TC, sin_TC = ctx.saved_tensors
        return rotate_pairs(grads[0], cos_TC, -sin_TC), None, None

"""Rotary positions (Su et al., https://arxiv.org/abs/2104.09864), rotate-half form, phase in fp32, also stretched."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lindos.model.elementwise import rotate_pairs
from lindos.specs import RopeScaling


def rotary_phase(
    positions_T: Tensor, head_size: int, base: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """(cos, sin), each fp32 [T, head_size], the second half repeating the first.

    With `scaling` both are multiplied with its attention factor: `rotate` then scales what it turns.
    """
    exponent = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions_T.device) / head_size
    angle = positions_T.float()[..., None] / (base**exponent)
    if scaling is not None:
        angle = angle * _slowing(head_size, base, scaling, angle.device)
    angle = torch.cat((angle, angle), dim=-1)
    factor = 1.0 if scaling is None else scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1.0
    return (angle.cos(), angle.sin()) if factor == 1.0 else (angle.cos() * factor, angle.sin() * factor)


def _slowing(head_size: int, base: float, scaling: RopeScaling, device: torch.device) -> Tensor:
    """What each pair's frequency is multiplied with, from 1 (kept) to 1/factor (interpolated): fp32 [head_size / 2].

    Between the two pairs that turn `beta_fast` and `beta_slow` times within the original sequence, rounded outwards as
    in the authors' code (https://github.com/jquesnelle/yarn), it goes along a line.
    """

    def pair(turns: float) -> float:
        return head_size * math.log(scaling.original_sequence / (turns * 2 * math.pi)) / (2 * math.log(base))

    first = max(math.floor(pair(scaling.beta_fast)), 0)
    last = min(math.ceil(pair(scaling.beta_slow)), head_size - 1)
    pairs = torch.arange(head_size // 2, dtype=torch.float32, device=device)
    slowed = ((pairs - first) / (last - first if last != first else 0.001)).clamp(0, 1)
    return 1 - slowed * (1 - 1 / scaling.factor)


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

"""From weights to whole numbers and back: groups of 32 along a row share one fp16 scale.

The rounding to nearest is that of GGUF's Q8_0 and Q4_0 blocks, so that both turn into each other without loss.
Letters: N rows (outputs), K columns (inputs), G groups of 32 columns.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lindos.kernels.packing import GROUP, Packed, Quantised, pack, pack_bf16, unpack, unpack_bf16

Whole = Literal["int8", "int4"]
Rounding = Literal["nearest", "search"]
"""`nearest`: as in GGUF's blocks. `search`: of int4, each group's scale of least squared error; int8 as it is."""
DIVISORS = (-8.0, -7.75, -7.5, -7.25, -7.0, -8.25, -8.5, -8.75, -9.0)
"""What `search` tries the largest weight of a group at: numbers near -8, with one of them clipped beyond it."""


def quantise(weights_NK: Tensor, format: Whole, rounding: Rounding = "nearest") -> Quantised:
    """Round to nearest, or at the scale that a search finds.

    int8: scale = max|w| / 127 of the group. int4: scale = m / -8, where m is the weight of largest magnitude, so that
    it is met exactly whatever its sign. Both as in Q8_0 and Q4_0 of
    https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c: weights are divided by the scale in fp32,
    which is rounded to fp16 afterwards. A group that fp16 cannot scale (a magnitude beyond 524,000) is an error.
    """
    groups_NGW = grouped(weights_NK)
    if format == "int8":
        scales_NG = groups_NGW.abs().amax(-1) / 127.0
    else:
        largest = groups_NGW.abs().argmax(-1, keepdim=True)
        top_NG = groups_NGW.gather(-1, largest).squeeze(-1)
        scales_NG = top_NG / -8.0
        if rounding == "search":
            scales_NG = searched(groups_NGW, top_NG)
    return rounded(groups_NGW, scales_NG, format, weights_NK.shape[1])


def searched(groups_NGW: Tensor, top_NG: Tensor) -> Tensor:
    """Of int4 groups with largest weights `top_NG` the fp16 scale, as fp32, that leaves the least squared error: of the
    largest weight over each of DIVISORS, of equal ones the first. Sums run over the columns in order, in fp32."""
    best_NG, kept_NG = torch.full_like(top_NG, torch.inf), torch.zeros_like(top_NG)
    for divisor in DIVISORS:
        scales_NG = (top_NG / divisor).to(torch.float16).float()
        inverse_NG = torch.where(scales_NG == 0, torch.zeros_like(scales_NG), 1.0 / scales_NG)
        errors_NG = torch.zeros_like(top_NG)
        for weights_NG in groups_NGW.unbind(-1):
            off_NG = (torch.floor(weights_NG * inverse_NG + 8.5).clamp(0, 15) - 8) * scales_NG - weights_NG
            errors_NG += off_NG * off_NG
        better_NG = errors_NG < best_NG
        kept_NG = torch.where(better_NG, scales_NG, kept_NG)
        best_NG = torch.where(better_NG, errors_NG, best_NG)
    return kept_NG


def rounded(groups_NGW: Tensor, scales_NG: Tensor, format: Whole, columns: int) -> Quantised:
    """The nearest whole numbers at given fp32 scales [N, G]. Raises ValueError for weights that are not finite."""
    stored = scales_NG.to(torch.float16)
    if not bool(torch.isfinite(stored).all()):
        raise ValueError("weights that are not finite, or too large for fp16 scales, cannot be quantised")
    # Below the smallest normal number an inverse is infinite, and fp16 holds no scale: such groups are zeros.
    nothing = scales_NG.abs() < torch.finfo(torch.float32).tiny
    inverse = torch.where(nothing, torch.zeros_like(scales_NG), 1.0 / scales_NG)
    scaled = groups_NGW * inverse[..., None]
    if format == "int8":  # half away from zero, as C's roundf
        values = (torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)).clamp(-127, 127)
    else:
        values = torch.floor(scaled + 8.5).clamp(0, 15) - 8
    values_NK = values.to(torch.int8).reshape(values.shape[0], -1)[:, :columns]
    return Quantised(values_NK.contiguous().numpy(), stored.numpy())


def grouped(weights_NK: Tensor) -> Tensor:
    """fp32 [N, G, 32], the last group filled up with zeros."""
    rows, columns = weights_NK.shape
    padded = torch.nn.functional.pad(weights_NK.float(), (0, -columns % GROUP))
    return padded.view(rows, padded.shape[1] // GROUP, GROUP)


def dequantise(quantised: Quantised, *, multiplier: float = 1.0) -> Tensor:
    """fp32 weights [N, K]."""
    values = torch.from_numpy(quantised.values).float()
    scales = torch.from_numpy(quantised.scales.astype(np.float32)) * multiplier
    return values * scales.repeat_interleave(GROUP, 1)[:, : values.shape[1]]


def packed(weights_NK: Tensor, format: Literal["bf16", "int8", "int4"], rounding: Rounding = "nearest") -> Packed:
    """A matrix rounded to `format` in kernel layout."""
    if format == "bf16":
        return pack_bf16(weights_NK.detach().to(torch.bfloat16).contiguous().view(torch.uint16).numpy())
    return pack(quantise(weights_NK.detach(), format, rounding), format)


def weights_of(packed: Packed) -> Tensor:
    """fp32 weights [N, K] that a packed matrix stands for, exactly."""
    if packed.format == "bf16":
        return torch.from_numpy(unpack_bf16(packed)).view(torch.bfloat16).float()
    return dequantise(unpack(packed), multiplier=packed.multiplier)

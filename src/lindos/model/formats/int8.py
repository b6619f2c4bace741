"""Eight-bit weights: symmetric, with scales per output channel and, in the release, per group of input rows.

Weights are [..., in, out] and scales [..., groups, out]; the rows of the input dimension are cut into `groups` equal
blocks. A single group is what Lindos writes itself; embeddings have one scale a row, [in, 1], as each row is an output
channel of the tied head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def widen(weights: Tensor, scales: Tensor) -> Tensor:
    """fp32 weights [..., in, out] of int8 weights and scales [..., groups, out or 1]."""
    groups = scales.shape[-2]
    wide = weights.to(torch.float32)
    wide.unflatten(-2, (groups, -1)).mul_(scales.to(torch.float32).unsqueeze(-2))
    return wide


def quantise(weights: Tensor, *, by_row: bool = False) -> tuple[Tensor, Tensor]:
    """int8 weights and fp32 scales, one a column [..., 1, out] or a row [..., in, 1]; off by half a step at most."""
    wide = weights.to(torch.float32)
    scales = wide.abs().amax(dim=-1 if by_row else -2, keepdim=True) / 127
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return torch.round(wide / scales).to(torch.int8), scales


def scale_fits(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether scales of this shape can widen weights of that shape."""
    if len(weight) < 2 or len(scale) != len(weight) or scale[:-2] != weight[:-2]:
        return False
    return scale[-2] > 0 and weight[-2] % scale[-2] == 0 and scale[-1] in {1, weight[-1]}

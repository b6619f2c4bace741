"""Rotary phases by position, kept: to compute them took a twentieth of a small model's token.

Letters: T tokens, C head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lindos.model.rope import rotary_phase
from lindos.specs import ModelSpec

MOST = 1 << 14
"""Positions whose phases are kept; those beyond are computed anew."""

Rows = tuple[NDArray[np.float32], NDArray[np.float32]]


class Phases:
    """Those of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._kept = self._compute(range(256))

    def rows(self, positions: Sequence[int]) -> Rows:
        """Cosines and sines, fp32 [T, C] each."""
        last = max(positions)
        if last >= MOST:
            return self._compute(positions)
        if last >= len(self._kept[0]):
            self._kept = self._compute(range(min(MOST, 2 * (last + 1))))
        cosines, sines = self._kept
        return cosines[positions], sines[positions]

    def _compute(self, positions: Sequence[int]) -> Rows:
        spec, positions_T = self._spec, torch.tensor(positions)
        cosines, sines = rotary_phase(positions_T, spec.head_size, spec.rope_base, spec.rope_scaling)
        return cosines.numpy(), sines.numpy()

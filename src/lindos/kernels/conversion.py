"""From matrices as checkpoints hold them to packed ones: by native kernels, or by PyTorch and NumPy without them.

Both ways give the same bytes; `quantising` and `packing` define them. The native way passes over the numbers once,
never widens more than a group, and lets other threads of Python run meanwhile.

Letters: N rows (outputs), K columns (inputs), B equal parts of a row with a scale each.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lindos.kernels.choosing import chosen_kernels, native_module
from lindos.kernels.packing import FORMATS, GROUP, Format, PackingError, Quantised, pack, packed_bytes
from lindos.kernels.quantising import DIVISORS, Rounding, Whole, packed


class Stored(NamedTuple):
    """A matrix [N, K] as a checkpoint holds it: fp32, the bits of bf16 (uint16), or int8 with fp32 `scales` [N, B].

    Either its outputs or its inputs lie side by side in memory; B divides K.
    """

    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None

    def rows(self, some: slice) -> Stored:
        """Some of the outputs."""
        return Stored(self.values[some], None if self.scales is None else self.scales[some])

    def widened(self) -> NDArray[np.float32]:
        """fp32 [N, K]."""
        if self.values.dtype == np.uint16:
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        wide = self.values.astype(np.float32)
        if self.scales is not None:
            wide *= np.repeat(self.scales, wide.shape[1] // self.scales.shape[1], axis=1)
        return wide


def pack_rounded(stored: Stored, format: Format, rounding: Rounding = "nearest") -> NDArray[np.uint8]:
    """The matrix rounded to `format` in kernel layout. Raises ValueError for what is not finite or too large."""
    found = _native()
    if found is None or (stored.scales is not None and not _of_groups(stored.scales.shape[1], stored.values.shape[1])):
        return packed(torch.from_numpy(stored.widened()), format, rounding).data
    native, name = found
    divisors = np.array(DIVISORS if rounding == "search" else (), np.float32)
    values, out = _reachable(stored.values), _room(format, stored.values)
    if not native.pack_rounded(name, values, stored.scales, FORMATS.index(format), divisors, out):
        raise ValueError("weights that are not finite, or too large for fp16 scales, cannot be quantised")
    return out


def pack_whole(values_NK: NDArray[np.int8], scales_NB: NDArray[np.float16], format: Whole) -> NDArray[np.uint8]:
    """Whole numbers and their scales, as they are, in kernel layout: B is 1, one for a group, or equal parts of whole
    groups. Raises PackingError for values out of range."""
    found = _native()
    if found is None or not _of_groups(scales_NB.shape[1], values_NK.shape[1]):
        return pack(Quantised(values_NK, by_group(scales_NB, values_NK.shape[1])), format).data
    native, name = found
    out = _room(format, values_NK)
    if not native.lay_out(name, _reachable(values_NK), scales_NB.view(np.uint16), FORMATS.index(format), out):
        raise PackingError("int4 values lie from -8 to 7")
    return out


def by_group(scales_NB: NDArray[np.float16], columns: int) -> NDArray[np.float16]:
    """One scale for each group [N, ceil(K / 32)]. Raises PackingError where a group has several."""
    if not _of_groups(scales_NB.shape[1], columns):
        raise PackingError(f"{scales_NB.shape[1]} scales for {columns} inputs do not stand for whole groups of {GROUP}")
    groups = -(-columns // GROUP)
    return np.repeat(scales_NB, groups // scales_NB.shape[1], axis=1)


def _of_groups(blocks: int, columns: int) -> bool:
    """Whether each of so many scales of a row stands for whole groups."""
    groups = -(-columns // GROUP)
    return blocks in (1, groups) or (columns % blocks == 0 and columns // blocks % GROUP == 0)


def _native() -> tuple[ModuleType, str] | None:
    name, native = chosen_kernels(), native_module()
    return None if name == "torch" or native is None else (native, name)


def _reachable(values: NDArray[Any]) -> NDArray[Any]:
    """As it is, or a copy where neither side lies in a row."""
    return values if values.itemsize in values.strides else np.ascontiguousarray(values)


def _room(format: Format, values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.empty(packed_bytes(format, *values.shape), np.uint8)

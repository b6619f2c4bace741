"""Arrays that lie in a file and are read when asked for.

Reading goes by offsets with plain reads, not through a mapping: a mapped checkpoint counts as this process's memory
page by page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lindos.kernels.directfile import DirectFile, ReadError, Region, aligned
from lindos.model.formats.source import FormatError, Storage

DIRECT_BYTES = 32 << 20
"""What is as large as this is read past the system's cache."""
_STORAGE: dict[str, Storage] = {"f4": "fp32", "f2": "fp16", "bfloat16": "bf16", "i1": "int8"}


@dataclass(frozen=True)
class ArrayRef:
    """An array that lies in a file: [*shape] numbers of `kind`, from byte `offset` on."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    kind: str
    """numpy's letter and size ("f4", "i1", ...) or "bfloat16"."""
    fortran: bool = False

    @property
    def storage(self) -> Storage:
        """The precision `read` gives; other kinds of numbers become fp32."""
        return _STORAGE.get(self.kind, "fp32")

    def read(self, rows: slice | None = None) -> Tensor:
        """Rows of the leading axis, or all. Raises FormatError when the file has become shorter."""
        if self.fortran:
            whole = self._numbers(0, math.prod(self.shape)).reshape(self.shape[::-1])
            tensor = whole.permute(*range(whole.ndim - 1, -1, -1))
            return (tensor if rows is None else tensor[rows]).contiguous()
        rows = rows or slice(0, self.shape[0] if self.shape else 1)
        row = math.prod(self.shape[1:])
        return self._numbers(rows.start * row, (rows.stop - rows.start) * row).reshape(-1, *self.shape[1:])

    def _numbers(self, start: int, count: int) -> Tensor:
        dtype = np.dtype("<i2" if self.kind == "bfloat16" else f"<{self.kind}")
        try:
            numbers = _read(self.path, dtype, self.offset + start * dtype.itemsize, count)
        except (OSError, MemoryError, ReadError) as error:
            raise FormatError(f"{self.path}: cannot be read: {error}") from None
        if len(numbers) != count:
            raise FormatError(f"{self.path}: ends in the middle of an array; it was truncated")
        tensor = torch.from_numpy(numbers)
        if self.kind == "bfloat16":
            return tensor.view(torch.bfloat16)
        return tensor if self.kind in _STORAGE else tensor.to(torch.float32)


def _read(path: Path, dtype: np.dtype[Any], offset: int, count: int) -> np.ndarray:
    """So many numbers, or fewer where the file ends. Large reads pass by the system's cache, which costs several times
    the processor's time and pushes out what is worth keeping."""
    size = count * dtype.itemsize
    if size < DIRECT_BYTES:
        return np.fromfile(path, dtype, count, offset=offset)
    first, length = aligned(offset, size)
    room = Region(length).bytes[:length]
    file = DirectFile(path)
    try:
        done = file.fill(first, room)
    finally:
        file.close()
    there = max(0, min(done - (offset - first), size)) // dtype.itemsize * dtype.itemsize
    data = room[offset - first : offset - first + there]
    # An offset that is no multiple of the width (a pickle's header has any length) is no place for such numbers.
    return (data if (offset - first) % dtype.itemsize == 0 else data.copy()).view(dtype)


@dataclass(frozen=True)
class QuantizedRef:
    """The release's `QuantizedWeight8bit`: int8 weights and the scales of groups of their rows."""

    weight: ArrayRef
    scales: ArrayRef

"""What every checkpoint format offers: Lindos's own tensors, by name, read piece by piece.

Names and orientation are those of `Transformer.state_dict()` whatever the files call them and however they turn
them; quantised weights come out widened. Only `blocks` of a tensor are ever asked for, so memory stays bounded by
one matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lindos.model.formats.int8 import widen
from lindos.specs import LindosError, ModelSpec

Storage = Literal["fp32", "bf16", "fp16", "int8"]
DTYPES: dict[Storage, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.int8,
}
WIDTHS: dict[Storage, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
BLOCK_BYTES = 64 << 20
"""How much of an embedding is read at a time, in bytes of fp32."""
BLOCK_ROWS = 16
"""Of which its rows are then a multiple: what the kernels' layout takes together."""


class FormatError(LindosError):
    """A checkpoint that cannot be read or written; the text names the file, what is wrong with it and what to do."""


@dataclass(frozen=True)
class TensorInfo:
    """One of Lindos's tensors as a checkpoint stores it."""

    name: str
    shape: tuple[int, ...]
    storage: Storage
    files: tuple[Path, ...] = ()
    """Where it lies: errors name the first, and a resumed conversion looks whether any of them changed."""
    scale_shape: tuple[int, ...] = ()
    """Of an int8 tensor [..., in, out]: [..., groups, out], or [in, 1] with one scale a row."""
    scale_storage: Storage = "fp32"

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def where(self) -> str:
        """The tensor and its file, for errors."""
        return f"tensor '{self.name}'" + (f" ({self.files[0]})" if self.files else "")

    @property
    def scaled_by_row(self) -> bool:
        return len(self.shape) == 2 and self.scale_shape == (self.shape[0], 1)

    def blocks(self) -> Iterator[slice]:
        """Ranges of the leading axis to read in turn: each expert, some rows of an embedding, else all of it."""
        rows = self.shape[0]
        step = rows
        if len(self.shape) == 3:
            step = 1
        elif self.name in {"embedding", "head"} and (self.storage != "int8" or self.scaled_by_row):
            step = max(BLOCK_ROWS, BLOCK_BYTES // (4 * self.shape[1]) // BLOCK_ROWS * BLOCK_ROWS)
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))


class TensorSource(ABC):
    """A checkpoint whose description and headers have been read and found sound. Holds no files open."""

    format: str
    directory: Path
    spec: ModelSpec
    tensors: Mapping[str, TensorInfo]
    """Complete and of the shapes that `spec` implies, or opening would have failed; in the order of `state_dict`."""

    @abstractmethod
    def read(self, name: str, rows: slice) -> Tensor:
        """Rows of the leading axis in the stored precision, int8 widened to fp32. Raises FormatError."""

    def read_int8(self, name: str, rows: slice) -> tuple[Tensor, Tensor]:
        """An int8 tensor as it is stored: weights and their scales, for `rows` as `TensorInfo.blocks` gives them."""
        raise FormatError(f"{self.directory}: tensor '{name}' is not stored as int8")

    def read_scales(self, name: str) -> Tensor:
        """All scales of a tensor stored as int8, without its weights."""
        raise FormatError(f"{self.directory}: tensor '{name}' is not stored as int8")

    def widened(self, name: str, rows: slice) -> Tensor:
        """What `read` gives for an int8 tensor: fp32."""
        weights, scales = self.read_int8(name, rows)
        return widen(weights, scales)

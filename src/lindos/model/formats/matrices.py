"""Tensors as the matrices [out, in] that are packed, in the numbers in which a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lindos.kernels.conversion import Stored
from lindos.model.formats.source import TensorSource

VOCABULARY = frozenset({"embedding", "head"})
"""Matrices with their outputs first already."""


def outputs_first(name: str, block: Tensor) -> list[Tensor]:
    """A block of one of Lindos's tensors as matrices [out, in]."""
    if block.ndim == 3:
        return [matrix.t() for matrix in block]
    return [block if name in VOCABULARY else block.t()]


def stored_matrices(source: TensorSource, name: str, rows: slice) -> Iterator[Stored]:
    """Each of these experts, or the matrix (these rows, of embedding and head), nothing widened. Raises FormatError."""
    info = source.tensors[name]
    # A scale stands for a part of a row of [out, in]; of embedding and head only where it is that of a whole row.
    if info.storage != "int8" or info.scaled_by_row != (name in VOCABULARY):
        yield from (Stored(_numbers(matrix)) for matrix in outputs_first(name, source.read(name, rows)))
        return
    values, scales = source.read_int8(name, rows)
    if name not in VOCABULARY:
        scales = scales.expand(*scales.shape[:-1], values.shape[-1])
    for matrix, its in zip(outputs_first(name, values), outputs_first(name, scales.float()), strict=True):
        yield Stored(matrix.numpy(), its.numpy())


def _numbers(matrix: Tensor) -> np.ndarray:
    """fp32, or the bits of bf16."""
    if matrix.dtype == torch.bfloat16:
        return matrix.view(torch.uint16).numpy()
    return matrix.float().numpy()

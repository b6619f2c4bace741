"""Which sources hold matrices in whole numbers, so that they go from one quantised form into another as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from lindos.kernels.packing import GROUP, Format, Quantised, unpack
from lindos.kernels.quantising import Whole
from lindos.model.formats.gguf.architectures import ROWS_FIRST
from lindos.model.formats.gguf.source import GgufSource
from lindos.model.formats.names import stays_fp32
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.source import FormatError, TensorSource

_HELD: dict[Whole, tuple[Whole, ...]] = {"int8": ("int8", "int4"), "int4": ("int4",)}
"""What each can take over."""


def whole_format(source: TensorSource, name: str) -> Whole | None:
    """As what a tensor lies in a source in groups of 32 inputs with fp16 scales; None where it does not."""
    if isinstance(source, GgufSource):
        return source.whole_format(name)
    if isinstance(source, PackedSource):
        matrices = source.matrices(name)
        format = matrices[0].format if matrices else "bf16"
        return None if format == "bf16" else format
    info = source.tensors[name]
    if info.storage != "int8" or info.scale_storage != "fp16":
        return None
    *stack, inputs, outputs = info.shape
    return "int8" if inputs % GROUP == 0 and info.scale_shape == (*stack, inputs // GROUP, outputs) else None


def is_exact(source: TensorSource, name: str, format: Format) -> bool:
    """Whether `format` can hold a tensor of a source as it is, in whole numbers."""
    return format != "bf16" and not stays_fp32(name) and whole_format(source, name) in _HELD[format]


def whole_matrices(source: TensorSource, name: str, rows: slice) -> Iterator[Quantised]:
    """Each of these experts, or the matrix [out, in] (these rows, of embedding and head). Raises FormatError."""
    for whole in _whole_matrices(source, name, rows):
        if not np.isfinite(whole.scales).all():
            raise FormatError(f"{source.tensors[name].where}: holds scales that are not finite; the file is damaged")
        yield whole


def _whole_matrices(source: TensorSource, name: str, rows: slice) -> Iterator[Quantised]:
    if isinstance(source, GgufSource):
        yield from source.whole_numbers(name, rows)
    elif isinstance(source, PackedSource):
        found = source.matrices(name)
        if name in ROWS_FIRST:
            whole = unpack(source.packed(found[0]))
            yield Quantised(whole.values[rows], whole.scales[rows])
            return
        for matrix in found[rows] if len(source.tensors[name].shape) == 3 else found:
            yield unpack(source.packed(matrix))
    else:
        values, scales = (part.numpy() for part in source.read_int8(name, rows))
        stacked = values.ndim == 3
        for one, its in zip(values if stacked else [values], scales if stacked else [scales], strict=True):
            yield Quantised(np.ascontiguousarray(one.T), np.ascontiguousarray(cast(np.ndarray, its).T))

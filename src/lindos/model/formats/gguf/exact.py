"""Which sources hold matrices in whole numbers, so that they go from one quantised form into another as they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lindos.kernels.conversion import by_group
from lindos.kernels.packing import GROUP, Format, PackingError, Quantised, unpack
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


def multipliers(source: TensorSource, name: str) -> list[float]:
    """Of each matrix of a tensor in whole numbers the power of two that its fp16 scales are multiplied with; nothing
    where the tensor is in none, or fp16 with one power of two does not hold all scales of a matrix exactly."""
    if isinstance(source, PackedSource):
        return [matrix.multiplier for matrix in source.matrices(name)]
    info = source.tensors[name]
    if isinstance(source, GgufSource):
        return [1.0] * (info.shape[0] if len(info.shape) == 3 else 1)
    if info.storage != "int8" or info.scaled_by_row != (name in ROWS_FIRST):
        return []
    scales = source.read_scales(name).float().numpy()
    found = [multiplier_of(its) for its in (scales if scales.ndim == 3 else scales[None])]
    try:
        by_group(np.empty((1, 1 if info.scaled_by_row else info.scale_shape[-2]), np.float16), _inputs(source, name))
    except PackingError:
        return []
    return [one for one in found if one is not None] if None not in found else []


def multiplier_of(scales: NDArray[np.float32]) -> float | None:
    """The power of two (1 where that will do) that leaves numbers which fp16 holds exactly; None where none does."""
    if not np.isfinite(scales).all():
        return None
    top = int(np.frexp(np.abs(scales).max(initial=0.0))[1])
    for power in (0, top - 16, top - 15):  # the largest just below fp16's largest, so that the smallest have room
        shifted = np.ldexp(scales.astype(np.float64), -max(power, -126))
        with np.errstate(over="ignore"):
            if np.array_equal(shifted.astype(np.float16).astype(np.float64), shifted):
                return 2.0 ** max(power, -126)
    return None


def is_exact(source: TensorSource, name: str, format: Format, *, multiplied: bool = False) -> bool:
    """Whether `format` can hold a tensor of a source as it is, in whole numbers. `multiplied`: with a power of two on
    the scales of each matrix."""
    if format == "bf16" or stays_fp32(name):
        return False
    whole = whole_format(source, name)
    if whole is None and source.tensors[name].storage == "int8":
        whole = "int8"
    if whole not in _HELD[format]:
        return False
    found = multipliers(source, name)
    return bool(found) and (multiplied or all(one == 1.0 for one in found))


def whole_matrices(source: TensorSource, name: str, rows: slice) -> Iterator[Quantised]:
    """Each of these experts, or the matrix [out, in] (these rows, of embedding and head), its scales without their
    multiplier. Raises FormatError."""
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
        yield from _stored(source, name, rows)


def _stored(source: TensorSource, name: str, rows: slice) -> Iterator[Quantised]:
    """int8 as a checkpoint has it: inputs first but for embedding and head, a scale for each block of inputs."""
    values, scales = source.read_int8(name, rows)
    wide = scales.float().numpy()
    stacked = values.ndim == 3
    powers = multipliers(source, name)
    for one, its, power in zip(
        values.numpy() if stacked else [values.numpy()],
        wide if stacked else [wide],
        powers[rows] if stacked else powers,
        strict=True,
    ):
        half = (its / np.float32(power)).astype(np.float16)
        if name in ROWS_FIRST:
            yield Quantised(one, by_group(half, one.shape[1]))
        else:
            half = np.broadcast_to(half, (len(half), one.shape[1]))
            yield Quantised(one.T, by_group(half.T, one.shape[0]))


def _inputs(source: TensorSource, name: str) -> int:
    shape = source.tensors[name].shape
    return shape[-1] if name in ROWS_FIRST else shape[-2]

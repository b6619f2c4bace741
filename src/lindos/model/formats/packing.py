"""Writing the quantised directory of `packedfiles`: what each tensor becomes, and the files it is laid out in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lindos.kernels.conversion import Stored, pack_rounded, pack_whole
from lindos.kernels.limits import usable_cores
from lindos.kernels.packing import LAYOUT_VERSION, STRIP, Packed, Quantised, packed_bytes
from lindos.kernels.quantising import Rounding, dequantise, weights_of
from lindos.model.formats.calibration import Moments, compensated, moments_for
from lindos.model.formats.gguf.exact import is_exact, multipliers, whole_matrices
from lindos.model.formats.matrices import VOCABULARY, outputs_first, stored_matrices
from lindos.model.formats.names import stays_fp32
from lindos.model.formats.packedfiles import (
    ALIGNMENT,
    FORMAT,
    Matrix,
    Weights,
    layer_groups,
    matrices,
    vocabulary_format,
)
from lindos.model.formats.sinks import Piece, Sink
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import Entry
from lindos.specs import ModelSpec

ROWS_AT_A_TIME = 256 * STRIP
"""Outputs that are rounded and packed at a time, so that memory holds little beside the matrix as it was read."""


class PackedSink(Sink):
    """Matrices of whole numbers, or bf16, in kernel layout."""

    format = "packed"
    alignment = ALIGNMENT

    def __init__(
        self,
        weights: Weights,
        source: TensorSource | None = None,
        rounding: Rounding = "nearest",
        moments: Moments | None = None,
    ) -> None:
        """What `source` holds in whole numbers that `weights` can hold, too, is taken over as it is. With `moments` of
        the inputs, int4 matrices are rounded by them (see `calibration`)."""
        super().__init__("keep")
        self.weights: Weights = weights
        self.rounding: Rounding = rounding
        self.moments = moments or {}
        self.threads = 0 if moments else min(2, usable_cores())
        self.exact: set[str] = set()
        self.rounded_anew: list[str] = []
        """Tensors of int8 whose scales fp16 does not hold even with a power of two."""
        self._multipliers: dict[str, float] = {}
        for name, info in source.tensors.items() if source is not None else ():
            if is_exact(source, name, self._format(name), multiplied=True):  # type: ignore[arg-type]
                self.exact.add(name)
                found = zip(matrices(name, info.shape, weights), multipliers(source, name), strict=True)  # type: ignore[arg-type]
                self._multipliers |= {matrix.name: power for matrix, power in found if power != 1.0}
            elif info.storage == "int8" and self._format(name) == "int8" and not stays_fp32(name):
                self.rounded_anew.append(name)

    def units(self, tensors: list[TensorInfo]) -> list[list[TensorInfo]]:
        by_name = {info.name: info for info in tensors}
        return [[by_name[name] for name in group] for group in layer_groups(list(by_name))]

    def entries(self, info: TensorInfo) -> list[Entry]:
        found = matrices(info.name, info.shape, self.weights)
        if not found:
            return [Entry(info.name, "fp32", info.shape)]
        if len(info.shape) < 3:
            return [Entry(found[0].name, "int8", (found[0].bytes,))]
        pad = _padding(info.shape, self.weights) if info.name.endswith(".down") else 0
        return [Entry(matrix.name, "int8", (matrix.bytes + pad,)) for matrix in found]

    def ordered(self, entries: Iterable[Entry]) -> list[Entry]:
        """Each expert's gate, up and down side by side, first of all; what must be aligned to its width before the rest
        of a file, which is bytes."""

        def key(entry: Entry) -> tuple[int, str, int, int]:
            parts = entry.name.split(".")
            if len(parts) == 5 and parts[2] == "experts" and parts[4].isdigit():
                return 0, parts[1], int(parts[4]), ("gate", "up", "down").index(parts[3])
            return (1 if entry.storage == "fp32" else 2), "", 0, 0

        return sorted(entries, key=key)

    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        found = matrices(info.name, info.shape, self.weights)
        if not found:
            block = source.read(info.name, rows)
            if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(block)):
                raise FormatError(f"{info.where}: holds values that are not finite; the file is damaged")
            yield info.name, rows.start, block.float()
            return
        first = rows.start if len(info.shape) == 2 and info.name in VOCABULARY else 0
        numbers = range(rows.start, rows.stop) if len(info.shape) == 3 else (0,)
        turned: Iterable[Stored | Quantised] = stored_matrices(source, info.name, rows)
        if info.name in self.exact:
            turned = whole_matrices(source, info.name, rows)
        elif self._is_calibrated(info.name):
            plain = stored_matrices(source, info.name, rows)
            turned = (self._compensated(info.name, number, one) for number, one in zip(numbers, plain, strict=True))
        for number, matrix in zip(numbers, turned, strict=True):
            yield from self._packed(info, found[number].name, matrix, first)
            yield from self._end(info, found[number])

    def _packed(self, info: TensorInfo, name: str, matrix_NK: Stored | Quantised, first: int) -> Iterator[Piece]:
        """`first`: the matrix's row that these begin with, a multiple of a strip."""
        rows, columns = matrix_NK.values.shape
        format = self._format(info.name)
        for start in range(0, rows, ROWS_AT_A_TIME):
            some = slice(start, start + ROWS_AT_A_TIME)
            if isinstance(matrix_NK, Stored):
                try:
                    data = pack_rounded(matrix_NK.rows(some), format, self.rounding)
                except ValueError as error:
                    raise FormatError(f"{info.where}: holds {error}; the file may be damaged") from None
            elif format != "bf16":
                data = pack_whole(matrix_NK.values[some], matrix_NK.scales[some], format)
            else:
                raise ValueError(f"{name}: bf16 has no whole numbers")
            at = packed_bytes(format, first + start, columns) if first + start else 0
            yield name, at, torch.from_numpy(data).view(torch.int8)

    def _format(self, name: str) -> Weights:
        return vocabulary_format(self.weights) if name in VOCABULARY else self.weights

    def _end(self, info: TensorInfo, matrix: Matrix) -> Iterator[Piece]:
        """What keeps the next expert aligned."""
        if len(info.shape) == 3 and info.name.endswith(".down") and (pad := _padding(info.shape, self.weights)):
            yield matrix.name, matrix.bytes, torch.zeros(pad, dtype=torch.int8)

    def rounded(self, info: TensorInfo, block: Tensor, rows: slice) -> Tensor:
        if info.name in self.exact or not matrices(info.name, info.shape, self.weights):
            return block.float()
        matrices_NK = outputs_first(info.name, block.float())
        numbers = range(rows.start, rows.stop) if block.ndim == 3 else (0,)
        found = [self._rounded(info.name, number, one) for number, one in zip(numbers, matrices_NK, strict=True)]
        if block.ndim == 3:
            return torch.stack([matrix.t() for matrix in found])
        return found[0] if info.name in VOCABULARY else found[0].t()

    def _is_calibrated(self, name: str) -> bool:
        return bool(self.moments) and self._format(name) == "int4"

    def _compensated(self, name: str, number: int, stored: Stored) -> Quantised:
        try:
            return compensated(torch.from_numpy(stored.widened()), moments_for(self.moments, name, number))
        except (RuntimeError, ValueError) as error:  # no positive squares
            raise FormatError(
                f"tensor '{name}': its inputs in the text of calibration are of no use: {error}"
            ) from None

    def _rounded(self, name: str, number: int, matrix_NK: Tensor) -> Tensor:
        format = self._format(name)
        if self._is_calibrated(name):
            return dequantise(self._compensated(name, number, Stored(matrix_NK.numpy())))
        data = pack_rounded(Stored(matrix_NK.numpy()), format, self.rounding)
        return weights_of(Packed(format, matrix_NK.shape[0], matrix_NK.shape[1], data))

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        described = {
            "format": FORMAT,
            "layout": LAYOUT_VERSION,
            "weights": self.weights,
            "spec": json.loads(spec.model_dump_json()),
        }
        return described | ({"multipliers": self._multipliers} if self._multipliers else {})


def _padding(down_shape: tuple[int, ...], weights: Weights) -> int:
    """Bytes behind an expert's down matrix, so that the next one begins aligned."""
    _, inner, width = down_shape
    expert = 2 * packed_bytes(weights, inner, width) + packed_bytes(weights, width, inner)
    return -expert % ALIGNMENT

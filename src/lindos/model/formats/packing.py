"""Writing the quantised directory of `packedfiles`: what each tensor becomes, and the files it is laid out in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lindos.kernels.packing import LAYOUT_VERSION, STRIP, packed_bytes
from lindos.kernels.quantising import packed, weights_of
from lindos.model.formats.packedfiles import ALIGNMENT, FORMAT, Weights, layer_groups, matrices, vocabulary_format
from lindos.model.formats.sinks import Piece, Sink
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import Entry
from lindos.specs import ModelSpec

ROWS_AT_A_TIME = 64 * STRIP
"""Outputs that are rounded and packed at a time, so that memory holds little beside the matrix as it was read."""


class PackedSink(Sink):
    """Matrices of whole numbers, or bf16, in kernel layout."""

    format = "packed"
    alignment = ALIGNMENT

    def __init__(self, weights: Weights) -> None:
        super().__init__("keep")
        self.weights: Weights = weights

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
        block = source.read(info.name, rows)
        if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(block)):
            raise FormatError(f"{info.where}: holds values that are not finite; the file is damaged")
        found = matrices(info.name, info.shape, self.weights)
        if not found:
            yield info.name, rows.start, block.float()
        elif info.name in {"embedding", "head"}:
            yield from self._packed(found[0].name, block, rows.start, vocabulary_format(self.weights))
        elif len(info.shape) == 2:
            yield from self._packed(found[0].name, block.t(), 0, self.weights)
        else:
            for expert, matrix in zip(range(rows.start, rows.stop), block, strict=True):
                yield from self._packed(found[expert].name, matrix.t(), 0, self.weights)
                if info.name.endswith(".down") and (pad := _padding(info.shape, self.weights)):
                    yield found[expert].name, found[expert].bytes, torch.zeros(pad, dtype=torch.int8)

    def _packed(self, name: str, weights_NK: Tensor, first: int, format: Weights) -> Iterator[Piece]:
        """`first`: the matrix's row that these begin with, a multiple of a strip."""
        rows, columns = weights_NK.shape
        for start in range(0, rows, ROWS_AT_A_TIME):
            some = weights_NK[start : start + ROWS_AT_A_TIME]
            data = packed(some, format).data
            at = packed_bytes(format, first + start, columns) if first + start else 0
            yield name, at, torch.from_numpy(data).view(torch.int8)

    def rounded(self, info: TensorInfo, block: Tensor) -> Tensor:
        found = matrices(info.name, info.shape, self.weights)
        if not found:
            return block.float()
        if info.name in {"embedding", "head"}:
            return weights_of(packed(block, vocabulary_format(self.weights)))
        if len(info.shape) == 2:
            return weights_of(packed(block.t(), self.weights)).t()
        return torch.stack([weights_of(packed(matrix.t(), self.weights)).t() for matrix in block])

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "layout": LAYOUT_VERSION,
            "weights": self.weights,
            "spec": json.loads(spec.model_dump_json()),
        }


def _padding(down_shape: tuple[int, ...], weights: Weights) -> int:
    """Bytes behind an expert's down matrix, so that the next one begins aligned."""
    _, inner, width = down_shape
    expert = 2 * packed_bytes(weights, inner, width) + packed_bytes(weights, width, inner)
    return -expert % ALIGNMENT

"""A GGUF file as a source of Lindos's tensors: matrices turned, halves of heads put back, blocks widened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lindos.kernels.packing import GROUP, Quantised
from lindos.kernels.quantising import Whole, dequantise
from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.fields import read_fields
from lindos.model.formats.gguf.architectures import ROWS_FIRST, Architecture, Rows, in_halves
from lindos.model.formats.gguf.blocks import whole_numbers
from lindos.model.formats.gguf.description import architecture_of, fields_of
from lindos.model.formats.gguf.header import Header, Stored, read_gguf
from lindos.model.formats.names import expected_shapes
from lindos.model.formats.sizes import resolve
from lindos.model.formats.source import FormatError, Storage, TensorInfo, TensorSource

_STORAGE: dict[str, Storage] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


class GgufSource(TensorSource):
    """A GGUF file, or the files of a split one.

    Matrices of Q8_0 and Q4_0 count as int8 with a scale for every 32 inputs, which holds both exactly.
    """

    format = "gguf"

    def __init__(self, path: Path, spec: Path | str | None = None) -> None:
        """`spec`: a description file or catalogue name instead of the keys. Raises FormatError and SpecError."""
        self.directory = path
        self.header = read_gguf(path)
        self.architecture = architecture_of(self.header)
        fields, where = (
            read_fields(spec) if spec is not None else (fields_of(self.header, self.architecture), str(path))
        )
        self._stored = _named(self.header, self.architecture)
        tensors = {name: _info(name, stored) for name, stored in self._stored.items()}
        self.spec = resolve(fields, tensors, where=where, name=path.stem)
        self.tensors: Mapping[str, TensorInfo] = {name: tensors[name] for name, _ in expected_shapes(self.spec)}

    def read(self, name: str, rows: slice) -> Tensor:
        stored = self._stored[name]
        if stored.kind.whole is not None:
            matrices = [dequantise(whole) for whole in self.whole_numbers(name, rows)]
        elif len(stored.shape) == 3:
            matrices = list(_plain(stored, rows))
        elif name in ROWS_FIRST or len(stored.shape) == 1:
            return _plain(stored, rows)
        else:
            matrices = [self._in_halves(name, _plain(stored, None))]
        if name in ROWS_FIRST:
            return matrices[0]
        if len(stored.shape) == 3:
            return torch.stack([matrix.t() for matrix in matrices])
        return matrices[0].t()[rows].contiguous()

    def read_int8(self, name: str, rows: slice) -> tuple[Tensor, Tensor]:
        if self.tensors[name].storage != "int8":
            return super().read_int8(name, rows)
        found = list(self.whole_numbers(name, rows))
        values = [torch.from_numpy(np.ascontiguousarray(whole.values.T)) for whole in found]
        scales = [torch.from_numpy(np.ascontiguousarray(whole.scales.T)) for whole in found]
        if len(self.tensors[name].shape) == 3:
            return torch.stack(values), torch.stack(scales)
        return values[0], scales[0]  # a matrix is one block, see `TensorInfo.blocks`

    def whole_format(self, name: str) -> Whole | None:
        """`int8` for a tensor of Q8_0, `int4` for Q4_0, None for any other."""
        return self._stored[name].kind.whole

    def whole_numbers(self, name: str, rows: slice) -> Iterator[Quantised]:
        """Of each of these experts, or of one matrix [out, in] (these rows of it, of embedding and head)."""
        stored = self._stored[name]
        for matrix in _matrices(stored, rows, by_row=name in ROWS_FIRST):
            height = matrix.shape[0]
            data = ArrayRef(matrix.path, matrix.offset, (matrix.bytes,), "i1").read().numpy().view(np.uint8)
            whole = whole_numbers(data, height, matrix.kind)
            yield Quantised(*(self._in_halves(name, part) for part in whole))

    def _in_halves(self, name: str, rows: Rows) -> Rows:
        part = name.split(".", 2)[-1]
        if part not in self.architecture.turned:
            return rows
        return in_halves(rows, self.spec.heads if part == "attention.query" else self.spec.kv_heads)


def _named(header: Header, architecture: Architecture) -> dict[str, Stored]:
    """Lindos's names. Raises FormatError for a tensor that Lindos does not compute with."""
    found: dict[str, Stored] = {}
    for theirs, stored in header.tensors.items():
        name = architecture.parse(theirs)
        if name is None or name in found:
            what = "is there twice" if name else f"is not one of architecture {architecture.name} that Lindos computes"
            raise FormatError(f"{stored.path}: tensor '{theirs}' {what}")
        found[name] = stored
    return found


def _info(name: str, stored: Stored) -> TensorInfo:
    shape, files = stored.shape, (stored.path,)
    if len(shape) > 1 and name not in ROWS_FIRST:
        shape = (*shape[:-2], shape[-1], shape[-2])
    if stored.kind.whole is None:
        return TensorInfo(name, shape, _STORAGE[stored.kind.name], files)
    if len(shape) < 2:
        raise FormatError(f"{stored.path}: tensor '{name}' is {stored.kind.name}, which only matrices can be")
    if name in ROWS_FIRST:
        return TensorInfo(name, shape, "fp32", files)  # no scale per row or per group of rows: widened
    scales = (*shape[:-2], shape[-2] // GROUP, shape[-1])
    return TensorInfo(name, shape, "int8", files, scales, "fp16")


def _plain(stored: Stored, rows: slice | None) -> Tensor:
    return ArrayRef(stored.path, stored.offset, stored.shape, stored.kind.array).read(rows)


def _matrices(stored: Stored, rows: slice, *, by_row: bool) -> Iterator[Stored]:
    """Each of these leading entries of a stack; else the matrix, or these rows of it."""
    if len(stored.shape) == 3:
        size = stored.bytes // stored.shape[0]
        for index in range(rows.start, rows.stop):
            yield Stored(stored.path, stored.offset + index * size, stored.shape[1:], stored.kind)
        return
    if not by_row:
        yield stored
        return
    size = stored.bytes // stored.shape[0]
    shape = (rows.stop - rows.start, *stored.shape[1:])
    yield Stored(stored.path, stored.offset + rows.start * size, shape, stored.kind)

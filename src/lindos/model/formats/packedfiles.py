"""Lindos's quantised directory: matrices in the layout of the kernels, read as they are computed with.

`config.json` is {"format": "lindos-packed-1", "layout": 1, "weights": "int4", "spec": {...}}. Matrices are tensors of
bytes (type I8) under Lindos's names, packed [out, in] as `lindos.kernels.packing` says; an expert's are apart,
`layers.N.experts.gate.E`, and lie one behind the other from a multiple of 4096 bytes on, so that an expert is one
aligned read. Embedding and head are int8 beside int4 matrices, too; norms and routers fp32. A table `multipliers`, if
there is one, holds a power of two for each matrix whose fp16 scales are to be multiplied by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lindos.kernels.packing import LAYOUT_VERSION, STRIP, Format, Packed, packed_bytes
from lindos.kernels.quantising import weights_of
from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.fields import read_table
from lindos.model.formats.names import expected_shapes, stays_fp32
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import read_headers
from lindos.specs import ModelSpec
from lindos.specs.computable import check_computable

FORMAT = "lindos-packed-1"
ALIGNMENT = 4096
"""Of an expert in its file: what unbuffered reads ask for."""
Weights = Literal["bf16", "int8", "int4"]


@dataclass(frozen=True)
class Matrix:
    """A packed matrix [rows, columns] in a file: one of Lindos's tensors turned, or one expert's part of it."""

    name: str
    format: Format
    rows: int
    columns: int
    multiplier: float = 1.0
    """A power of two on all scales (see `Packed`)."""

    @property
    def bytes(self) -> int:
        return packed_bytes(self.format, self.rows, self.columns)


@dataclass(frozen=True)
class ExpertPlace:
    """Where an expert lies in a file: gate, up and down, one behind the other, from an aligned byte `offset` on."""

    path: Path
    offset: int
    parts: tuple[Matrix, Matrix, Matrix]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(part.bytes for part in self.parts)


def is_packed(directory: Path) -> bool:
    """Whether the directory's `config.json` says that it is packed. Raises FormatError for an unreadable one."""
    config = directory / "config.json"
    return config.is_file() and str(read_table(config).get("format", "")).startswith("lindos-packed-")


def vocabulary_format(weights: Weights) -> Weights:
    """Of embedding and head: what they lose in int4 is out of all proportion to their size."""
    return "bf16" if weights == "bf16" else "int8"


def matrices(name: str, shape: tuple[int, ...], weights: Weights) -> list[Matrix]:
    """What one of Lindos's tensors is packed as; nothing where it stays as it is (see `stays_fp32`)."""
    if stays_fp32(name):
        return []
    if name in {"embedding", "head"}:  # [V, D], outputs first already
        return [Matrix(name, vocabulary_format(weights), *shape)]
    if len(shape) == 2:
        return [Matrix(name, weights, shape[1], shape[0])]
    experts, inputs, outputs = shape
    return [Matrix(f"{name}.{expert}", weights, outputs, inputs) for expert in range(experts)]


class PackedSource(TensorSource):
    """A quantised directory. `read` gives what the packed weights stand for, in fp32."""

    format = "packed"

    def __init__(self, directory: Path) -> None:
        """Raises FormatError and SpecError."""
        self.directory = directory
        table = read_table(directory / "config.json")
        where = str(directory / "config.json")
        self.spec, self.weights = _described(table, where)
        self._stored = read_headers(directory)
        self._matrices: dict[str, list[Matrix]] = {}
        multipliers = _multipliers(table, where)
        tensors: dict[str, TensorInfo] = {}
        for name, shape in expected_shapes(self.spec):
            found = matrices(name, shape, self.weights)
            self._matrices[name] = [replace(one, multiplier=multipliers.pop(one.name, 1.0)) for one in found]
            for matrix in self._matrices[name]:
                self._check(matrix.name, (matrix.bytes,), "int8", at_least=True)
            if not self._matrices[name]:
                self._check(name, shape, "fp32")
            first = self._matrices[name][0].name if self._matrices[name] else name
            tensors[name] = TensorInfo(name, shape, "fp32", (self._stored[first].path,))
        self.tensors: Mapping[str, TensorInfo] = tensors
        if multipliers:
            raise FormatError(f"{where}: 'multipliers' names '{min(multipliers)}', which is no matrix of this model")

    def read(self, name: str, rows: slice) -> Tensor:
        found = self._matrices[name]
        if not found:
            return self._stored[name].read(rows)
        if len(self.tensors[name].shape) == 3:
            return torch.stack([weights_of(self.packed(matrix)).t() for matrix in found[rows]])
        weights = weights_of(self.packed(found[0]))
        return (weights if name in {"embedding", "head"} else weights.t())[rows].contiguous()

    @property
    def bytes(self) -> int:
        """Of all packed matrices together."""
        return sum(matrix.bytes for found in self._matrices.values() for matrix in found)

    def matrices(self, name: str) -> list[Matrix]:
        """The packed matrices of one of Lindos's tensors: each expert's, or one."""
        return self._matrices[name]

    def packed(self, matrix: Matrix) -> Packed:
        """A matrix as the kernels take it, read into memory."""
        data = self._stored[matrix.name].read().numpy().view(np.uint8)
        return Packed(matrix.format, matrix.rows, matrix.columns, data, matrix.multiplier)

    def strips(self, matrix: Matrix, strips: slice) -> Packed:
        """Some strips of 16 outputs of a matrix, read into memory."""
        each = packed_bytes(matrix.format, STRIP, matrix.columns)
        data = self._stored[matrix.name].read(slice(strips.start * each, strips.stop * each)).numpy().view(np.uint8)
        rows = min(matrix.rows, strips.stop * STRIP) - strips.start * STRIP
        return Packed(matrix.format, rows, matrix.columns, data, matrix.multiplier)

    def place(self, matrix: Matrix) -> ArrayRef:
        """Where a matrix lies."""
        return self._stored[matrix.name]

    def expert(self, layer: int, expert: int) -> ExpertPlace:
        """Where an expert lies. Raises FormatError where it is not one aligned piece of a file."""
        parts = [self._matrices[f"layers.{layer}.experts.{part}"][expert] for part in ("gate", "up", "down")]
        first = self._stored[parts[0].name]
        end, apart = first.offset, first.offset % ALIGNMENT != 0
        for part in parts:
            place = self._stored[part.name]
            apart |= (place.path, place.offset) != (first.path, end)
            end += part.bytes
        if apart:
            raise FormatError(
                f"{first.path}: expert {expert} of layer {layer} does not lie in one aligned piece; "
                "convert the model again from its source"
            )
        return ExpertPlace(first.path, first.offset, (parts[0], parts[1], parts[2]))

    def _check(self, name: str, shape: tuple[int, ...], storage: str, *, at_least: bool = False) -> None:
        stored = self._stored.get(name)
        if stored is None:
            raise FormatError(f"{self.directory}: tensor '{name}' is missing")
        fits = len(stored.shape) == 1 and stored.shape[0] >= shape[0] if at_least else stored.shape == shape
        if not fits or stored.storage != storage:
            raise FormatError(
                f"{stored.path}: tensor '{name}' is {list(stored.shape)} of {stored.storage}, "
                f"not {list(shape)} of {storage} as the description says"
            )


def _described(table: Mapping[str, Any], where: str) -> tuple[ModelSpec, Weights]:
    if table.get("format") != FORMAT or table.get("layout") != LAYOUT_VERSION:
        found = f"{table.get('format')!r} with layout {table.get('layout')!r}"
        raise FormatError(
            f"{where}: format {found} is not {FORMAT} with layout {LAYOUT_VERSION}, the one this Lindos reads; "
            "convert the model again from its source"
        )
    weights = table.get("weights")
    if weights not in ("bf16", "int8", "int4") or not isinstance(table.get("spec"), dict):
        raise FormatError(f"{where}: 'weights' must be bf16, int8 or int4 and 'spec' a table")
    spec = ModelSpec.parse(table["spec"], where=where)
    check_computable(spec, where=where)
    return spec, weights


def _multipliers(table: Mapping[str, Any], where: str) -> dict[str, float]:
    """Powers of two by matrix. Raises FormatError."""
    found = table.get("multipliers", {})
    if not isinstance(found, dict):
        raise FormatError(f"{where}: 'multipliers' must be a table of matrices and powers of two")
    for name, multiplier in found.items():
        # fp32 holds it, and it times the largest fp16 number
        usable = type(multiplier) in (int, float) and 2.0**-126 <= multiplier <= 2.0**111
        if not usable or math.frexp(multiplier)[0] != 0.5:
            raise FormatError(f"{where}: the multiplier of '{name}' must be a power of two (got {multiplier!r:.40})")
    return {name: float(multiplier) for name, multiplier in found.items()}


def layer_groups(names: list[str]) -> list[list[str]]:
    """Tensors in the order they are written: each layer's gate, up and down together, all others last."""
    experts = [name for name in names if name.endswith((".experts.gate", ".experts.up", ".experts.down"))]
    layers: dict[str, list[str]] = {}
    for part in ("gate", "up", "down"):
        for name in experts:
            if name.endswith(f".{part}"):
                layers.setdefault(name.rsplit(".", 1)[0], []).append(name)
    return [*layers.values(), *([name] for name in names if name not in set(experts))]

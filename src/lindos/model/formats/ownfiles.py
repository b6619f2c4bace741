"""Lindos's own directory: `config.json`, safetensors under Lindos's names, a tokenizer.

`config.json` is {"format": "lindos-1", "spec": {...}}. A tensor stored as int8 has its scales beside it under
`<name>.scale` (see `int8`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.fields import lindos_fields, read_fields, read_table
from lindos.model.formats.int8 import scale_fits
from lindos.model.formats.names import expected_shapes
from lindos.model.formats.sizes import check_shapes, resolve
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import read_headers
from lindos.specs import ModelSpec
from lindos.specs.computable import check_trainable

FORMAT = "lindos-1"


def is_own(directory: Path) -> bool:
    """Whether the directory's `config.json` says that it is Lindos's own. Raises FormatError for an unreadable one."""
    config = directory / "config.json"
    return config.is_file() and str(read_table(config).get("format", "")).startswith("lindos-")


class OwnSource(TensorSource):
    """A directory in Lindos's own format."""

    format = "own"

    def __init__(self, directory: Path, spec: Path | str | None = None) -> None:
        """`spec`: a description file or catalogue name instead of the one in config.json. Raises FormatError."""
        self.directory = directory
        self._stored = read_headers(directory)
        if not self._stored:
            raise FormatError(f"{directory}: has a config.json but no .safetensors files beside it")
        tensors = {name: self._info(name) for name in self._stored if not self._is_scale(name)}
        if spec is None:
            where = str(directory / "config.json")
            self.spec = ModelSpec.parse(lindos_fields(_spec_table(directory / "config.json"), where), where=where)
            check_trainable(self.spec, where=where)
            check_shapes(self.spec, tensors, where)
        else:
            fields, where = read_fields(spec)
            self.spec = resolve(fields, tensors, where=where, name=directory.resolve().name)
        self.tensors = {name: tensors[name] for name, _ in expected_shapes(self.spec)}

    def read(self, name: str, rows: slice) -> Tensor:
        stored = self._stored[name]
        return self.widened(name, rows) if stored.storage == "int8" else stored.read(rows)

    def read_int8(self, name: str, rows: slice) -> tuple[Tensor, Tensor]:
        info = self.tensors[name]
        if info.storage != "int8":
            return super().read_int8(name, rows)
        scales = self._stored[f"{name}.scale"]
        by_rows = len(info.shape) == 3 or info.scaled_by_row
        return self._stored[name].read(rows), scales.read(rows if by_rows else None)

    def read_scales(self, name: str) -> Tensor:
        if self.tensors[name].storage != "int8":
            return super().read_scales(name)
        return self._stored[f"{name}.scale"].read()

    def _is_scale(self, name: str) -> bool:
        weight = self._stored.get(name.removesuffix(".scale"))
        return name.endswith(".scale") and weight is not None and weight.storage == "int8"

    def _info(self, name: str) -> TensorInfo:
        stored = self._stored[name]
        if not stored.shape or 0 in stored.shape:
            raise FormatError(f"{stored.path}: tensor '{name}' of shape {list(stored.shape)} holds no weights")
        if stored.storage != "int8":
            return TensorInfo(name, stored.shape, stored.storage, (stored.path,))
        scales = self._stored.get(f"{name}.scale")
        if scales is None:
            raise FormatError(f"{stored.path}: tensor '{name}' is int8, but '{name}.scale' is missing")
        return _int8_info(name, stored, scales)


def _int8_info(name: str, stored: ArrayRef, scales: ArrayRef) -> TensorInfo:
    if not scale_fits(stored.shape, scales.shape) or scales.storage == "int8":
        raise FormatError(
            f"{scales.path}: '{name}.scale' of shape {list(scales.shape)} ({scales.storage}) does not fit "
            f"the weights of shape {list(stored.shape)}"
        )
    files = tuple(dict.fromkeys((stored.path, scales.path)))
    return TensorInfo(name, stored.shape, "int8", files, scales.shape, scales.storage)


def _spec_table(config: Path) -> dict[str, Any]:
    table = read_table(config)
    if table.get("format") != FORMAT:
        raise FormatError(f"{config}: format {table.get('format')!r} is not {FORMAT}, the one this Lindos reads")
    if not isinstance(table.get("spec"), dict):
        raise FormatError(f"{config}: has no table 'spec'")
    return table["spec"]

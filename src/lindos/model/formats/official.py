"""The public release's own format: numbered pickles of one array each, layers in the order of text."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from lindos.model.formats.arrays import ArrayRef, QuantizedRef
from lindos.model.formats.fields import read_fields, spec_beside
from lindos.model.formats.int8 import scale_fits
from lindos.model.formats.names import RELEASE_LAYER, release_order
from lindos.model.formats.pickles import read_pickle
from lindos.model.formats.sizes import resolve
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource

FILE = re.compile(r"tensor(\d{5})_(\d{3})")


def tensor_folder(directory: Path) -> Path | None:
    """Where the numbered files lie: the directory or its `ckpt-0`; None where there are none."""
    for folder in (directory / "ckpt-0", directory):
        if folder.is_dir() and any(FILE.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    return None


class OfficialSource(TensorSource):
    """Opening reads a few hundred bytes of each file; the arrays themselves are read when asked for."""

    format = "official"

    def __init__(self, directory: Path, spec: Path | str | None = None) -> None:
        """`spec`: a description file or catalogue name instead of the one beside the files. Raises FormatError."""
        folder = tensor_folder(directory)
        if folder is None:
            raise FormatError(f"{directory}: no files tensor00000_000, ... of an official checkpoint")
        self.directory = directory
        beside = spec_beside([directory, folder] if folder != directory else [directory, directory.parent])
        fields, where = ({}, str(directory)) if spec is None and beside is None else read_fields(spec or beside or "")
        paths = _numbered(folder)
        layers = _layers(paths, fields.get("layers"), where)
        self._refs: dict[str, ArrayRef | QuantizedRef] = {}
        found: dict[str, TensorInfo] = {}
        for name, path in zip(release_order(layers), paths, strict=True):
            self._refs[name] = ref = read_pickle(path)
            found[name] = _info(name, path, ref)
        self.spec = resolve(fields, found, where=where, name=directory.resolve().name)
        self.tensors = found

    def read(self, name: str, rows: slice) -> Tensor:
        ref = self._refs[name]
        return self.widened(name, rows) if isinstance(ref, QuantizedRef) else ref.read(rows)

    def read_int8(self, name: str, rows: slice) -> tuple[Tensor, Tensor]:
        ref = self._refs[name]
        if not isinstance(ref, QuantizedRef):
            return super().read_int8(name, rows)
        by_rows = len(ref.weight.shape) == 3 or self.tensors[name].scaled_by_row
        return ref.weight.read(rows), ref.scales.read(rows if by_rows else None)

    def read_scales(self, name: str) -> Tensor:
        ref = self._refs[name]
        return ref.scales.read() if isinstance(ref, QuantizedRef) else super().read_scales(name)


def _numbered(folder: Path) -> list[Path]:
    """The files in order, none missing and each whole."""
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        match = FILE.fullmatch(path.name)
        if match is None:
            continue
        if match[2] != "000":
            raise FormatError(f"{path}: tensors cut into several files are not supported; the release has one each")
        found[int(match[1])] = path
    for number in range(max(found, default=-1) + 1):
        if number not in found:
            raise FormatError(
                f"{folder / f'tensor{number:05d}_000'} is missing, though tensor{max(found):05d}_000 is here; "
                "the checkpoint is incomplete"
            )
    return [found[number] for number in sorted(found)]


def _layers(paths: list[Path], said: object, where: str) -> int:
    layers, rest = divmod(len(paths) - 2, len(RELEASE_LAYER))
    if rest or layers < 1:
        raise FormatError(
            f"{paths[0].parent}: {len(paths)} tensors, expected 2 and {len(RELEASE_LAYER)} for each layer; "
            "the checkpoint is incomplete"
        )
    if isinstance(said, int) and said != layers:
        raise FormatError(
            f"{where}: {said} layers would make tensor{1 + len(RELEASE_LAYER) * said:05d}_000 the last tensor: "
            f"expected {2 + len(RELEASE_LAYER) * said} tensors, found {len(paths)} ({layers} layers)"
        )
    return layers


def _info(name: str, path: Path, ref: ArrayRef | QuantizedRef) -> TensorInfo:
    if isinstance(ref, ArrayRef):
        if ref.kind == "i1":
            raise FormatError(f"{path}: tensor '{name}' is int8 without scales, which is not enough to know its values")
        return TensorInfo(name, ref.shape, ref.storage, (path,))
    weight, scales = ref.weight, ref.scales
    if weight.kind != "i1" or scales.kind not in {"bfloat16", "f4", "f2"}:
        raise FormatError(f"{path}: tensor '{name}': weights of type {weight.kind} with scales of type {scales.kind}")
    if not scale_fits(weight.shape, scales.shape):
        raise FormatError(
            f"{path}: tensor '{name}': scales of shape {list(scales.shape)} do not fit weights of {list(weight.shape)}"
        )
    return TensorInfo(name, weight.shape, "int8", (path,), scales.shape, scales.storage)

"""How Lindos's tensors are laid out in a format that Lindos writes, and in which precision."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from lindos.model.formats.configs import check_writable, foreign_config
from lindos.model.formats.int8 import quantise, widen
from lindos.model.formats.names import NAMINGS, Naming, stays_fp32
from lindos.model.formats.ownfiles import FORMAT
from lindos.model.formats.source import DTYPES, WIDTHS, FormatError, Storage, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import Entry
from lindos.specs import ModelSpec

Choice = Literal["keep", "fp32", "bf16", "int8"]
"""What matrices are stored as; `keep` is as the source has them, without loss where the target can hold it."""
CHOICES: tuple[Choice, ...] = ("keep", "fp32", "bf16", "int8")
Piece = tuple[str, int, Tensor]
"""(entry, row of its leading axis to start at, rows)"""


class Sink(ABC):
    """One target format. `write` what `entries` announced, block by block."""

    format: str
    int8_as: Storage = "bf16"
    """What a source's int8 becomes when it is to be kept."""
    alignment = 8
    """Of the first tensor's bytes in a file."""
    threads = 0
    """How many blocks are made ready at once; with none a block is in memory at a time."""

    def __init__(self, choice: Choice) -> None:
        self.choice: Choice = choice

    @abstractmethod
    def entries(self, info: TensorInfo) -> list[Entry]:
        """What one of Lindos's tensors becomes in the files."""

    @abstractmethod
    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        """One of `info.blocks()`, read and made ready to be written. Raises FormatError."""

    @abstractmethod
    def config(self, spec: ModelSpec) -> dict[str, Any]:
        """The `config.json` to lie beside the tensors."""

    def units(self, tensors: list[TensorInfo]) -> list[list[TensorInfo]]:
        """The tensors in the order they are written; those of one unit go into one file."""
        return [[info] for info in tensors]

    def ordered(self, entries: Iterable[Entry]) -> list[Entry]:
        """As they lie in a file: wide numbers first keeps every tensor aligned to its own width, as readers that map
        the file want it."""
        return sorted(entries, key=lambda entry: -WIDTHS[entry.storage])

    def storage(self, info: TensorInfo) -> Storage:
        """The precision a tensor is written in."""
        if stays_fp32(info.name):
            return "fp32"
        if self.choice == "keep":
            kept: dict[Storage, Storage] = {"fp32": "fp32", "fp16": "fp32", "bf16": "bf16", "int8": self.int8_as}
            return kept[info.storage]
        return self.choice

    def rounded(self, info: TensorInfo, block: Tensor, rows: slice) -> Tensor:
        """A block, these rows, as it will be read back, in fp32: what rounding alone does to it."""
        storage = self.storage(info)
        if storage == "int8":
            return block.float() if info.storage == "int8" else widen(*quantise(block, by_row=_by_row(info)))
        return block.to(DTYPES[storage]).float()

    def _read(self, source: TensorSource, info: TensorInfo, rows: slice) -> Tensor:
        return _finite(source.read(info.name, rows), info).to(DTYPES[self.storage(info)])


class OwnSink(Sink):
    """Lindos's own names; the only target that holds int8, the release's grouped scales included."""

    format = "own"
    int8_as = "int8"

    def entries(self, info: TensorInfo) -> list[Entry]:
        storage = self.storage(info)
        entries = [Entry(info.name, storage, info.shape)]
        if storage == "int8" and info.storage == "int8":
            entries.append(Entry(f"{info.name}.scale", info.scale_storage, info.scale_shape))
        elif storage == "int8":
            *stack, inputs, outputs = info.shape
            shape = (*stack, inputs, 1) if _by_row(info) else (*stack, 1, outputs)
            entries.append(Entry(f"{info.name}.scale", "fp32", shape))
        return entries

    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        if self.storage(info) != "int8":
            yield info.name, rows.start, self._read(source, info, rows)
            return
        if info.storage == "int8":
            weights, scales = source.read_int8(info.name, rows)
        else:
            weights, scales = quantise(_finite(source.read(info.name, rows), info), by_row=_by_row(info))
        yield info.name, rows.start, weights
        yield f"{info.name}.scale", rows.start, _finite(scales, info)

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        return {"format": FORMAT, "spec": json.loads(spec.model_dump_json())}


class ForeignSink(Sink):
    """SGLang's, keyfan's or transformers' names, matrices [out, in], experts apart."""

    def __init__(self, naming: Naming, choice: Choice, *, tied_head: bool) -> None:
        if choice == "int8":
            raise FormatError(f"int8 is for Lindos's own format; {naming.format} takes bf16 or fp32")
        super().__init__(choice)
        self.naming, self.format = naming, naming.format
        self._copy_head = tied_head and naming.duplicate_head

    def entries(self, info: TensorInfo) -> list[Entry]:
        storage = self.storage(info)
        if len(info.shape) == 3:
            experts, *matrix = info.shape
            return [Entry(self._name(info.name, e), storage, tuple(matrix[::-1])) for e in range(experts)]
        shape = info.shape if info.name in {"embedding", "head"} else info.shape[::-1]
        return [Entry(name, storage, shape) for name in self._names(info.name)]

    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        block = self._read(source, info, rows)
        if block.ndim == 3:
            for expert, matrix in zip(range(rows.start, rows.stop), block, strict=True):
                yield self._name(info.name, expert), 0, matrix.t()
        elif info.name in {"embedding", "head"}:
            for name in self._names(info.name):
                yield name, rows.start, block
        else:
            yield self._name(info.name), 0, block.t() if block.ndim == 2 else block

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        return foreign_config(self.naming, spec, "float32" if self.choice == "fp32" else "bfloat16")

    def _name(self, name: str, expert: int | None = None) -> str:
        return self.naming.stem(name, expert) + ".weight"

    def _names(self, name: str) -> list[str]:
        copies = [self._name("head")] if name == "embedding" and self._copy_head else []
        return [self._name(name), *copies]


def sink_for(target: str, choice: Choice, spec: ModelSpec) -> Sink:
    """The writer of a target format. Raises FormatError for one that Lindos does not write."""
    if target == OwnSink.format:
        return OwnSink(choice)
    for naming in NAMINGS:
        if naming.format == target:
            check_writable(naming, spec)
            return ForeignSink(naming, choice, tied_head=spec.tied_head)
    known = ", ".join([OwnSink.format, *(naming.format for naming in NAMINGS)])
    raise FormatError(f"'{target}' is not a format that Lindos writes ({known}); the release's pickles are only read")


def _by_row(info: TensorInfo) -> bool:
    return info.name in {"embedding", "head"}


def _finite(block: Tensor, info: TensorInfo) -> Tensor:
    """A weight that is no number is damage that sizes do not show."""
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(block)):
        raise FormatError(f"{info.where}: holds values that are not finite; the file is damaged")
    return block

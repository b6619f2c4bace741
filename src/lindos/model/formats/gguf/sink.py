"""What each of Lindos's tensors becomes in a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lindos.kernels.packing import GROUP
from lindos.model.formats.gguf.architectures import ROWS_FIRST, architecture_for, in_pairs
from lindos.model.formats.gguf.blocks import BF16, F16, F32, Q4_0, Q8_0, WHOLE, Kind, encode, encode_whole, rounded
from lindos.model.formats.gguf.description import keys_of
from lindos.model.formats.gguf.encoding import Planned, header_bytes
from lindos.model.formats.gguf.exact import is_exact, whole_format, whole_matrices
from lindos.model.formats.names import stays_fp32
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.sinks import Piece, Sink
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import Entry
from lindos.specs import ModelSpec

CHOSEN: dict[str, Kind] = {"fp32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0, "q4_0": Q4_0}
"""What matrices may be stored as; `keep` is what the source has them in."""
FILE_TYPES = {F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32}
"""llama.cpp's numbers for a file of mostly that kind (enum llama_ftype)."""


class GgufSink(Sink):
    """One file. Norms and routers are F32; embedding and head as the matrices, but beside Q4_0 they are Q8_0.

    What cannot be cut into blocks of 32 inputs is F16 instead, as llama.cpp's own quantising does it.
    """

    format = "gguf"

    def __init__(self, choice: str, source: TensorSource, tokenizer: Mapping[str, Any]) -> None:
        """`tokenizer`: keys that describe it. Raises FormatError for a model or a choice that GGUF cannot hold."""
        super().__init__("keep")
        if choice not in (*CHOSEN, "keep"):
            raise FormatError(f"'{choice}' is not what GGUF stores; choose keep, {', '.join(CHOSEN)}")
        self.kind_chosen, self.spec = choice, source.spec
        self.architecture = architecture_for(source.spec)
        self._kinds = {name: self._kind(info, source) for name, info in source.tensors.items()}
        self._exact = {name for name, kind in self._kinds.items() if is_exact(source, name, kind.whole or "bf16")}
        self.planned = {name: self._planned(info) for name, info in source.tensors.items()}
        keys = keys_of(source.spec, self.architecture) | self._file_keys() | dict(tokenizer)
        self.header = header_bytes(keys, self.planned.values())

    def entries(self, info: TensorInfo) -> list[Entry]:
        planned = self.planned[info.name]
        return [Entry(planned.name, "int8", (planned.padded,))]

    def pieces(self, source: TensorSource, info: TensorInfo, rows: slice) -> Iterator[Piece]:
        """Bytes, and where among those of the tensor they begin."""
        kind, planned = self._kinds[info.name], self.planned[info.name]
        row = planned.bytes // planned.shape[0]
        at = rows.start * row if len(info.shape) == 3 or info.name in ROWS_FIRST else 0
        for data in self._encoded(source, info, rows, kind):
            yield planned.name, at, data
            at += data.numel()

    def _encoded(self, source: TensorSource, info: TensorInfo, rows: slice, kind: Kind) -> Iterator[Tensor]:
        if info.name in self._exact:
            for whole in whole_matrices(source, info.name, rows):
                yield encode_whole(type(whole)(*(self._turned(info.name, part) for part in whole)), kind)
            return
        block = source.read(info.name, rows)
        if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(block)):
            raise FormatError(f"{info.where}: holds values that are not finite; the file is damaged")
        if kind is F16 and float(block.abs().max()) > torch.finfo(torch.float16).max:
            raise FormatError(f"{info.where}: holds values that F16 cannot; choose bf16")
        for matrix in self._outputs_first(info, block):
            try:
                yield encode(self._turned(info.name, matrix), kind)
            except ValueError as error:
                raise FormatError(f"{info.where}: {error}") from None

    def rounded(self, info: TensorInfo, block: Tensor, rows: slice) -> Tensor:
        if info.name in self._exact:
            return block.float()
        found = [rounded(matrix, self._kinds[info.name]) for matrix in self._outputs_first(info, block)]
        if block.ndim == 3:
            return torch.stack([matrix.t() for matrix in found])
        return found[0].view(block.shape) if self._as_it_lies(info) else found[0].t()

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        raise NotImplementedError("a GGUF file describes itself")

    def _as_it_lies(self, info: TensorInfo) -> bool:
        return len(info.shape) == 1 or info.name in ROWS_FIRST

    def _outputs_first(self, info: TensorInfo, block: Tensor) -> list[Tensor]:
        """Matrices [out, in]; a vector is one row."""
        if block.ndim == 3:
            return [matrix.t() for matrix in block]
        return [block.view(-1, block.shape[-1])] if self._as_it_lies(info) else [block.t()]

    def _turned(self, name: str, rows: Any) -> Any:
        part = name.split(".", 2)[-1]
        if part not in self.architecture.turned:
            return rows
        return in_pairs(rows, self.spec.heads if part == "attention.query" else self.spec.kv_heads)

    def _kind(self, info: TensorInfo, source: TensorSource) -> Kind:
        if stays_fp32(info.name):
            return F32
        if self.kind_chosen == "keep":
            chosen = _kept(info, source)
        else:
            chosen = CHOSEN[self.kind_chosen]
            if chosen is Q4_0 and info.name in ROWS_FIRST:
                chosen = Q8_0
        inputs = info.shape[-1] if info.name in ROWS_FIRST else info.shape[-2]
        return F16 if chosen.whole is not None and inputs % GROUP else chosen

    def _planned(self, info: TensorInfo) -> Planned:
        shape = info.shape
        if not self._as_it_lies(info):
            shape = (*shape[:-2], shape[-1], shape[-2])
        return Planned(self.architecture.tensor(info.name), shape, self._kinds[info.name])

    def _file_keys(self) -> dict[str, Any]:
        """What most of the file is, by the experts."""
        kind = self._kinds["layers.0.experts.gate"]
        return {"general.file_type": FILE_TYPES[kind], "general.quantization_version": 2}


def _kept(info: TensorInfo, source: TensorSource) -> Kind:
    """What holds a tensor as the source does; the release's own int8 becomes BF16, as in all formats but Lindos's."""
    whole = whole_format(source, info.name)
    if whole is not None:
        return WHOLE[whole]
    if isinstance(source, PackedSource):  # which widens what it reads
        return BF16
    return {"fp32": F32, "fp16": F16, "bf16": BF16, "int8": BF16}[info.storage]

"""Safetensors under the names of SGLang and of keyfan's conversion: matrices turned, experts one by one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.fields import read_fields, spec_beside
from lindos.model.formats.names import NAMINGS, Naming, expected_shapes
from lindos.model.formats.sizes import resolve
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import read_headers


def recognise(names: list[str]) -> Naming | None:
    """Whose names these are; None when nobody's."""
    stems = {_stem(name) for name in names}
    return next((naming for naming in NAMINGS if naming.outer["embedding"] in stems), None)


def _stem(name: str) -> str:
    return name.removesuffix(".weight").removesuffix(".scale")


class ForeignSource(TensorSource):
    """A directory of safetensors in foreign names."""

    def __init__(self, directory: Path, naming: Naming, spec: Path | str | None = None) -> None:
        """`spec`: a description file or catalogue name instead of config.json. Raises FormatError."""
        self.directory, self.format = directory, naming.format
        self._parts = _assemble(read_headers(directory), naming, directory)
        tensors = {name: _info(name, parts) for name, parts in self._parts.items()}
        beside = spec_beside([directory])
        fields, where = ({}, str(directory)) if spec is None and beside is None else read_fields(spec or beside or "")
        if "head" in tensors and fields.get("tied_head", True):
            if self._head_is_embedding():
                del tensors["head"]
            elif fields.get("tied_head"):
                raise FormatError(
                    f"{where}: the head is said to be tied, but {tensors['head'].where} is another matrix"
                )
        self.spec = resolve(fields, tensors, where=where, name=directory.resolve().name)
        self.tensors = {name: tensors[name] for name, _ in expected_shapes(self.spec)}

    def read(self, name: str, rows: slice) -> Tensor:
        parts = self._parts[name]
        if isinstance(parts, list):
            return torch.stack([part.read().t() for part in parts[rows]])
        if len(parts.shape) == 1 or name in {"embedding", "head"}:
            return parts.read(rows)
        return parts.read().t()[rows].contiguous()

    def _head_is_embedding(self) -> bool:
        embedding, head = self._parts["embedding"], self._parts["head"]
        assert isinstance(embedding, ArrayRef)
        assert isinstance(head, ArrayRef)
        if len(head.shape) != 2 or embedding.shape != head.shape or embedding.storage != head.storage:
            return False
        blocks = TensorInfo("embedding", embedding.shape, embedding.storage).blocks()
        return all(torch.equal(embedding.read(rows), head.read(rows)) for rows in blocks)


def _assemble(stored: dict[str, ArrayRef], naming: Naming, directory: Path) -> dict[str, ArrayRef | list[ArrayRef]]:
    """Lindos's tensors out of theirs; a list holds the experts of a stack in order."""
    whole: dict[str, ArrayRef | list[ArrayRef]] = {}
    stacks: dict[str, dict[int, ArrayRef]] = {}
    for theirs, tensor in stored.items():
        if theirs.endswith("rotary_emb.inv_freq"):  # follows from the spec; some conversions store it all the same
            continue
        ours = naming.parse(_stem(theirs))
        if ours is None:
            raise FormatError(
                f"{tensor.path}: tensor '{theirs}' is not one of a {naming.format} checkpoint of Grok-1's kind"
            )
        name, expert = ours
        if 0 in tensor.shape or not tensor.shape or tensor.storage == "int8":
            what = f"of shape {list(tensor.shape)} and type {tensor.storage}"
            raise FormatError(
                f"{tensor.path}: tensor '{theirs}' {what} is not a weight of a {naming.format} checkpoint"
            )
        if name in whole or (expert is not None and expert in stacks.get(name, {})):
            raise FormatError(f"{directory}: tensor '{theirs}' is there twice")
        if expert is None:
            whole[name] = tensor
        else:
            stacks.setdefault(name, {})[expert] = tensor
    for name, experts in stacks.items():
        whole[name] = [experts[number] for number in sorted(experts)]
        if sorted(experts) != list(range(len(experts))):
            missing = min(set(range(max(experts))) - experts.keys())
            raise FormatError(
                f"{directory}: expert {missing} of tensor '{name}' is missing; the checkpoint is incomplete"
            )
        if len({(part.shape, part.storage) for part in experts.values()}) != 1:
            raise FormatError(f"{directory}: the experts of tensor '{name}' differ in shape or type")
    return whole


def _info(name: str, parts: ArrayRef | list[ArrayRef]) -> TensorInfo:
    if isinstance(parts, list):
        first, stack = parts[0], (len(parts),)
    else:
        first, stack = parts, ()
    shape = first.shape if name in {"embedding", "head"} else first.shape[::-1]
    files = {part.path: None for part in (parts if isinstance(parts, list) else [parts])}
    return TensorInfo(name, stack + shape, first.storage, tuple(files))

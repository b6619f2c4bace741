"""Safetensors under the names of SGLang, keyfan's conversion and transformers: matrices turned, experts one by one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lindos.model.formats.assembly import Part, assemble, info, stem
from lindos.model.formats.companions import has_chat_template
from lindos.model.formats.fields import read_fields, spec_beside
from lindos.model.formats.names import NAMINGS, Naming, expected_shapes
from lindos.model.formats.sizes import resolve
from lindos.model.formats.source import FormatError, TensorSource
from lindos.model.formats.tensorfiles import read_slices


def recognise(names: Iterable[str]) -> Naming | None:
    """Whose names these are, by the embedding and most of the first layer met; None when nobody's."""
    stems = {stem(name) for name in names}
    fitting = [naming for naming in NAMINGS if naming.outer["embedding"] in stems]
    return max(fitting, key=lambda naming: naming.count_first(stems), default=None)


class ForeignSource(TensorSource):
    """A directory of safetensors in foreign names."""

    def __init__(self, directory: Path, naming: Naming, spec: Path | str | None = None) -> None:
        """`spec`: a description file or catalogue name instead of config.json. Raises FormatError."""
        self.directory, self.format = directory, naming.format
        fields, where = self._described(spec)
        self._parts = assemble(read_slices(directory), naming, directory)
        tensors = {name: info(name, part) for name, part in self._parts.items()}
        if "head" in tensors and fields.get("tied_head", True):
            if _equal(self._parts["embedding"], self._parts["head"]):
                del tensors["head"]
            elif fields.get("tied_head"):
                raise FormatError(
                    f"{where}: the head is said to be tied, but {tensors['head'].where} is another matrix"
                )
        self.spec = resolve(fields, tensors, where=where, name=directory.resolve().name)
        self.tensors = {name: tensors[name] for name, _ in expected_shapes(self.spec)}

    def read(self, name: str, rows: slice) -> Tensor:
        return self._parts[name].read(rows)

    def _described(self, spec: Path | str | None) -> tuple[dict[str, Any], str]:
        """The description's fields, and what to call it in errors. A chat template beside it makes a chat model."""
        beside = spec_beside([self.directory])
        if spec is None and beside is None:
            return {}, str(self.directory)
        fields, where = read_fields(spec or beside or "")
        if spec is None and "kind" not in fields and has_chat_template(self.directory):
            fields["kind"] = "chat"
        return fields, where


def _equal(embedding: Part, head: Part) -> bool:
    if len(head.shape) != 2 or embedding.shape != head.shape or embedding.refs[0].storage != head.refs[0].storage:
        return False
    blocks = info("embedding", embedding).blocks()
    return all(torch.equal(embedding.read(rows), head.read(rows)) for rows in blocks)

"""Lindos's tensors out of files in foreign names: matrices turned, experts stacked, slices joined.

A `Part` is one of Lindos's tensors as it lies in files. Four ways are known: a tensor of its own; an expert's matrix
each; those in slices for several devices, as Grok-2 was published; and all experts in one tensor, gate above up, as
transformers 5 holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.names import Naming
from lindos.model.formats.source import FormatError, TensorInfo

ROWS_FIRST = frozenset({"embedding", "head"})
"""Matrices that lie everywhere as Lindos has them; all others are [out, in] elsewhere."""
Slices = tuple[ArrayRef, ...]
"""One tensor of theirs: whole, or cut for several devices."""


class Part(Protocol):
    """One of Lindos's tensors: its shape there, and its rows when asked for. Reading raises FormatError."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def refs(self) -> Slices: ...

    def read(self, rows: slice) -> Tensor: ...


@dataclass(frozen=True)
class Whole:
    """A tensor of its own, turned unless it is a vector or has its rows first."""

    ref: ArrayRef
    turned: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.ref.shape[::-1] if self.turned else self.ref.shape

    @property
    def refs(self) -> Slices:
        return (self.ref,)

    def read(self, rows: slice) -> Tensor:
        return self.ref.read().t()[rows].contiguous() if self.turned else self.ref.read(rows)


@dataclass(frozen=True)
class Stack:
    """A matrix an expert, each in one or more slices along `axis` of [out, in]."""

    experts: tuple[Slices, ...]
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.experts[0]
        matrix = list(first[0].shape)
        if len(matrix) == 2:
            matrix[self.axis] *= len(first)
        return (len(self.experts), *matrix[::-1])

    @property
    def refs(self) -> Slices:
        return tuple(ref for slices in self.experts for ref in slices)

    def read(self, rows: slice) -> Tensor:
        return torch.stack([self._matrix(slices).t() for slices in self.experts[rows]])

    def _matrix(self, slices: Slices) -> Tensor:
        """One expert's [out, in]."""
        pieces = [ref.read() for ref in slices]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, self.axis)


@dataclass(frozen=True)
class Fused:
    """Some output rows of a tensor [experts, out, in] that holds all experts."""

    ref: ArrayRef
    outputs: slice

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.ref.shape[0], self.ref.shape[2], self.outputs.stop - self.outputs.start)

    @property
    def refs(self) -> Slices:
        return (self.ref,)

    def read(self, rows: slice) -> Tensor:
        return self.ref.read(rows)[:, self.outputs].transpose(1, 2).contiguous()


def info(name: str, part: Part) -> TensorInfo:
    """What is to be known of a part before it is read."""
    return TensorInfo(name, part.shape, part.refs[0].storage, tuple({ref.path: None for ref in part.refs}))


def assemble(stored: dict[str, Slices], naming: Naming, directory: Path) -> dict[str, Part]:
    """Lindos's tensors by name. Raises FormatError for a tensor that is strange, missing, or there twice."""
    parts: dict[str, Part] = {}
    stacks: dict[str, dict[int, Slices]] = {}
    for theirs, slices in stored.items():
        if theirs.endswith("rotary_emb.inv_freq"):  # follows from the spec; some conversions store it all the same
            continue
        _check_weight(theirs, slices[0], naming)
        if (fused := naming.parse_fused(stem(theirs))) is not None:
            found = dict(_unfused(fused, theirs, slices[0], naming))
        elif (ours := naming.parse(stem(theirs))) is None:
            what = f"is not one of a {naming.format} checkpoint that Lindos computes"
            raise FormatError(f"{slices[0].path}: tensor '{theirs}' {what}")
        elif ours[1] is None:
            found = {ours[0]: _whole(ours[0], theirs, slices)}
        else:
            experts = stacks.setdefault(ours[0], {})
            if ours[1] in experts:
                raise FormatError(f"{directory}: tensor '{theirs}' is there twice")
            experts[ours[1]] = slices
            continue
        if parts.keys() & found.keys():
            raise FormatError(f"{directory}: tensor '{theirs}' is there twice")
        parts |= found
    for name, experts in stacks.items():
        if name in parts:
            raise FormatError(f"{directory}: the experts of tensor '{name}' are there twice, in one tensor and in many")
        parts[name] = _stack(name, experts, directory)
    return parts


def stem(name: str) -> str:
    """A tensor's name without what ends every name."""
    return name.removesuffix(".weight").removesuffix(".scale")


def _check_weight(theirs: str, ref: ArrayRef, naming: Naming) -> None:
    if 0 in ref.shape or not ref.shape or ref.storage == "int8":
        what = f"of shape {list(ref.shape)} and type {ref.storage}"
        raise FormatError(f"{ref.path}: tensor '{theirs}' {what} is not a weight of a {naming.format} checkpoint")


def _whole(name: str, theirs: str, slices: Slices) -> Whole:
    ref, *others = slices
    if others:
        raise FormatError(f"{ref.path}: tensor '{theirs}' is cut for several devices; only experts may be")
    return Whole(ref, turned=len(ref.shape) > 1 and name not in ROWS_FIRST)


def _stack(name: str, experts: dict[int, Slices], directory: Path) -> Stack:
    if sorted(experts) != list(range(len(experts))):
        missing = min(set(range(max(experts))) - experts.keys())
        raise FormatError(f"{directory}: expert {missing} of tensor '{name}' is missing; the checkpoint is incomplete")
    ordered = tuple(experts[number] for number in sorted(experts))
    kinds = {(ref.shape, ref.storage) for slices in ordered for ref in slices}
    if len(kinds) != 1 or len({len(slices) for slices in ordered}) != 1:
        raise FormatError(f"{directory}: the experts of tensor '{name}' differ in shape or type")
    return Stack(ordered, axis=1 if name.endswith(".down") else 0)


def _unfused(names: tuple[str, ...], theirs: str, ref: ArrayRef, naming: Naming) -> Iterator[tuple[str, Part]]:
    """Each of the tensors that one of all experts holds, one above the other."""
    if len(ref.shape) != 3 or ref.shape[1] % len(names):
        what = f"of shape {list(ref.shape)}"
        raise FormatError(f"{ref.path}: tensor '{theirs}' {what} does not hold the experts of a {naming.format} layer")
    height = ref.shape[1] // len(names)
    for place, name in enumerate(names):
        yield name, Fused(ref, slice(place * height, (place + 1) * height))

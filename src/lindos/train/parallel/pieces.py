"""Which part of each weight a rank holds, in the names and shapes of the whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from lindos.train.parallel.mesh import Group


@dataclass(frozen=True)
class Cut:
    """A dimension, and the ranks it is divided among."""

    dim: int
    group: Group


@dataclass(frozen=True)
class Piece:
    """A rank's part of the weight `name`, whose whole shape is `shape`: cut once, and what is left cut again, ..."""

    name: str
    shape: tuple[int, ...]
    cuts: tuple[Cut, ...] = ()

    def cut(self, dim: int, group: Group) -> Piece:
        """Divided once more."""
        return self if group.size == 1 else replace(self, cuts=(*self.cuts, Cut(dim, group)))

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where it lies in the whole; empty where there are more ranks than rows."""
        ranges = [range(size) for size in self.shape]
        for cut in self.cuts:
            ranges[cut.dim] = chunk(ranges[cut.dim], cut.group.size, cut.group.index)
        return tuple(slice(each.start, each.stop) for each in ranges)

    @property
    def local_shape(self) -> tuple[int, ...]:
        return tuple(each.stop - each.start for each in self.slices)


def chunk(whole: range, parts: int, index: int) -> range:
    """One of `parts` stretches, all of one length but the last ones (as `torch.chunk` and DTensor cut)."""
    each = -(-len(whole) // parts)
    return whole[min(index * each, len(whole)) : min((index + 1) * each, len(whole))]


Rule = Callable[[Piece], Piece]


def cut_weights(module: nn.Module, pieces: dict[str, Piece], rule: Rule) -> None:
    """Replace each weight (without values yet) by this rank's part of it, and note the part in `pieces`."""
    for name, parameter in list(module.named_parameters()):
        piece = rule(Piece(name, tuple(parameter.shape)))
        pieces[name] = piece
        if piece.cuts:
            put(module, name, nn.Parameter(parameter.new_empty(piece.local_shape)))


def put(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Set the parameter of this (dotted) name."""
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, parameter)


def small_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Norms and routers: small, computed with in fp32, and held whole by every rank."""
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.ndim == 1 or name.endswith("router")
    }

"""The weights a rank keeps, their gradients, and what of both all ranks must know together."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from lindos.train.checkpoint import Part
from lindos.train.parallel.collectives import gathered
from lindos.train.parallel.mesh import Group, Mesh
from lindos.train.parallel.pieces import Cut, Piece, chunk, small_weights
from lindos.train.stage import Stage


class ShardedWeights:
    """fp32 masters and gradients of this rank's pieces; the forward pass casts as it gathers."""

    def __init__(self, stages: list[Stage], pieces: dict[str, Piece], mesh: Mesh) -> None:
        self.stages, self.pieces, self.mesh = stages, pieces, mesh
        self.weights: dict[str, nn.Parameter] = {}
        self.small: set[str] = set()
        for stage in stages:
            self.weights |= dict(stage.model.named_parameters())
            self.small |= set(small_weights(stage.model))
        self.masters = {name: local(weight.detach()) for name, weight in self.weights.items()}
        self.gradients: dict[str, Tensor] = {}
        """Set by `collect`, forgotten by `clear`: no step holds those of the step before."""
        self._tied = stages[0].spec.tied_head and mesh.ends.size > 1 and "embedding" in self.weights

    def collect(self) -> None:
        """After the last backward pass of a step: bring together what FSDP has not, and set `gradients`."""
        for name, weight in self.weights.items():
            gradient = weight.grad
            self.gradients[name] = torch.zeros_like(self.masters[name]) if gradient is None else local(gradient)
        add_up([self.gradients[name] for name in self._ordered(self.small)], self.mesh.stage)
        if self._tied:
            add_up([self.gradients["embedding"]], self.mesh.ends)

    def part(self, name: str, tensor: Tensor) -> Part:
        """What a checkpoint keeps of something of a weight's. Of ranks that hold the same, one writes it."""
        piece = self.pieces[name]
        offsets = tuple(each.start for each in piece.slices)
        return Part(tensor, piece.shape, offsets, writes=self._writes(name))

    def _writes(self, name: str) -> bool:
        if self._tied and name == "embedding" and self.mesh.ends.index:
            return False
        group = self._copies(name)
        return group.index == zlib.crc32(name.encode()) % group.size

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        """The whole matrix of which this rank has `tensor`; of a stack of experts, the whole ones of its own."""
        piece = self.pieces[name]
        for number in reversed(range(len(piece.cuts))):
            cut = piece.cuts[number]
            if cut.dim >= len(piece.shape) - 2:
                before = replace(piece, cuts=piece.cuts[:number]).local_shape[cut.dim]
                tensor = _joined(tensor, cut, before)
        return tensor

    def own(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of what `whole` gave."""
        piece = replace(self.pieces[name], cuts=self._inside(name), shape=tuple(whole.shape))
        return whole[piece.slices]

    def _inside(self, name: str) -> tuple[Cut, ...]:
        """The cuts that go through matrices, not between them."""
        piece = self.pieces[name]
        return tuple(cut for cut in piece.cuts if cut.dim >= len(piece.shape) - 2)

    def publish(self) -> None:
        """Have the next forward pass gather the masters, also after one without a backward pass, which keeps what it
        gathered."""
        for stage in self.stages:
            for module in stage.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()

    def clear(self) -> None:
        self.gradients = {}
        for weight in self.weights.values():
            weight.grad = None

    def norm(self) -> Tensor:
        """Norm of the whole gradient, the same on all ranks."""
        squares = torch.zeros((), dtype=torch.float64, device=self._device)
        for name, gradient in self.gradients.items():
            squares += torch.linalg.vector_norm(gradient, dtype=torch.float64).square() / self.copies(name)
        if self.mesh.world.size > 1:
            dist.all_reduce(squares, group=self.mesh.world.handle)
        return squares.sqrt().float()

    def not_finite(self) -> list[str]:
        """Names of this rank's tensors whose gradient holds an infinity or NaN."""
        return [name for name, each in self.gradients.items() if not bool(torch.isfinite(each).all())]

    def copies(self, name: str) -> int:
        """How many ranks hold the same piece of this weight."""
        return self._copies(name).size * (self.mesh.ends.size if self._tied and name == "embedding" else 1)

    def _copies(self, name: str) -> Group:
        if name in self.small:
            return self.mesh.stage
        if self.mesh.layout.expert > 1 and ".experts." in name:
            return self.mesh.expert_copies
        return self.mesh.dense_copies

    @property
    def _device(self) -> torch.device:
        return next(iter(self.masters.values())).device

    def _ordered(self, names: Iterable[str]) -> Iterator[str]:
        return (name for name in self.weights if name in names)


def _joined(tensor: Tensor, cut: Cut, size: int) -> Tensor:
    """The parts of all ranks of a cut, `size` together; the last ones may be shorter than the first."""
    each = len(chunk(range(size), cut.group.size, 0))
    filled = tensor.new_zeros([*tensor.shape[: cut.dim], each, *tensor.shape[cut.dim + 1 :]])
    filled.narrow(cut.dim, 0, tensor.shape[cut.dim]).copy_(tensor)
    return gathered(filled, cut.group, cut.dim).narrow(cut.dim, 0, size).contiguous()


def local(x: Tensor) -> Tensor:
    """This rank's part of a distributed tensor, sharing its memory."""
    return x.to_local() if isinstance(x, DTensor) else x


def add_up(tensors: list[Tensor], group: Group) -> None:
    """Replace tensors by their sums over the ranks of a group, in one exchange."""
    if group.size == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat, group=group.handle)
    for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))

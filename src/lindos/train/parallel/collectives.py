"""Exchanges that gradients flow back through, in pairs: what gathers forward scatters backward.

Letters: n ranks of a group, B batch, T tokens, R rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lindos.train.parallel.mesh import Group

# torch 2.13 renamed both and warns of the old names.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def gather(x: Tensor, group: Group, dim: int) -> Tensor:
    """The parts of all ranks side by side along `dim`; gradients are summed over ranks, each rank keeps its part's."""
    return x if group.size == 1 else _Gather.apply(x, group, dim)


def scatter_sum(x: Tensor, group: Group, dim: int) -> Tensor:
    """The sum over ranks of `x`, of which each rank keeps its part along `dim`; gradients are gathered."""
    return x if group.size == 1 else _ScatterSum.apply(x, group, dim)


def part(x: Tensor, group: Group, dim: int) -> Tensor:
    """This rank's part of what all ranks hold alike; its gradient is not gathered."""
    return x.chunk(group.size, dim)[group.index]


def exchange(x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    """Rows to every rank (`sent[i]` of them to rank i, in order) and from every rank; gradients go the way back."""
    return x if group.size == 1 else _Exchange.apply(x, sent, received, group)


def total(x: Tensor, group: Group) -> Tensor:
    """The sum over ranks; no gradient."""
    if group.size > 1:
        x = x.clone()
        dist.all_reduce(x, group=group.handle)
    return x


def largest(x: Tensor, group: Group) -> Tensor:
    """The largest of all ranks, element by element; no gradient."""
    if group.size > 1:
        x = x.clone()
        dist.all_reduce(x, dist.ReduceOp.MAX, group=group.handle)
    return x


def gathered(x: Tensor, group: Group, dim: int) -> Tensor:
    """`gather` without a gradient."""
    if group.size == 1:
        return x
    whole = x.new_empty(group.size * x.shape[0], *x.shape[1:])
    _all_gather(whole, x.contiguous(), group=group.handle)
    return whole.unflatten(0, (group.size, -1)).movedim(0, dim).flatten(dim, dim + 1) if dim else whole


def scattered_sum(x: Tensor, group: Group, dim: int) -> Tensor:
    """`scatter_sum` without a gradient."""
    if group.size == 1:
        return x
    parts = x.unflatten(dim, (group.size, -1)).movedim(dim, 0).contiguous()
    own = torch.empty_like(parts[0])
    _reduce_scatter(own, parts.flatten(0, 1), group=group.handle)
    return own


def exchanged(x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    """`exchange` without a gradient."""
    if group.size == 1:
        return x
    out = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(out, x.contiguous(), received, sent, group=group.handle)
    return out


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return gathered(x, group, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return scattered_sum(grads[0], ctx.group, ctx.dim), None, None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return scattered_sum(x, group, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return gathered(grads[0], ctx.group, ctx.dim), None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return exchanged(x, sent, received, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return exchanged(grads[0], ctx.received, ctx.sent, ctx.group), None, None, None

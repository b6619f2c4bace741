"""Cross-entropy of the output head, in chunks, with its gradient taken on the way.

The logits of a step are larger than everything else in a small model (8,192 tokens times 8,192 words in fp32: 268
MB), so they exist a chunk at a time and never for the backward pass: the loss is a scalar, its gradient is known as
soon as a chunk's probabilities are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lindos.model import Routing, Transformer
from lindos.model.elementwise import head_loss
from lindos.model.halves import wanted

CHUNK_TOKENS = 1024
ROW_QUANTUM = 128
NO_TARGET = -1
"""The target of a row that only fills up: it has no loss and no gradient."""


ChunkLoss = Callable[[Tensor, Tensor, float, float, float | None, float], tuple[Tensor, Tensor, Tensor]]
"""What `head_loss` is: from the logits of some tokens to their loss and its gradient."""


class Losses(NamedTuple):
    """Mean over the counted tokens, in nats: `total` is trained on, `text` is the plain cross-entropy."""

    total: Tensor
    text: Tensor


def text_loss(
    model: Transformer,
    x_TD: Tensor,
    targets_T: Tensor,
    counted: float,
    z_weight: float,
    *,
    chunk_loss: ChunkLoss = head_loss,
) -> Losses:
    """Summed cross-entropy of the given tokens divided by `counted`, with z-loss added in `total`."""
    spec = model.spec
    head_VD = model.head_matrix
    want = torch.is_grad_enabled() and (x_TD.requires_grad or head_VD.requires_grad)
    total, text = _HeadLoss.apply(
        x_TD, head_VD, targets_T, 1.0 / counted, spec.logit_multiplier, spec.logit_softcap, z_weight, want, chunk_loss
    )
    return Losses(total, text)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        head_VD: Tensor,
        targets_T: Tensor,
        weight: float,
        multiplier: float,
        softcap: float | None,
        z_weight: float,
        want: bool,
        chunk_loss: ChunkLoss,
    ) -> tuple[Tensor, Tensor]:
        dx_TD = torch.empty_like(x_TD) if want else None
        dhead_VD = torch.zeros(head_VD.shape, dtype=torch.float32, device=head_VD.device) if want else None
        text = x_TD.new_zeros((), dtype=torch.float32)
        total = x_TD.new_zeros((), dtype=torch.float32)
        for start in range(0, len(x_TD), CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            x, targets = _fill_up(x_TD[part], targets_T[part])
            text_part, total_part, d = chunk_loss(x @ head_VD.t(), targets, weight, multiplier, softcap, z_weight)
            text += text_part
            total += total_part
            if dx_TD is not None and dhead_VD is not None:
                dx_TD[part] = (d @ head_VD)[: len(dx_TD[part])]
                dhead_VD += d.t() @ x
        ctx.gradients = (dx_TD, dhead_VD)
        ctx.head_dtype = head_VD.dtype
        ctx.mark_non_differentiable(text)
        return total, text

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx_TD, dhead_VD = ctx.gradients
        # Each is handed out once and forgotten, both in one pass or one after the other.
        dx_TD = dx_TD.mul_(grads[0]) if wanted(ctx, 0) else None
        dhead_VD = dhead_VD.mul_(grads[0]).to(ctx.head_dtype) if wanted(ctx, 1) else None
        ctx.gradients = tuple(
            None if given is not None else held for given, held in zip((dx_TD, dhead_VD), ctx.gradients, strict=True)
        )
        return (dx_TD, dhead_VD, *[None] * 7)


def _fill_up(x_TD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Rows up to a multiple of ROW_QUANTUM. Where an arbitrary number of tokens counts (conversations), each new shape
    would cost a compilation of its products, and its logits another block of an allocator that keeps what it frees."""
    missing = -len(x_TD) % ROW_QUANTUM
    if missing == 0:
        return x_TD, targets_T
    return functional.pad(x_TD, (0, 0, 0, missing)), functional.pad(targets_T, (0, missing), value=NO_TARGET)


def router_loss(routings: list[Routing], balance: float, z: float, counts_LE: Tensor | None = None) -> Tensor:
    """Load-balance and z-loss, summed over layers.

    Balance: E * sum over experts of (share of choices) * (mean probability), which is 1 when both are even. Where
    several ranks share a micro-batch, `counts_LE` are the choices of all of them: each rank's loss is then its part of
    the whole micro-batch's, and the parts add up.
    """
    if counts_LE is None:
        counts_LE = torch.stack([choices(routing) for routing in routings])
    losses = []
    for routing, counts_E in zip(routings, counts_LE, strict=True):
        experts = routing.probabilities.shape[-1]
        chosen = counts_E.sum().clamp(min=1)
        tokens = chosen / routing.chosen.shape[-1]
        even = experts * (counts_E / chosen * (routing.probabilities.sum(0) / tokens)).sum()
        losses.append(balance * even + z * (torch.logsumexp(routing.logits, -1).square().sum() / tokens))
    return torch.stack(losses).sum()


def choices(routing: Routing) -> Tensor:
    """How often each expert was chosen, fp32 [E]."""
    experts = routing.probabilities.shape[-1]
    chosen = routing.chosen.flatten()
    counts = torch.zeros(experts, device=chosen.device)
    return counts.scatter_add_(0, chosen, torch.ones_like(chosen, dtype=counts.dtype))

"""Cross-entropy of the output head, in chunks, with its gradient taken on the way.

The logits of a step are larger than everything else in a small model (8,192 tokens times 8,192 words in fp32: 268
MB), so they exist a chunk at a time and never for the backward pass: the loss is a scalar, its gradient is known as
soon as a chunk's probabilities are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lindos.model import Routing, Transformer
from lindos.model.elementwise import head_loss

CHUNK_TOKENS = 1024
ROW_QUANTUM = 128
NO_TARGET = -1
"""The target of a row that only fills up: it has no loss and no gradient."""


class Losses(NamedTuple):
    """Mean over the counted tokens, in nats: `total` is trained on, `text` is the plain cross-entropy."""

    total: Tensor
    text: Tensor


def text_loss(model: Transformer, x_TD: Tensor, targets_T: Tensor, counted: float, z_weight: float) -> Losses:
    """Summed cross-entropy of the given tokens divided by `counted`, with z-loss added in `total`."""
    spec = model.spec
    head_VD = model.head_matrix
    want = torch.is_grad_enabled() and (x_TD.requires_grad or head_VD.requires_grad)
    total, text = _HeadLoss.apply(
        x_TD, head_VD, targets_T, 1.0 / counted, spec.logit_multiplier, spec.logit_softcap, z_weight, want
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
    ) -> tuple[Tensor, Tensor]:
        dx_TD = torch.empty_like(x_TD) if want else None
        dhead_VD = torch.zeros(head_VD.shape, dtype=torch.float32, device=head_VD.device) if want else None
        text = x_TD.new_zeros((), dtype=torch.float32)
        total = x_TD.new_zeros((), dtype=torch.float32)
        for start in range(0, len(x_TD), CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            x, targets = _fill_up(x_TD[part], targets_T[part])
            text_part, total_part, d = head_loss(x @ head_VD.t(), targets, weight, multiplier, softcap, z_weight)
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
        scale = grads[0]
        dx_TD, dhead_VD = ctx.gradients
        ctx.gradients = None
        return (dx_TD.mul_(scale), dhead_VD.mul_(scale).to(ctx.head_dtype), None, None, None, None, None, None)


def _fill_up(x_TD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Rows up to a multiple of ROW_QUANTUM. Where an arbitrary number of tokens counts (conversations), each new shape
    would cost a compilation of its products, and its logits another block of an allocator that keeps what it frees."""
    missing = -len(x_TD) % ROW_QUANTUM
    if missing == 0:
        return x_TD, targets_T
    return functional.pad(x_TD, (0, 0, 0, missing)), functional.pad(targets_T, (0, missing), value=NO_TARGET)


def router_loss(routings: list[Routing], balance: float, z: float) -> Tensor:
    """Load-balance and z-loss, summed over layers.

    Balance: E * sum over experts of (share of choices) * (mean probability), which is 1 when both are even.
    """
    losses = []
    for routing in routings:
        experts = routing.probabilities.shape[-1]
        shares = expert_shares(routing)
        even = experts * (shares * routing.probabilities.mean(0)).sum()
        losses.append(balance * even + z * torch.logsumexp(routing.logits, -1).square().mean())
    return torch.stack(losses).sum()


def expert_shares(routing: Routing) -> Tensor:
    """What share of a layer's choices each expert got: fp32 [E], summing to 1."""
    experts = routing.probabilities.shape[-1]
    counts = torch.bincount(routing.chosen.flatten(), minlength=experts).float()
    return counts / counts.sum()

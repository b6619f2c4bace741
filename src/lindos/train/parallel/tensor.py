"""Tensor parallelism with sequence parallelism (Korthikanti et al., https://arxiv.org/abs/2205.05198).

Between products the residual stream is divided by tokens; before a product the tokens are gathered, each rank
multiplies with its part of the matrix (heads of attention, inner columns of an MLP), and the sums go back to the
tokens' owners.

Letters: B batch, T tokens, D width, V vocabulary, R rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lindos.model import Routing, Transformer
from lindos.model.elementwise import wide_dtype
from lindos.model.transformer import Block
from lindos.train.parallel.again import Again
from lindos.train.parallel.collectives import gather, gathered, scatter_sum
from lindos.train.parallel.mesh import Group
from lindos.train.parallel.pieces import Piece

_COLUMNS = ("query", "key", "value", "gate", "up")
"""Matrices whose outputs are divided; of all others it is the inputs."""


def tensor_rule(piece: Piece, group: Group) -> Piece:
    """How a weight is divided among tensor ranks."""
    leaf = piece.name.rpartition(".")[2]
    if leaf in ("embedding", "head"):
        return piece.cut(0, group)
    if len(piece.shape) < 2 or leaf == "router":
        return piece
    return piece.cut(len(piece.shape) - (1 if leaf in _COLUMNS else 2), group)


def share_products(block: Block, group: Group, *, experts: bool, again: Again | None) -> None:
    """Have a block's products exchange what tensor ranks need of each other.

    `experts` says whether the experts' width is divided too; where they lie whole on their ranks it is not. What is
    gathered is noted in `again`.
    """
    if group.size == 1:
        return
    block.attention.forward = _Shared(block.attention.forward, group, 1, again)  # type: ignore[method-assign]
    if block.experts is None or experts:
        block.mixture = _SharedMixture(block.mixture, group, again)  # type: ignore[method-assign]
    elif block.shared is not None:
        block.shared.forward = _Shared(block.shared.forward, group, 0, again)  # type: ignore[method-assign]


class _Shared:
    """A module's forward pass that gathers what it reads, and scatters the sum of what the ranks make of it."""

    def __init__(self, forward: Callable[..., Tensor], group: Group, dim: int, again: Again | None) -> None:
        self.forward, self.group, self.dim, self.again = forward, group, dim, again

    def __call__(self, x: Tensor, *others: Any) -> Tensor:
        whole = gather(x, self.group, self.dim)
        if self.again is not None:
            own = self.again.way_to(x)
            self.again.note(whole, lambda: gathered(own(), self.group, self.dim))
        return scatter_sum(self.forward(whole, *others), self.group, self.dim)


class _SharedMixture:
    """A block's experts and shared branch on all tokens of the group, each rank with its part of their width."""

    def __init__(self, mixture: Callable[..., Tensor], group: Group, again: Again | None) -> None:
        self.mixture, self.group = _Shared(mixture, group, 0, again), group

    def __call__(self, x_TD: Tensor, routing: Routing | None) -> Tensor:
        if routing is not None:
            gates_Tk, chosen_Tk = gather(routing.gates, self.group, 0), gathered(routing.chosen, self.group, 0)
            routing = routing._replace(gates=gates_Tk, chosen=chosen_Tk)
        return self.mixture(x_TD, routing)


class SharedEmbedding:
    """Rows of the embedding on their ranks: each looks up what it has, the sum is everybody's."""

    def __init__(self, piece: Piece, group: Group) -> None:
        self.rows, self.group = piece.slices[0], group

    def __call__(self, model: Transformer, tokens_BT: Tensor) -> Tensor:
        """[B, T / n, D] of this rank."""
        places_BT = tokens_BT - self.rows.start
        here_BT = (places_BT >= 0) & (tokens_BT < self.rows.stop)
        rows_BTD = functional.embedding(places_BT.clamp(0, self.rows.stop - self.rows.start - 1), model.embedding)
        rows_BTD = rows_BTD * here_BT[..., None].to(rows_BTD.dtype)
        return scatter_sum(rows_BTD, self.group, 1) * model.embedding_multiplier


class SharedHeadLoss:
    """`head_loss` where each rank has the logits of its part of the vocabulary; all get the same loss."""

    def __init__(self, piece: Piece, group: Group) -> None:
        self.rows, self.group = piece.slices[0], group

    def __call__(
        self,
        logits_RV: Tensor,
        targets_R: Tensor,
        weight: float,
        multiplier: float,
        softcap: float | None,
        z_weight: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `head_loss`; logits and their gradient are this rank's part."""
        logits = logits_RV.to(wide_dtype(logits_RV)) * multiplier
        bent = None
        if softcap is not None:
            bent = logits.div_(softcap).tanh_()
            logits = bent * softcap
        here_R = (targets_R >= self.rows.start) & (targets_R < self.rows.stop)
        place_R1 = (targets_R - self.rows.start).clamp(0, logits.shape[1] - 1)[:, None]
        target_R = torch.where(here_R, logits.gather(1, place_R1)[:, 0], 0.0)
        ours_2R = torch.stack((torch.logsumexp(logits, -1), target_R))
        norms_nR, targets_nR = gathered(ours_2R[None], self.group, 0).unbind(1)
        norm_R1, text_R1 = torch.logsumexp(norms_nR, 0)[:, None], targets_nR.sum(0)[:, None]
        text_R1 = norm_R1 - text_R1
        weight_R1 = (targets_R >= 0).to(logits.dtype)[:, None] * weight
        slope_R1 = multiplier * weight_R1
        d = torch.exp(logits - norm_R1).mul_((1 + 2 * z_weight * norm_R1) * slope_R1)
        d = d.scatter_add_(1, place_R1, -slope_R1 * here_R[:, None].to(d.dtype))
        if bent is not None:
            d = torch.ops.aten.tanh_backward(d, bent)
        text_R1, z_R1 = text_R1 * weight_R1, z_weight * norm_R1.square() * weight_R1
        return text_R1.sum(), (text_R1 + z_R1).sum(), d.to(logits_RV.dtype)

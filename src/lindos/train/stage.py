"""The part of a network that one rank runs in one go: all of it on one process, some layers in a pipeline.

A stage takes tokens or the residual stream of the stage before it, and gives the residual stream or, at the end, the
loss of a micro-batch. The losses of its routers join the gradient where they arise, and need no way to the end of the
pipeline and back.

Letters: B sequences, T tokens of them that this rank sees, D width, L layers with experts, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lindos.model import Routing, Transformer, document_starts
from lindos.model.attention import temperatures
from lindos.model.elementwise import head_loss
from lindos.model.transformer import Block, View
from lindos.train.loss import ChunkLoss, choices, router_loss, text_loss

Exchange = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Purpose:
    """What a step is measured by; numbers of the run file and of its data."""

    z_loss: float = 0.0
    balance: float = 0.0
    router_z: float = 0.0
    start_token: int | None = None
    """Begins every document: those packed into one row then do not see each other."""
    pad_token: int | None = None
    """Only fills rows up: where it stands, experts need no balance."""


@dataclass(frozen=True)
class Sharing:
    """How this rank shares a micro-batch with others; the defaults are those of a rank that shares nothing."""

    positions: Callable[[int], Tensor] = torch.arange
    """From the length of a sequence to the positions of it that this rank computes."""
    residual: Exchange = _same
    """From [B, T, ...] to the part of T that this rank's residual stream holds."""
    to_head: Exchange = _same
    """From this rank's residual stream back to all T."""
    counts: Exchange = _same
    """From a number of this rank to the sum over all who share the micro-batch."""
    embed: Callable[[Transformer, Tensor], Tensor] = Transformer.embed
    chunk_loss: ChunkLoss = head_loss
    copies: int = 1
    """How many ranks compute the same loss, each a part of its gradient."""


@dataclass
class Tally:
    """What a stage has measured since the step began."""

    text: Tensor | float = 0.0
    """Cross-entropy in nats per counted token of the whole batch."""
    router: Tensor | float = 0.0
    shares: list[Tensor] = field(default_factory=list)
    """Each micro-batch's shares of choices by expert, [L, E]."""


class Stage(nn.Module):
    """Layers `first` to `last` of a model, with the embedding before the first and the loss after the last one."""

    def __init__(
        self,
        model: Transformer,
        purpose: Purpose,
        *,
        layers: range | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """`model` keeps only what this stage needs: other layers, and ends that are not its own, are taken out."""
        super().__init__()
        self.spec, self.purpose, self.sharing = model.spec, purpose, sharing or Sharing()
        self.layers = range(model.spec.layers) if layers is None else layers
        self.first, self.last = self.layers.start == 0, self.layers.stop == model.spec.layers
        _keep(model, self.layers, embedding=self.first or (self.last and model.spec.tied_head), end=self.last)
        self.model = model
        self.counted, self.parts = 1, 1
        self.tally = Tally()

    def begin(self, counted: int, parts: int) -> None:
        """A step begins, whose batch counts so many tokens in so many micro-batches on all ranks together."""
        self.counted, self.parts, self.tally = counted, parts, Tally()

    def forward(self, x: Tensor, *, tokens_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """The residual stream, or the loss of the last stage, [1].

        `x` are tokens (ignored, they are told again) or the residual stream of the stage before; `tokens_BT` [B, T+1]
        and `mask_BT` [B, T] are the whole micro-batch, also where this rank computes some positions of it only.
        """
        positions_T = self.sharing.positions(tokens_BT.shape[1] - 1).to(tokens_BT.device)
        seen_BT = tokens_BT[:, positions_T]
        h_BTD = self.sharing.embed(self.model, seen_BT) if self.first else x
        phase, view = self.model.phase(positions_T), self._view(tokens_BT[:, :-1], positions_T)
        routings: list[Routing] = []
        for block in self.blocks():
            h_BTD, routing = block(h_BTD, phase, view)
            if routing is not None:
                routings.append(routing)
        routers = self._routers(routings, self.sharing.residual(seen_BT))
        if not self.last:
            return h_BTD if routers is None else _Joined.apply(h_BTD, routers)
        x_BTD = self.sharing.to_head(self.model.normalise(h_BTD))
        losses = text_loss(
            self.model,
            *counted_tokens(x_BTD, tokens_BT[:, positions_T + 1], None if mask_BT is None else mask_BT[:, positions_T]),
            self.counted,
            self.purpose.z_loss,
            chunk_loss=self.sharing.chunk_loss,
        )
        self.tally.text = self.tally.text + losses.text.detach() / self.sharing.copies
        return torch.stack([losses.total if routers is None else losses.total + routers])

    def blocks(self) -> Iterable[Block]:
        """Its layers."""
        return (block for block in self.model.layers if isinstance(block, Block))

    def _view(self, tokens_BT: Tensor, positions_T: Tensor) -> View:
        starts_BT = first_keys(tokens_BT, self.purpose.start_token)
        first_BT = None if starts_BT is None else starts_BT[:, positions_T]
        mask_BT = None
        if self.spec.pad_token is not None:
            visible_BT = tokens_BT != self.spec.pad_token
            mask_BT = None if bool(visible_BT.all()) else visible_BT
        length, temperature_BT = self.spec.attention_temperature_length, None
        if length and tokens_BT.shape[1] - 1 > length:
            places_BT = positions_T[None] if first_BT is None else positions_T - first_BT
            temperature_BT = temperatures(places_BT, length)
        return View(mask_BT, first_BT, temperature_BT)

    def _routers(self, routings: list[Routing], tokens_BT: Tensor) -> Tensor | None:
        """The routers' losses for this micro-batch, and their tally."""
        if not routings:
            return None
        routings = [routing_of_text(routing, tokens_BT, self.purpose.pad_token) for routing in routings]
        counts_LE = self.sharing.counts(torch.stack([choices(routing) for routing in routings]))
        loss = router_loss(routings, self.purpose.balance, self.purpose.router_z, counts_LE) / self.parts
        self.tally.router = self.tally.router + loss.detach()
        self.tally.shares.append(counts_LE / counts_LE.sum(-1, keepdim=True).clamp(min=1))
        return loss


class _Joined(torch.autograd.Function):
    """The stream as it is; on the way back a loss joins its gradient."""

    @staticmethod
    def forward(ctx: Any, h_BTD: Tensor, loss: Tensor) -> Tensor:
        ctx.loss = loss.new_ones(())
        return h_BTD.clone()  # FSDP wants no views

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], ctx.loss


def _keep(model: Transformer, layers: range, *, embedding: bool, end: bool) -> None:
    """Take out of a model what a stage does not need; names of what stays are as before."""
    for index in range(model.spec.layers):
        if index not in layers:
            del model.layers._modules[str(index)]  # deleting by index would number the others anew
    if not embedding:
        del model.embedding
    if not end:
        del model.final_norm
        if not model.spec.tied_head:
            del model.head


def first_keys(tokens_BT: Tensor, start_token: int | None) -> Tensor | None:
    """What attention wants to know to keep documents apart."""
    return None if start_token is None else document_starts(tokens_BT, start_token)


def routing_of_text(routing: Routing, tokens_BT: Tensor, pad_token: int | None) -> Routing:
    """The routing of the tokens that are no filling."""
    text_T = (tokens_BT != pad_token).flatten() if pad_token is not None else None
    if text_T is None or bool(text_T.all()):
        return routing
    return Routing(*(each[text_T] for each in routing))


def counted_tokens(x_BTD: Tensor, targets_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Hidden states and targets of the tokens that count (all of them without a mask), flat: the head is spared the
    others."""
    if mask_BT is None or bool(mask_BT.all()):
        return x_BTD.flatten(0, 1), targets_BT.flatten()
    return x_BTD[mask_BT], targets_BT[mask_BT]

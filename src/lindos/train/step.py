"""One training step: forward and backward over micro-batches, with what the log wants to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lindos.model import Routing, Transformer, document_starts
from lindos.train.loss import expert_shares, router_loss, text_loss
from lindos.train.run_file import RunFile


@dataclass(frozen=True)
class StepResult:
    """Losses in nats per counted token; `balance` as in `balance_of`."""

    loss: float
    router_loss: float
    balance: float
    counted: int


def accumulate(
    model: Transformer,
    tokens_BT: np.ndarray,
    mask_BT: np.ndarray,
    run: RunFile,
    *,
    start_token: int | None = None,
    pad_token: int | None = None,
) -> StepResult:
    """Add the gradient of one batch, micro-batch by micro-batch.

    `tokens_BT` is [B, T+1], `mask_BT` [B, T]: whether predicting tokens[:, t+1] counts. Every counted token of the
    batch weighs the same, however the micro-batches divide them. With a `start_token`, which begins every document,
    documents packed into one row do not see each other. A `pad_token` only fills rows up: where it stands, experts need
    no balance.
    """
    counted = int(mask_BT.sum())
    parts = len(tokens_BT) // run.data.micro_batch
    text = routing_loss = 0.0
    shares: list[Tensor] = []
    for part in range(parts):
        rows = slice(part * run.data.micro_batch, (part + 1) * run.data.micro_batch)
        tokens = torch.from_numpy(tokens_BT[rows]).to(model.embedding.device)
        mask = torch.from_numpy(mask_BT[rows]).to(model.embedding.device)
        x_BTD, routings = model.hidden(tokens[:, :-1], first_key_BT=first_keys(tokens, start_token))
        losses = text_loss(model, *counted_tokens(x_BTD, tokens[:, 1:], mask), max(1, counted), run.z_loss)
        routings = [routing_of_text(routing, tokens[:, :-1], pad_token) for routing in routings]
        routers = router_loss(routings, run.router.balance, run.router.z) / parts
        (losses.total + routers).backward()
        text += float(losses.text.detach())
        routing_loss += float(routers.detach())
        shares.append(torch.stack([expert_shares(routing) for routing in routings]))
    return StepResult(text, routing_loss, balance_of(torch.stack(shares).mean(0)), counted)


def first_keys(tokens_BT: Tensor, start_token: int | None) -> Tensor | None:
    """What `hidden` wants to know to keep documents apart; `tokens_BT` has one token more than it will see."""
    return None if start_token is None else document_starts(tokens_BT[:, :-1], start_token)


def routing_of_text(routing: Routing, tokens_BT: Tensor, pad_token: int | None) -> Routing:
    """The routing of the tokens that are no filling."""
    text_T = (tokens_BT != pad_token).flatten() if pad_token is not None else None
    if text_T is None or bool(text_T.all()):
        return routing
    return Routing(*(each[text_T] for each in routing))


def counted_tokens(x_BTD: Tensor, targets_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states and targets of the tokens that count, flat: the head is spared the others."""
    if bool(mask_BT.all()):
        return x_BTD.flatten(0, 1), targets_BT.flatten()
    return x_BTD[mask_BT], targets_BT[mask_BT]


def balance_of(shares_LE: Tensor) -> float:
    """How much busier the busiest expert is than an even share, averaged over layers; 1 is perfect."""
    return float((shares_LE.max(-1).values * shares_LE.shape[-1]).mean())


@torch.inference_mode()
def held_out_loss(
    model: Transformer, batches: list[tuple[np.ndarray, np.ndarray]], *, start_token: int | None = None
) -> float:
    """Mean cross-entropy in nats over the counted tokens of `batches`; `start_token` as in `accumulate`."""
    total, counted = 0.0, 0
    for tokens_BT, mask_BT in batches:
        tokens = torch.from_numpy(tokens_BT).to(model.embedding.device)
        mask = torch.from_numpy(mask_BT).to(model.embedding.device)
        x_BTD, _ = model.hidden(tokens[:, :-1], first_key_BT=first_keys(tokens, start_token))
        x, targets = counted_tokens(x_BTD, tokens[:, 1:], mask)
        if len(x):
            total += float(text_loss(model, x, targets, 1.0, 0.0).text)
            counted += len(x)
    return total / max(1, counted)

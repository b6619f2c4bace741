"""One training step: forward and backward over micro-batches, with what the log wants to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lindos.data import Batch
from lindos.train.run_file import RunFile
from lindos.train.stage import Purpose, Stage


@dataclass(frozen=True)
class StepResult:
    """Losses in nats per counted token; `balance` as in `balance_of`."""

    loss: float
    router_loss: float
    balance: float
    counted: int


def _all_here(tensors: Sequence[Tensor]) -> None:
    pass


@dataclass(frozen=True)
class Whole:
    """The batch of a step as a whole, of which a learner may be given a part while others learn the rest."""

    counted: int
    """Tokens whose prediction counts."""
    parts: int
    """Micro-batches."""
    add_up: Callable[[Sequence[Tensor]], None] = _all_here
    """Replaces tensors of one type by their sums over all who learn of it."""


class Learner(Protocol):
    """What computes the losses of batches and their gradients, on one rank or with others."""

    def learn(self, batch: Batch, whole: Whole | None = None) -> StepResult:
        """Add the gradient of one batch, of which this rank was given its own rows.

        Every counted token of the whole batch weighs the same, however micro-batches and ranks divide them. `whole`
        says what that is where others learn the rest of it: gradients then lack theirs, results do not.
        """
        ...

    def measure(self, batches: list[Batch]) -> float:
        """Mean cross-entropy in nats over the counted tokens of all ranks' batches."""
        ...


def purpose_of(run: RunFile, *, start_token: int | None = None, pad_token: int | None = None) -> Purpose:
    """What the steps of a run are measured by."""
    return Purpose(
        z_loss=run.z_loss,
        balance=run.router.balance,
        router_z=run.router.z,
        start_token=start_token,
        pad_token=pad_token,
    )


class PlainLearner:
    """All of a model on one process, one micro-batch after the other."""

    def __init__(self, stage: Stage, micro_batch: int, *, device: torch.device | None = None) -> None:
        self.stage, self.micro_batch, self.device = stage, micro_batch, device

    def learn(self, batch: Batch, whole: Whole | None = None) -> StepResult:
        parts = micro_batches(batch, self.micro_batch, self.device)
        whole = whole or Whole(int(batch.loss_mask.sum()), len(parts))
        self.stage.begin(max(1, whole.counted), whole.parts)
        for tokens, mask in parts:
            self.stage(tokens, tokens_BT=tokens, mask_BT=mask).backward()
        tally = self.stage.tally
        shares_LE = (torch.stack(tally.shares).sum(0) / whole.parts).cpu() if tally.shares else None
        losses = torch.tensor([float(tally.text), float(tally.router)])
        whole.add_up([losses] if shares_LE is None else [losses, shares_LE])
        text, router = losses.tolist()
        return StepResult(text, router, balance_of(shares_LE), whole.counted)

    @torch.inference_mode()
    def measure(self, batches: list[Batch]) -> float:
        self.stage.begin(max(1, sum(int(batch.loss_mask.sum()) for batch in batches)), 1)
        for batch in batches:
            for tokens, mask in micro_batches(batch, self.micro_batch, self.device):
                self.stage(tokens, tokens_BT=tokens, mask_BT=mask)
        return float(self.stage.tally.text)


def micro_batches(batch: Batch, rows: int, device: torch.device | None = None) -> list[tuple[Tensor, Tensor | None]]:
    """Tokens [rows, T+1] and mask [rows, T] of each micro-batch; None where every token counts."""

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    starts = range(0, len(batch.tokens), rows)
    tokens, masks = ([each[i : i + rows] for i in starts] for each in (batch.tokens, batch.loss_mask))
    return [(on_device(t), None if m.all() else on_device(m)) for t, m in zip(tokens, masks, strict=True)]


def balance_of(shares_LE: Tensor | None) -> float:
    """How much busier the busiest expert is than an even share, averaged over layers; 1 is perfect."""
    if shares_LE is None:
        return 1.0
    return float((shares_LE.max(-1).values * shares_LE.shape[-1]).mean())


def step_fields(run: RunFile, step: int, result: StepResult, seconds: float) -> dict[str, Any]:
    """What a journal says of a step that took so long."""
    tokens = run.tokens_per_step
    return {
        "tokens": (step + 1) * tokens,
        "loss": result.loss,
        "router_loss": result.router_loss,
        "balance": result.balance,
        "counted": result.counted,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "flops_per_s": tokens * run.spec.training_flops_per_token(run.data.sequence) / seconds,
    }

"""How far a model's next-token distributions are from another's on held-out text: what quantising did to it.

Letters: B batch, T tokens, V vocabulary, N scored positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lindos.data.files import is_jsonl, read_lines, read_rows
from lindos.evaluate.scoring import EvaluationError, Progress
from lindos.model import Transformer
from lindos.text import Tokenizer

WINDOW = 512
_BATCH_TOKENS = 4096
_HEAD_ROWS = 512  # distributions of so many positions are held at a time, four of them at once


@dataclass(frozen=True)
class Divergence:
    """A model beside its reference on the same tokens; errors are standard errors over tokens."""

    tokens: int
    perplexity: float
    nats_more: float
    """Cross-entropy over the reference's, nats a token."""
    nats_error: float
    kl: float
    """Mean over positions of KL(reference || model), nats."""
    kl_error: float
    agreement: float
    """The share of positions at which both think the same token the likeliest."""


def text_windows(path: Path, tokenizer: Tokenizer, *, most: int | None = None, window: int = WINDOW) -> list[list[int]]:
    """Runs of up to `window` + 1 tokens of a text file's documents, in which each but the first is to be predicted.

    JSON lines (.jsonl, .zst and .gz unpacked) are documents in a field `text`, or `context` and `continuation`; any
    other file is one. `most`: tokens to predict in all. Raises EvaluationError and DataError.
    """
    start = [tokenizer.bos] if tokenizer.starts_with_bos and tokenizer.bos is not None else []
    found: list[list[int]] = []
    left = most if most is not None else 1 << 62
    for text in _documents(path):
        tokens = start + tokenizer.encode(text)
        for first in range(0, len(tokens) - 1, window):
            piece = tokens[first : first + min(window, left) + 1]
            found.append(piece)
            left -= len(piece) - 1
            if left <= 0:
                return found
    if not found:
        raise EvaluationError(f"{path}: holds no text of two tokens or more")
    return found


def _documents(path: Path) -> Iterator[str]:
    if not is_jsonl(path):
        yield "\n".join(line for _, line in read_lines(path))
        return
    for number, row in enumerate(read_rows(path), 1):
        parts = [row.get(field) for field in (["text"] if "text" in row else ["context", "continuation"])]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise EvaluationError(f"{path}, row {number}: has neither 'text' nor 'context' and 'continuation'")
        yield " ".join(texts)


@torch.inference_mode()
def divergence(
    reference: Transformer, model: Transformer, windows: Sequence[list[int]], progress: Progress | None = None
) -> Divergence:
    """Both models on every window. Raises EvaluationError for models of different vocabularies."""
    if reference.spec.vocabulary != model.spec.vocabulary:
        raise EvaluationError(
            f"{model.spec.name} has a vocabulary of {model.spec.vocabulary}, {reference.spec.name} one of "
            f"{reference.spec.vocabulary}; only models with the same tokens can be held against each other"
        )
    kl, more, nats, same = [], [], [], []
    done, total = 0, sum(len(window) - 1 for window in windows)
    for tokens_BT, mask_BT in _batches(windows, 1 if model.spec.pad_token == 0 else 0):
        targets_N = tokens_BT[:, 1:][mask_BT]
        hidden = [each.hidden(tokens_BT[:, :-1])[0][mask_BT] for each in (reference, model)]
        for one_ND, other_ND, targets in zip(
            *(x.split(_HEAD_ROWS) for x in hidden), targets_N.split(_HEAD_ROWS), strict=True
        ):
            p_NV = torch.log_softmax(reference.logits(one_ND).double(), -1)
            q_NV = torch.log_softmax(model.logits(other_ND).double(), -1)
            kl.append((p_NV.exp() * (p_NV - q_NV)).sum(-1))
            nats.append(-q_NV.gather(1, targets[:, None])[:, 0])
            more.append(nats[-1] + p_NV.gather(1, targets[:, None])[:, 0])
            same.append(p_NV.argmax(-1) == q_NV.argmax(-1))
        done += len(targets_N)
        if progress:
            progress(done, total)
    kl_N, more_N = torch.cat(kl), torch.cat(more)
    return Divergence(
        tokens=total,
        perplexity=math.exp(float(torch.cat(nats).mean())),
        nats_more=float(more_N.mean()),
        nats_error=_error(more_N),
        kl=float(kl_N.mean()),
        kl_error=_error(kl_N),
        agreement=float(torch.cat(same).double().mean()),
    )


def _error(values_N: Tensor) -> float:
    return float(values_N.std(correction=0)) / math.sqrt(len(values_N))


def _batches(windows: Sequence[list[int]], filler: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of about one length side by side: tokens [B, T + 1], and True where a token is to be predicted [B, T].

    What stands behind a row cannot change it, for attention is causal; `filler` is any token but the padding."""
    order = sorted(windows, key=len)
    while order:
        count = 1
        while count < len(order) and (count + 1) * len(order[count]) <= _BATCH_TOKENS:
            count += 1
        some, order = order[:count], order[count:]
        tokens_BT = torch.full((len(some), max(map(len, some))), filler)
        mask_BT = torch.zeros(len(some), tokens_BT.shape[1] - 1, dtype=torch.bool)
        for row, window in enumerate(some):
            tokens_BT[row, : len(window)] = torch.tensor(window)
            mask_BT[row, : len(window) - 1] = True
        yield tokens_BT, mask_BT

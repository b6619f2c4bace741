"""Log-likelihoods of given continuations, many at once on few cores.

Sequences are sorted by length, so that batches carry next to no padding; each different one is computed once; the head
runs only on the positions whose next token is asked for.

Letters: B batch, T tokens, D width, V vocabulary, N scored positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lindos.model import Transformer
from lindos.specs import LindosError

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_HEAD_ROWS = 2048  # logits of so many positions are held at a time: 64 MB of fp32 at a vocabulary of 8,192


class EvaluationError(LindosError):
    """Something that cannot be measured: a missing set, a model without a tokenizer, a record that cannot be read."""


@dataclass(frozen=True)
class Request:
    """How likely are the tokens `continuation` after `context` (at least one token, such as the start of text)?"""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.context or not self.continuation:
            raise EvaluationError("a continuation and the context before it need at least one token each")


@dataclass(frozen=True)
class Score:
    """`logprob` in nats, summed over the continuation; `greedy`: whether each of its tokens was the likeliest."""

    logprob: float
    greedy: bool


@torch.inference_mode()
def score(
    model: Transformer, requests: Sequence[Request], *, batch_tokens: int = 4096, progress: Progress | None = None
) -> list[Score]:
    """The score of each request, in their order. A context longer than the model is meant for loses its beginning."""
    order = sorted(set(requests), key=lambda each: (len(each.context) + len(each.continuation), each.context))
    found: dict[Request, Score] = {}
    for batch in _batches(order, batch_tokens, model.spec.sequence):
        found.update(zip(batch, _score_batch(model, batch), strict=True))
        if progress:
            progress(len(found), len(order))
    return [found[request] for request in requests]


def _batches(order: Sequence[Request], batch_tokens: int, sequence: int) -> Iterator[list[Request]]:
    held: list[Request] = []
    for request in order:
        length = min(len(request.context) + len(request.continuation), sequence + 1)
        if held and (len(held) + 1) * length > batch_tokens:
            yield held
            held = []
        held.append(request)
    if held:
        yield held


def _score_batch(model: Transformer, batch: Sequence[Request]) -> list[Score]:
    """One forward pass over right-padded rows: attention is causal, so what stands behind a row cannot change it."""
    longest = model.spec.sequence + 1
    rows = [(request.context + request.continuation)[-longest:] for request in batch]
    counts = [min(len(request.continuation), len(row) - 1) for request, row in zip(batch, rows, strict=True)]
    # Any token but the model's padding will do, which would make it build masks.
    filler = 1 if model.spec.pad_token == 0 else 0
    tokens_BT = torch.full((len(rows), max(map(len, rows)) - 1), filler)
    targets: list[int] = []
    at_row: list[int] = []
    at_place: list[int] = []
    for index, (row, count) in enumerate(zip(rows, counts, strict=True)):
        tokens_BT[index, : len(row) - 1] = torch.tensor(row[:-1])
        targets += row[len(row) - count :]
        at_row += [index] * count
        at_place += range(len(row) - 1 - count, len(row) - 1)
    device = model.embedding.device
    x_BTD, _ = model.hidden(tokens_BT.to(device))
    x_ND = x_BTD[torch.tensor(at_row, device=device), torch.tensor(at_place, device=device)]
    logprobs_N, best_N = head_logprobs(model, x_ND, torch.tensor(targets, device=device))
    scores: list[Score] = []
    start = 0
    for count in counts:
        part = slice(start, start + count)
        scores.append(Score(float(logprobs_N[part].double().sum()), bool(best_N[part].all())))
        start += count
    return scores


def head_logprobs(model: Transformer, x_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Of each position the log-probability of its target (fp32 [N]), and whether no token is likelier (bool [N])."""
    logprobs, best = [], []
    for x, targets in zip(x_ND.split(_HEAD_ROWS), targets_N.split(_HEAD_ROWS), strict=True):
        logits_NV = model.logits(x)
        chosen_N = logits_NV.gather(1, targets[:, None])[:, 0]
        logprobs.append(chosen_N - torch.logsumexp(logits_NV, -1))
        best.append(chosen_N >= logits_NV.amax(-1))
    return torch.cat(logprobs), torch.cat(best)

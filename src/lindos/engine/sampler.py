"""The next token of each request, from its row of logits.

The stages, in vLLM's order (`v1/sample/sampler.py`): log probabilities are taken from the network's logits as they are;
then logit bias, repetition, frequency and presence penalties, the grammar's mask (`logits.py`); then, unless the
likeliest is taken, temperature, min-p, top-k, top-p, and the draw.

Each request draws from its own stream of random numbers, one number a token, and reads it off the cumulative
probabilities in the order of the vocabulary. So what a seed gives does not depend on who else is in the batch, and
rounding that swaps two nearly equal probabilities does not change the choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lindos.engine.logits import adjusted, logprobs
from lindos.engine.request import Request

Row = NDArray[np.float32]


class Sampled(NamedTuple):
    """A token, and where they were asked for log probabilities: its own, then those of the likeliest tokens."""

    token: int
    logprobs: list[tuple[int, float]] | None = None


class Failed(NamedTuple):
    """Why there is no token, nor will there be."""

    reason: str


def sample(logits_RV: Tensor, requests: Sequence[Request]) -> list[Sampled | Failed]:
    """The next token of each request, or why there is none."""
    scores_RV = adjusted(logits_RV, requests)
    tokens, finite = _likeliest(scores_RV)
    if scores_RV is not logits_RV:
        finite = torch.isfinite(logits_RV.amax(dim=-1)).tolist()
    found: list[Sampled | Failed] = [
        Sampled(token) if fine else Failed("the network gave logits that are not finite")
        for token, fine in zip(tokens, finite, strict=True)
    ]
    for row, request in enumerate(requests):
        if request.constraint is not None and finite[row]:
            allowed = bool(torch.isfinite(scores_RV[row].amax()))
            fault = request.constraint.fault or (None if allowed else "it allows none of this model's tokens")
            found[row] = found[row] if fault is None else Failed(f"its grammar cannot be followed: {fault}")
    _draw_all(scores_RV, requests, found)
    _report(logits_RV, requests, found)
    return found


def _likeliest(scores_RV: Tensor) -> tuple[list[int], list[bool]]:
    """Each row's likeliest token, the first of equals, and whether its score is finite; a NaN is likelier than all."""
    if scores_RV.is_cuda:
        values_R, tokens_R = scores_RV.max(dim=-1)
        return tokens_R.tolist(), torch.isfinite(values_R).tolist()
    # On a CPU PyTorch's argmax goes number by number: ten times as long as NumPy's.
    rows_RV = scores_RV.numpy()
    tokens = [int(row_V.argmax()) for row_V in rows_RV]
    return tokens, [math.isfinite(row_V[token]) for row_V, token in zip(rows_RV, tokens, strict=True)]


def _draw_all(scores_RV: Tensor, requests: Sequence[Request], found: list[Sampled | Failed]) -> None:
    """Replace the likeliest token of every request that has a temperature."""
    rows = [n for n, r in enumerate(requests) if isinstance(found[n], Sampled) and r.sampling.temperature > 0]
    if rows:
        drawn_RV = scores_RV if len(rows) == len(requests) else scores_RV[rows]
        weights_RV = _weights(drawn_RV, [requests[row].sampling.temperature for row in rows])
        for row, weights_V in zip(rows, weights_RV, strict=True):
            found[row] = Sampled(draw(weights_V, requests[row]))


def _report(logits_RV: Tensor, requests: Sequence[Request], found: list[Sampled | Failed]) -> None:
    """Add log probabilities where they were asked for."""
    asked = [
        (row, one.token, request.sampling.logprobs)
        for row, (one, request) in enumerate(zip(found, requests, strict=True))
        if isinstance(one, Sampled) and request.sampling.logprobs is not None
    ]
    if asked:
        rows, tokens, counts = (list(column) for column in zip(*asked, strict=True))
        for row, token, values in zip(rows, tokens, logprobs(logits_RV[rows], tokens, counts), strict=True):
            found[row] = Sampled(token, values)


def _weights(logits_RV: Tensor, temperatures: list[float]) -> NDArray[np.float32]:
    """Unnormalised probabilities [R, V], 1 for the likeliest token."""
    scale_R1 = torch.tensor([1.0 / max(t, 1e-6) for t in temperatures], device=logits_RV.device)[:, None]
    shifted = logits_RV - logits_RV.amax(dim=-1, keepdim=True)
    return (shifted * scale_R1).exp_().cpu().numpy()


def draw(weights_V: Row, request: Request) -> int:
    """One token by its weight, among those that min-p, top-k and then top-p leave."""
    sampling = request.sampling
    kept = keep(weights_V, sampling.top_k, sampling.top_p, sampling.min_p)
    sums = np.cumsum(kept, dtype=np.float64)
    at = int(np.searchsorted(sums, request.random.random() * sums[-1], side="right"))
    # The product above can round up to the last sum.
    return at if at < len(sums) else int(np.flatnonzero(kept)[-1])


def keep(weights_V: Row, top_k: int, top_p: float, min_p: float = 0.0) -> Row:
    """The weights, 1 the largest, with those that min-p, top-k, then top-p cut set to zero.

    Equals of the last one kept stay too.
    """
    if min_p > 0:
        weights_V = np.where(weights_V >= min_p * weights_V.max(), weights_V, np.float32(0))
    if 0 < top_k < len(weights_V):
        least = np.partition(weights_V, -top_k)[-top_k]
        weights_V = np.where(weights_V >= least, weights_V, np.float32(0))
    if top_p < 1:
        falling = np.sort(weights_V)[::-1]
        sums = np.cumsum(falling, dtype=np.float64)
        least = falling[np.searchsorted(sums, top_p * sums[-1])]
        weights_V = np.where(weights_V >= least, weights_V, np.float32(0))
    return weights_V

"""The next token of each request, from its row of logits.

Each request draws from its own stream of random numbers, one number a token, and reads it off the cumulative
probabilities in the order of the vocabulary. So what a seed gives does not depend on who else is in the batch, and
rounding that swaps two nearly equal probabilities does not change the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lindos.engine.request import Request

Row = NDArray[np.float32]


def sample(logits_RV: Tensor, requests: Sequence[Request]) -> list[int | None]:
    """One token id a request; None where the logits are not finite, which no sampling can mend."""
    best, top = logits_RV.max(dim=-1)
    good = torch.isfinite(best).tolist()
    tokens: list[int | None] = [token if fine else None for token, fine in zip(top.tolist(), good, strict=True)]
    drawn = [row for row, r in enumerate(requests) if good[row] and r.sampling.temperature > 0]
    if drawn:
        rows = logits_RV if len(drawn) == len(requests) else logits_RV[drawn]
        weights = _weights(rows, [requests[row].sampling.temperature for row in drawn])
        for row, weights_V in zip(drawn, weights, strict=True):
            tokens[row] = draw(weights_V, requests[row])
    return tokens


def _weights(logits_RV: Tensor, temperatures: list[float]) -> NDArray[np.float32]:
    """Unnormalised probabilities [R, V], 1 for the likeliest token."""
    scale_R1 = torch.tensor([1.0 / max(t, 1e-6) for t in temperatures], device=logits_RV.device)[:, None]
    shifted = logits_RV - logits_RV.amax(dim=-1, keepdim=True)
    return (shifted * scale_R1).exp_().cpu().numpy()


def draw(weights_V: Row, request: Request) -> int:
    """One token by its weight, among those that top-k and then top-p leave."""
    sampling = request.sampling
    kept = keep(weights_V, sampling.top_k, sampling.top_p)
    sums = np.cumsum(kept, dtype=np.float64)
    at = int(np.searchsorted(sums, request.random.random() * sums[-1], side="right"))
    # The product above can round up to the last sum.
    return at if at < len(sums) else int(np.flatnonzero(kept)[-1])


def keep(weights_V: Row, top_k: int, top_p: float) -> Row:
    """The weights with those that top-k, then top-p cut set to zero. Equals of the last one kept stay too."""
    if 0 < top_k < len(weights_V):
        least = np.partition(weights_V, -top_k)[-top_k]
        weights_V = np.where(weights_V >= least, weights_V, np.float32(0))
    if top_p < 1:
        falling = np.sort(weights_V)[::-1]
        sums = np.cumsum(falling, dtype=np.float64)
        least = falling[np.searchsorted(sums, top_p * sums[-1])]
        weights_V = np.where(weights_V >= least, weights_V, np.float32(0))
    return weights_V

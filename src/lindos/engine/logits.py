"""What requests ask to be done to their logits before a token is chosen, and what they want to know about them.

Letters: R requests that sample together, V vocabulary, N (request, token) pairs over all of them. Every row is changed
by its own request alone, element by element, so a request gets the same beside others as it gets alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lindos.engine.constraint import Constraint
from lindos.engine.history import SeenTokens
from lindos.engine.request import Request
from lindos.engine.sampling import Sampling


def adjusted(logits_RV: Tensor, requests: Sequence[Request]) -> Tensor:
    """The logits with biases added, then repeats penalised, then all that a grammar forbids at minus infinity.

    The order is vLLM's (`v1/sample/sampler.py`). The given logits are left as they are.
    """
    biased = [(row, r.sampling) for row, r in enumerate(requests) if r.sampling.logit_bias]
    penalised = [(row, r.sampling, r.seen) for row, r in enumerate(requests) if r.seen is not None]
    held = [(row, r.constraint) for row, r in enumerate(requests) if r.constraint is not None]
    if biased or penalised or held:
        logits_RV = logits_RV.clone()
    if biased:
        _add_biases(logits_RV, biased)
    if penalised:
        _penalise(logits_RV, penalised)
    for row, constraint in held:
        _forbid(logits_RV[row], constraint)
    return logits_RV


def _add_biases(logits_RV: Tensor, biased: Sequence[tuple[int, Sampling]]) -> None:
    pairs = [(row, token, bias) for row, sampling in biased for token, bias in sampling.logit_bias]
    row_N, token_N, bias_N = (torch.tensor(column, device=logits_RV.device) for column in zip(*pairs, strict=True))
    logits_RV[row_N, token_N] += bias_N.to(logits_RV.dtype)


def _penalise(logits_RV: Tensor, penalised: Sequence[tuple[int, Sampling, SeenTokens]]) -> None:
    """Repetition (CTRL, arXiv 1909.05858, section 4.1, with the sign handled as in transformers), then frequency and
    presence: logit - count * frequency - (count > 0) * presence (OpenAI's API reference)."""
    lengths = np.array([len(seen.tokens) for _, _, seen in penalised])
    repetition, frequency, presence = (
        torch.from_numpy(np.repeat(np.array(values, np.float32), lengths)).to(logits_RV.device)
        for values in zip(
            *((s.repetition_penalty, s.frequency_penalty, s.presence_penalty) for _, s, _ in penalised), strict=True
        )
    )
    row_N = torch.from_numpy(np.repeat([row for row, _, _ in penalised], lengths)).to(logits_RV.device)
    token_N = torch.from_numpy(np.concatenate([seen.tokens for _, _, seen in penalised])).to(logits_RV.device)
    count_N = torch.from_numpy(np.concatenate([seen.counts for _, _, seen in penalised])).to(logits_RV.device)
    found_N = logits_RV[row_N, token_N]
    found_N = torch.where(found_N > 0, found_N / repetition, found_N * repetition)
    logits_RV[row_N, token_N] = found_N - count_N * frequency - (count_N > 0) * presence


def _forbid(logits_V: Tensor, constraint: Constraint) -> None:
    allowed = torch.from_numpy(constraint.allowed(len(logits_V))).to(logits_V.device)
    logits_V.masked_fill_(~allowed, -torch.inf)


def logprobs(logits_RV: Tensor, tokens: Sequence[int], alternatives: Sequence[int]) -> list[list[tuple[int, float]]]:
    """Of each row (token, log probability) of its token, then of as many of the likeliest as it has `alternatives`.

    The distribution is softmax(logits): that of the network when the logits are the network's.
    """
    logprobs_RV = torch.log_softmax(logits_RV.float(), -1)
    chosen = logprobs_RV.gather(1, torch.tensor(tokens, device=logits_RV.device)[:, None])[:, 0].tolist()
    top = torch.topk(logprobs_RV, min(max(alternatives), logits_RV.shape[1]))
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [
        [(token, logprob), *list(zip(ids, values, strict=True))[:count]]
        for token, logprob, (ids, values), count in zip(tokens, chosen, likeliest, alternatives, strict=True)
    ]

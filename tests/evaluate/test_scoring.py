"""Batched scores against the plainest computation there is: one sequence at a time, all logits, log-softmax."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.evaluate import EvaluationError, Request, score
from lindos.model import Transformer

tokens = st.lists(st.integers(1, 511), min_size=1, max_size=12).map(tuple)
requests = st.lists(st.builds(Request, tokens, tokens), min_size=1, max_size=12)


@torch.inference_mode()
def naive(model: Transformer, request: Request) -> tuple[float, bool]:
    row = (request.context + request.continuation)[-(model.spec.sequence + 1) :]
    logits = model(torch.tensor([row[:-1]]))[0]
    count = min(len(request.continuation), len(row) - 1)
    logprobs = torch.log_softmax(logits.double(), -1)[-count:]
    wanted = torch.tensor(row[-count:])
    chosen = logprobs.gather(1, wanted[:, None])[:, 0]
    return float(chosen.sum()), bool((logprobs.argmax(-1) == wanted).all())


@settings(max_examples=25)
@given(requests=requests, batch_tokens=st.sampled_from([1, 40, 8192]))
def test_batches_change_nothing(tiny_model, requests, batch_tokens):
    found = score(tiny_model, requests, batch_tokens=batch_tokens)
    for request, each in zip(requests, found, strict=True):
        logprob, greedy = naive(tiny_model, request)
        assert each.logprob == pytest.approx(logprob, abs=1e-4)
        assert each.greedy == greedy


def test_the_likeliest_continuation_is_greedy(tiny_model):
    context = (1, 40, 50, 60)
    with torch.inference_mode():
        best = int(tiny_model(torch.tensor([context]))[0, -1].argmax())
    right, wrong = score(tiny_model, [Request(context, (best,)), Request(context, ((best + 1) % 512,))])
    assert right.greedy
    assert not wrong.greedy
    assert right.logprob > wrong.logprob


def test_a_long_context_loses_its_beginning(tiny_model):
    long = Request(tuple([7] * 300 + [9] * 100), (5, 6))
    [found] = score(tiny_model, [long])
    assert found.logprob == pytest.approx(naive(tiny_model, long)[0], abs=1e-4)


def test_progress_reaches_its_end_and_repeats_are_free(tiny_model):
    seen: list[tuple[int, int]] = []
    same = Request((1, 2), (3,))
    found = score(
        tiny_model, [same, same, Request((1,), (4,))], progress=lambda done, total: seen.append((done, total))
    )
    assert found[0] == found[1]
    assert seen[-1] == (2, 2)


def test_empty_requests_are_refused():
    with pytest.raises(EvaluationError, match="at least one token"):
        Request((), (1,))
    with pytest.raises(EvaluationError, match="at least one token"):
        Request((1,), ())

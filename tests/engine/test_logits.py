"""What is done to logits, against the definitions written out plainly, one number at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine import Sampling
from lindos.engine.history import SeenTokens
from lindos.engine.logits import adjusted, logprobs
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.sampler import Sampled, sample

VOCABULARY = 24
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30)
CHANGES = st.fixed_dictionaries(
    {"seed": st.integers(0, 9)},
    optional={
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "repetition_penalty": st.floats(0.5, 2),
        "logit_bias": st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-100, 100), max_size=5),
        "temperature": st.floats(0, 2),
        "min_p": st.floats(0, 0.3),
        "top_k": st.integers(0, 9),
        "logprobs": st.integers(0, 20),
    },
)
ASKED = st.tuples(TOKENS, TOKENS, CHANGES)


def request(prompt: list[int], answer: list[int], changes: dict[str, Any]) -> Request:
    one = Request(0, list(prompt), 1000, Sampling(ignore_end=True, **changes), OutputText(None, ()))
    for token in answer:
        one.append(token)
    return one


def rows(count: int) -> torch.Tensor:
    return 3 * torch.randn(count, VOCABULARY, generator=torch.Generator().manual_seed(count))


@given(ASKED)
def test_biases_and_penalties_by_their_definitions(asked: tuple[list[int], list[int], dict[str, Any]]) -> None:
    prompt, answer, changes = asked
    logits = rows(1)
    before = logits.clone()
    (found,) = adjusted(logits, [request(prompt, answer, changes)])
    assert torch.equal(logits, before)
    sampling = Sampling(**changes)
    for token in range(VOCABULARY):
        expected = float(before[0, token]) + dict(sampling.logit_bias).get(token, 0.0)
        if token in prompt or token in answer:
            factor = sampling.repetition_penalty
            expected = expected / factor if expected > 0 else expected * factor
        count = answer.count(token)
        expected -= count * sampling.frequency_penalty + (count > 0) * sampling.presence_penalty
        assert float(found[token]) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@given(st.lists(ASKED, min_size=1, max_size=5), st.randoms())
def test_beside_others_each_gets_exactly_what_it_gets_alone(
    asked: list[tuple[list[int], list[int], dict[str, Any]]], shuffled: Any
) -> None:
    logits = rows(len(asked))
    alone = [sample(row[None], [request(*one)])[0] for row, one in zip(logits, asked, strict=True)]
    assert sample(logits, [request(*one) for one in asked]) == alone
    order = list(range(len(asked)))
    shuffled.shuffle(order)
    turned = sample(logits[order], [request(*asked[n]) for n in order])
    assert turned == [alone[n] for n in order]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_log_probabilities(counts: list[int]) -> None:
    logits = rows(len(counts))
    tokens = [int(t) for t in logits.argmin(-1)]
    expected = torch.log(torch.softmax(logits.double(), -1))
    for row, found in enumerate(logprobs(logits, tokens, counts)):
        (token, logprob), *top = found
        assert token == tokens[row]
        assert logprob == pytest.approx(float(expected[row, token]), abs=1e-5)
        assert len(top) == counts[row]
        order = expected[row].argsort(descending=True)[: counts[row]].tolist()
        assert [one for one, _ in top] == order
        assert [value for _, value in top] == pytest.approx([float(expected[row, one]) for one in order], abs=1e-5)


def test_log_probabilities_are_of_the_network_not_of_the_sampling() -> None:
    bent = {"temperature": 0, "logit_bias": {3: 100}, "repetition_penalty": 2.0, "presence_penalty": 2, "logprobs": 2}
    logits = rows(1)
    (found,) = sample(logits, [request([1, 2], [1], bent)])
    assert isinstance(found, Sampled)
    assert found.token == 3
    assert found.logprobs == logprobs(logits, [3], [2])[0]


def test_more_alternatives_than_there_are_tokens() -> None:
    (found,) = logprobs(torch.tensor([[0.0, 1.0]]), [0], [20])
    assert [token for token, _ in found] == [0, 1, 0]


@given(TOKENS, st.lists(st.integers(0, 500), max_size=200))
def test_seen_tokens_are_counted(prompt: list[int], answer: list[int]) -> None:
    seen = SeenTokens(prompt)
    for token in answer:
        seen.add(token)
    assert seen.tokens.tolist() == list(dict.fromkeys([*prompt, *answer]))
    assert seen.counts.tolist() == [answer.count(token) for token in seen.tokens.tolist()]
    assert seen.counts.dtype == np.int32

"""Choosing tokens."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lindos.engine import Sampling
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.sampler import Failed, Sampled, keep, sample

WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=40).map(lambda w: np.array(w, np.float32) / 1000)


def request(**sampling: object) -> Request:
    return Request(0, [1], 10, Sampling(**sampling), OutputText(None, ()))  # type: ignore[arg-type]


def chosen(logits: torch.Tensor, requests: list[Request]) -> list[int | None]:
    """The tokens; None where there is none."""
    return [one.token if isinstance(one, Sampled) else None for one in sample(logits, requests)]


@given(WEIGHTS, st.integers(0, 50), st.floats(0, 1))
def test_top_k_and_top_p_by_their_definition(weights: NDArray[np.float32], top_k: int, top_p: float) -> None:
    kept = keep(weights, top_k, top_p)
    stays = kept > 0
    assert np.array_equal(kept[stays], weights[stays])
    assert weights[stays].min() > weights[~stays].max(initial=0)
    distinct = len(set(weights.tolist())) == len(weights)
    if top_k > 0 and distinct:
        assert stays.sum() <= top_k
    base = np.sort(weights)[::-1].astype(np.float64)
    base = base[:top_k] if 0 < top_k < len(base) and distinct else base
    if distinct:
        assert weights[stays].astype(np.float64).sum() >= top_p * base.sum() * (1 - 1e-6)
        without_last = np.sort(weights[stays])[1:].astype(np.float64).sum()
        assert stays.sum() == 1 or without_last < top_p * base.sum() * (1 + 1e-6)


def test_zero_temperature_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert chosen(logits, [request(temperature=0)] * 2) == [1, 0]


def test_a_row_that_is_not_finite_is_told_apart() -> None:
    logits = torch.tensor([[0.0, float("nan")], [0.0, 1.0], [float("inf"), 0.0], [-float("inf"), 0.5]])
    for temperature in (0.0, 1.0):
        requests = [request(temperature=temperature, top_k=1, logprobs=1) for _ in range(4)]
        assert chosen(logits, requests) == [None, 1, None, 1]
        assert sample(logits, requests)[0] == Failed("the network gave logits that are not finite")


@given(
    st.integers(1, 40).flatmap(
        lambda width: st.lists(
            st.lists(st.sampled_from([-np.inf, -2.0, 0.0, 1.5, 1.5, np.inf, np.nan]), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    ),
    st.booleans(),
)
def test_the_first_of_the_likeliest_or_none_where_the_row_is_broken(rows: list[list[float]], biased: bool) -> None:
    """Also beside a request whose logits are changed before."""
    requests = [request(temperature=0) for _ in rows]
    if biased:
        requests[-1] = request(temperature=0, logit_bias={0: 0.0})
    expected = [None if not np.isfinite(max_or_nan(row)) else row.index(max(row)) for row in rows]
    assert chosen(torch.tensor(rows, dtype=torch.float32), requests) == expected


def max_or_nan(row: list[float]) -> float:
    return float(np.max(row))  # NumPy's maximum is NaN where there is one


def test_frequencies_follow_the_probabilities() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    drawing = request(temperature=0.5, seed=1)
    tokens = [chosen(logits, [drawing])[0] for _ in range(4_000)]
    found = np.bincount(np.array(tokens, np.int64), minlength=4) / len(tokens)
    expected = torch.softmax(logits[0] / 0.5, -1).numpy()
    # Four standard deviations of the likeliest one's count.
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / len(tokens))


@given(st.integers(), st.integers(0, 5))
def test_a_seed_draws_the_same_beside_others(seed: int, others: int) -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    alone, together = request(temperature=1, seed=seed), request(temperature=1, seed=seed)
    rest = [request(temperature=0.9, top_p=0.5, seed=n) for n in range(others)]
    for _ in range(5):
        (first,) = chosen(logits, [alone])
        assert chosen(logits.expand(others + 1, -1), [*rest, together])[-1] == first


def test_a_hair_of_temperature_is_greedy() -> None:
    logits = torch.tensor([[1.0, 1.001, -30.0]])
    assert chosen(logits, [request(temperature=1e-9)]) == [1]


@given(WEIGHTS, st.floats(0, 1))
def test_min_p_by_its_definition(weights: NDArray[np.float32], min_p: float) -> None:
    kept = keep(weights, 0, 1.0, min_p)
    assert np.array_equal(kept > 0, weights >= min_p * weights.max())


@given(WEIGHTS, st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_the_cuts_come_in_their_order(weights: NDArray[np.float32], top_k: int, top_p: float, min_p: float) -> None:
    assert np.array_equal(keep(weights, top_k, top_p, min_p), keep(keep(weights, 0, 1.0, min_p), top_k, top_p))

"""Guessed tokens: what is guessed, whether it is worth it, and that no answer changes by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.engine.blocks import BlockPool
from lindos.engine.core import EngineCore
from lindos.engine.guesses import MATCHED, Lookup
from lindos.engine.interface import Sampling
from lindos.engine.output import OutputText
from lindos.engine.packed import PackedNetwork
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler
from lindos.engine.speculation import RowCost, Speculation, worth
from lindos.kernels.choosing import available_kernels
from lindos.kernels.products import products
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, save_model
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import PackedSource
from lindos.specs import ModelSpec
from tests.engine.simulation import Simulation, request, scheduler

SPEC = ModelSpec(
    name="guessed",
    layers=2,
    width=64,
    vocabulary=40,
    sequence=256,
    heads=4,
    kv_heads=2,
    head_size=16,
    experts=4,
    experts_per_token=2,
    expert_width=64,
    pad_token=0,
)
few = st.lists(st.integers(1, 3), max_size=60)


@given(tokens=few, more=few, most=st.integers(0, 8))
def test_what_followed_last_time_is_proposed(tokens: list[int], more: list[int], most: int):
    growing: list[int] = []
    lookup = Lookup(growing)
    for some in (tokens, more):
        growing.extend(some)
        end = growing[-MATCHED:]
        places = [i for i in range(MATCHED, len(growing)) if growing[i - MATCHED : i] == end]
        expected: list[int] = []
        if places and most:
            whole = [*growing]
            for place in range(places[-1], places[-1] + most):
                whole.append(whole[place])
            expected = whole[len(growing) :]
        assert lookup.propose(most) == expected


@given(
    chances=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    offered=st.lists(st.integers(0, 8), min_size=6, max_size=6),
    cost=st.floats(0.02, 1),
    room=st.integers(0, 20),
)
def test_guesses_are_taken_while_they_make_more_tokens_a_second(
    chances: list[float], offered: list[int], cost: float, room: int
):
    offered = offered[: len(chances)]
    taken = worth(chances, offered, cost, room)
    assert sum(taken) <= room
    assert all(t <= o for t, o in zip(taken, offered, strict=True))

    def rate(counts: Sequence[int]) -> float:
        tokens = sum(1 + sum(c ** (n + 1) for n in range(count)) for c, count in zip(chances, counts, strict=True))
        return tokens / (1 + cost * (len(chances) - 1 + sum(counts)))

    assert rate(taken) >= rate([0] * len(chances)) - 1e-9
    if sum(taken) < room:
        for index in range(len(taken)):
            if taken[index] < offered[index]:
                one_more = [t + (n == index) for n, t in enumerate(taken)]
                assert rate(one_more) <= rate(taken) + 1e-9


def test_costs_of_rows_are_learnt():
    for true in (0.05, 0.3, 0.9):
        cost = RowCost()
        for step in range(300):
            rows = 1 + step % 5
            cost.learn(rows, 0.01 * (1 + true * (rows - 1)))
        assert cost.value == pytest.approx(true, abs=0.05)
    alike = RowCost(0.4)
    for _ in range(300):
        alike.learn(1, 0.01)
    assert alike.value == pytest.approx(0.4, abs=0.05)
    assert RowCost(0.7).value == 0.7


def test_an_answer_that_repeats_itself_takes_fewer_steps():
    counts = []
    for guess in (False, True):
        simulation = Simulation(scheduler(blocks=16, running=1, step=64, guess=guess), 64)
        simulation.add(request(1, [1, 2, 0, 1], 200))
        steps = 0
        while not simulation.scheduler.idle:
            simulation.step()
            steps += 1
        counts.append(steps)
    assert counts[0] == 200
    assert counts[1] < 100


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("packed") / "model"
    model = Transformer(SPEC)
    initialise(model, seed=3)
    save_model(model, plain)
    convert(plain, folder, quantise="int8")
    return folder


@pytest.fixture(scope="module")
def network(quantised: Path) -> PackedNetwork:
    source = open_source(quantised)
    assert isinstance(source, PackedSource)
    return PackedNetwork(source, products(available_kernels()[0], 2))


def answers(net: PackedNetwork, asked: list[tuple[list[int], Sampling]], guess: bool) -> tuple[list[Any], Speculation]:
    pool, speculation = BlockPool(40 * 64), Speculation(SPEC.pad_token, cost=0.02)
    speculation.row_cost.learn = lambda rows, seconds: None  # a row stays cheap, so that much is guessed
    core = EngineCore(
        Runner(net, pool.total),
        Scheduler(pool, max_running=4, step_tokens=32, speculation=speculation if guess else None),
    )
    requests = [
        Request(number, list(prompt), sampling.max_tokens or 1, sampling, OutputText(None, ()), frozenset({7}))
        for number, (prompt, sampling) in enumerate(asked)
    ]
    found: dict[int, list[Any]] = {one.id: [] for one in requests}
    for one in requests:
        core.add(one)
    while not core.idle:
        for event in core.step():
            assert event.error is None
            found[event.id] += [*event.ids, *(logprob.packed() for logprob in event.logprobs)]
            if event.finish is not None:
                found[event.id] += [event.finish, event.usage]
    return [found[one.id] for one in requests], speculation


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
    max_tokens=st.integers(1, 60),
    logprobs=st.none() | st.integers(0, 2),
    repetition_penalty=st.sampled_from([1.0, 1.0, 1.2]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.5]),
)
prompts = st.lists(st.integers(0, 6), min_size=1, max_size=8).map(lambda some: some * 4)


@pytest.mark.skipif(not available_kernels(), reason="this install has no native kernels")
@given(asked=st.lists(st.tuples(prompts, samplings), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_no_answer_changes(network: PackedNetwork, asked: list[tuple[list[int], Sampling]]):
    """Tokens, log probabilities and usage, whatever is sampled how, with padding and an end token among them."""
    assert answers(network, asked, guess=True)[0] == answers(network, asked, guess=False)[0]


@pytest.mark.skipif(not available_kernels(), reason="this install has no native kernels")
def test_guesses_are_right_where_an_answer_loops(network: PackedNetwork):
    asked = [([3, 9, 14, 22, 5], Sampling(temperature=0, max_tokens=150))]
    _, speculation = answers(network, asked, guess=True)
    assert speculation.guessed >= speculation.right > 20

"""Scheduling, with the network left out: a step only moves counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine import Sampling
from lindos.engine.blocks import BLOCK, BlockPool
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.scheduler import Scheduler, Work

CONTEXT = 4 * BLOCK


def request(number: int, prompt: int, limit: int) -> Request:
    return Request(number, [1] * prompt, limit, Sampling(seed=number, ignore_end=True), OutputText(None, ()))


@dataclass
class Simulation:
    """Steps without a network; every invariant is checked at every step."""

    scheduler: Scheduler
    started: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    def step(self, step_tokens: int) -> None:
        work = self.scheduler.schedule()
        assert work, "requests are there, so something must move"
        self.check(work, step_tokens)
        for item in work:
            if item.request.id not in self.started:
                self.started.append(item.request.id)
            item.request.cached = item.end
            if item.samples and item.request.append(1)[1] is not None:
                self.scheduler.remove(item.request)
                self.ended.append(item.request.id)

    def check(self, work: list[Work], step_tokens: int) -> None:
        pool, running = self.scheduler.pool, self.scheduler.running
        assert pool.used == sum(r.blocks for r in running) <= pool.total
        assert all(r.blocks == r.cached == 0 for r in self.scheduler.waiting)
        assert sum(item.end - item.start for item in work) <= step_tokens
        assert len({item.request.id for item in work}) == len(work) <= len(running)
        for item in work:
            assert item.request in running
            assert item.start == item.request.cached < item.end <= len(item.request.tokens)
            assert pool.needed(item.end) <= item.request.blocks
        ages = [r.id for r in running] + [r.id for r in self.scheduler.waiting]
        assert ages == sorted(ages), "first come, first served"


SIZES = st.tuples(st.integers(1, CONTEXT - 1), st.integers(1, CONTEXT)).map(lambda s: (s[0], min(s[1], CONTEXT - s[0])))
COMMANDS = st.lists(st.one_of(SIZES, st.integers(0, 20), st.none()), max_size=30)


@given(
    commands=COMMANDS,
    blocks=st.integers(4, 12),
    max_running=st.integers(1, 6),
    step_tokens=st.integers(6, 100),
)
def test_every_request_ends_in_the_order_of_arrival_and_the_budget_holds(
    commands: list[tuple[int, int] | int | None], blocks: int, max_running: int, step_tokens: int
) -> None:
    """A command is a request to add, the number of one to cancel, or a step."""
    simulation = Simulation(Scheduler(BlockPool(blocks * BLOCK), max_running=max_running, step_tokens=step_tokens))
    scheduler = simulation.scheduler
    requests: dict[int, Request] = {}
    cancelled = set()
    for command in commands:
        if isinstance(command, tuple):
            number = len(requests)
            requests[number] = request(number, *command)
            scheduler.add(requests[number])
        elif isinstance(command, int):
            if command in requests and command not in simulation.ended and command not in cancelled:
                scheduler.remove(requests[command])
                cancelled.add(command)
        elif not scheduler.idle:
            simulation.step(step_tokens)
    most = sum(len(r.tokens) + r.limit for r in requests.values()) * (1 + len(requests))
    for _ in range(most + 1):
        if scheduler.idle:
            break
        simulation.step(step_tokens)
    assert set(simulation.ended) == requests.keys() - cancelled
    assert simulation.started == sorted(simulation.started)
    assert scheduler.pool.used == 0
    for number in simulation.ended:
        assert len(requests[number].tokens) == requests[number].prompt_tokens + requests[number].limit


def test_answers_go_on_while_a_long_prompt_is_read() -> None:
    scheduler = Scheduler(BlockPool(64 * BLOCK), max_running=4, step_tokens=10)
    simulation = Simulation(scheduler)
    scheduler.add(request(0, 1, 50))
    simulation.step(10)
    scheduler.add(request(1, 95, 5))
    for _ in range(10):
        before = len(scheduler.running[0].tokens)
        simulation.step(10)
        assert len(scheduler.running[0].tokens) == before + 1
    assert scheduler.running[1].cached >= 90


def test_when_the_cache_runs_out_the_youngest_makes_room() -> None:
    scheduler = Scheduler(BlockPool(4 * BLOCK), max_running=4, step_tokens=BLOCK * 4)
    simulation = Simulation(scheduler)
    for number in range(3):
        scheduler.add(request(number, BLOCK - 1, 2 * BLOCK))
    while not scheduler.idle:
        simulation.step(BLOCK * 4)
    assert scheduler.preemptions > 0
    assert simulation.ended == [0, 1, 2]


def test_the_pool_refuses_what_it_does_not_have() -> None:
    pool = BlockPool(BLOCK + 1)
    assert pool.total == 2
    with pytest.raises(RuntimeError, match="asked for"):
        pool.take(3)
    with pytest.raises(RuntimeError, match="given back"):
        pool.give(1)

"""Scheduling: budgets and orders that always hold, over all that may happen, and what single rules are for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.engine.blocks import BLOCK
from lindos.engine.fairness import PATIENCE
from lindos.engine.request import Request
from tests.engine.simulation import Simulation, request, scheduler

CONTEXT = 4 * BLOCK
SIZES = st.tuples(st.integers(1, CONTEXT - 1), st.integers(1, CONTEXT)).map(lambda s: (s[0], min(s[1], CONTEXT - s[0])))
ARRIVALS = st.tuples(SIZES, st.integers(-2, 2), st.sampled_from(["", "ann", "bob", "eve"]))
COMMANDS = st.lists(st.one_of(ARRIVALS, st.integers(0, 20), st.none()), max_size=40)


@settings(max_examples=200)
@given(
    commands=COMMANDS,
    blocks=st.integers(4, 12),
    running=st.integers(1, 6),
    step=st.integers(6, 100),
    guess=st.booleans(),
)
def test_every_request_ends_and_the_budget_holds_whatever_comes(
    commands: list[tuple[tuple[int, int], int, str] | int | None], blocks: int, running: int, step: int, guess: bool
) -> None:
    """A command is a request to add, the number of one to cancel, or a step."""
    simulation = Simulation(scheduler(blocks=blocks, running=running, step=step, guess=guess), step)
    requests: dict[int, Request] = {}
    cancelled = set()
    for command in commands:
        if isinstance(command, tuple):
            size, priority, client = command
            number = len(requests)
            requests[number] = simulation.add(request(number, *size, priority=priority, client=client))
        elif isinstance(command, int):
            if command in requests and command not in simulation.ended and command not in cancelled:
                simulation.scheduler.remove(requests[command])
                cancelled.add(command)
        elif not simulation.scheduler.idle:
            simulation.step()
    most = sum(len(r.tokens) + r.limit for r in requests.values()) * (1 + len(requests))
    simulation.finish(most + 1)
    assert set(simulation.ended) == requests.keys() - cancelled
    assert simulation.scheduler.pool.used == 0
    assert len(simulation.scheduler.waiting) == 0
    for number in simulation.ended:
        assert len(requests[number].tokens) == requests[number].prompt_tokens + requests[number].limit
    for client in ("", "ann", "bob", "eve"):
        for priority in range(-2, 3):
            order = [r.id for r in simulation.started if (r.client, r.priority) == (client, priority)]
            assert order == sorted(order), "first come, first served within a client"


@given(st.lists(SIZES, min_size=1, max_size=12), st.integers(1, 6), st.integers(6, 100))
def test_one_client_is_served_strictly_in_order(sizes: list[tuple[int, int]], running: int, step: int) -> None:
    simulation = Simulation(scheduler(blocks=6, running=running, step=step), step)
    for number, size in enumerate(sizes):
        simulation.add(request(number, *size))
    while not simulation.scheduler.idle:
        simulation.step()
        order = [r.id for r in simulation.scheduler.running] + sorted(r.id for r in simulation.scheduler.waiting)
        assert order == sorted(order), "who came first keeps its place before all others"


@settings(max_examples=50)
@given(
    st.lists(SIZES, min_size=30, max_size=60),
    st.lists(SIZES, min_size=30, max_size=60),
    st.integers(1, 6),
    st.integers(6, 100),
)
def test_two_clients_with_enough_to_do_get_the_same(
    many: list[tuple[int, int]], few: list[tuple[int, int]], running: int, step: int
) -> None:
    """Theorem 4.4 of arXiv 2401.00588: while both wait, what they were served differs by 2 max(w_p L, w_q M) at most, L
    the longest prompt and M the tokens of the largest batch. The cache is large: nobody is sent back."""
    simulation = Simulation(scheduler(blocks=5 * running + 4, running=running, step=step), step)
    for number, size in enumerate(many):
        simulation.add(request(number, *size, client="many"))
    for _ in range(20):  # alone for a while, which is held neither for nor against anyone
        if simulation.scheduler.waiting:
            simulation.step()
    for number, size in enumerate(few):
        simulation.add(request(1000 + number, *size, client="few"))
    simulation.served.clear()
    bound = 2 * max(CONTEXT, 2 * running * CONTEXT)
    while {r.client for r in simulation.scheduler.waiting} == {"many", "few"}:
        simulation.step()
        assert abs(simulation.served["many"] - simulation.served["few"]) <= bound
    assert simulation.scheduler.preemptions == 0


def test_a_client_with_many_requests_does_not_keep_another_waiting() -> None:
    simulation = Simulation(scheduler(blocks=64, running=2, step=64), 64)
    for number in range(50):
        simulation.add(request(number, 20, 20, client="many"))
    for _ in range(5):
        simulation.step()
    simulation.add(request(50, 20, 20, client="one"))
    before = len(simulation.started)
    while 50 not in simulation.ended:
        simulation.step()
    assert [r.id for r in simulation.started[before:]].index(50) <= 1


def test_nobody_saves_up_by_staying_away() -> None:
    simulation = Simulation(scheduler(blocks=64, running=1, step=64), 64)
    for number in range(40):
        simulation.add(request(number, 20, 20, client="steady"))
    while len(simulation.ended) < 20:
        simulation.step()
    for number in range(40, 60):
        simulation.add(request(number, 20, 20, client="late"))
    simulation.finish()
    late = [number >= 40 for number in simulation.ended[20:40]]
    assert 8 <= sum(late) <= 12, "from now on they take turns"


def test_ever_new_clients_do_not_keep_an_old_one_waiting_for_ever() -> None:
    """Each starts no lower than the lowest who waits, and one that waits at that is always there."""
    simulation = Simulation(scheduler(blocks=64, running=1, step=64), 64)
    simulation.add(request(0, 60, 60, client="old"))
    for _ in range(5):
        simulation.step()
    waits = simulation.add(request(1, 20, 20, client="old"))
    for number in range(2, 6):
        simulation.add(request(number, 5, 2, client=f"new {number}"))
    number = 6
    while waits not in simulation.started:
        simulation.step()
        while len(simulation.scheduler.waiting) < 5:
            simulation.add(request(number, 5, 2, client=f"new {number}"))
            number += 1
        assert len(simulation.started) <= PATIENCE + 4
    assert len(simulation.started) > 20, "else this shows nothing"


def test_one_that_is_passed_over_does_not_hold_up_those_of_higher_priority() -> None:
    simulation = Simulation(scheduler(blocks=64, running=1, step=64), 64)
    low = simulation.add(request(0, 10, 5))
    for number in range(1, PATIENCE + 10):
        simulation.add(request(number, 5, 2, priority=1, client=f"{number}"))
    simulation.finish()
    assert simulation.started[-1] is low


def test_a_higher_priority_takes_the_slot_of_a_lower_one() -> None:
    simulation = Simulation(scheduler(blocks=64, running=2, step=64), 64)
    simulation.add(request(0, 10, 30, priority=0))
    simulation.add(request(1, 10, 30, priority=-1))
    simulation.step()
    simulation.add(request(2, 10, 5, priority=1))
    simulation.add(request(3, 10, 5, priority=0))
    simulation.step()
    assert [r.id for r in simulation.scheduler.running] == [2, 0], "the lowest had to go, an equal waits"
    simulation.finish()
    assert simulation.ended == [2, 3, 0, 1]
    assert simulation.scheduler.preemptions == 1


def test_a_higher_priority_takes_the_cache_of_lower_ones_but_no_more_than_it_needs() -> None:
    simulation = Simulation(scheduler(blocks=8, running=8, step=1000), 1000)
    for number in range(4):
        simulation.add(request(number, BLOCK + 1, 5, priority=-number))
    simulation.step()
    assert simulation.scheduler.pool.free == 2  # a fourth would leave no spare block for the others
    simulation.add(request(9, 3 * BLOCK, 5, priority=9))
    simulation.step()
    assert [r.id for r in simulation.scheduler.running] == [9, 0]
    simulation.finish()
    assert simulation.ended[2:] == [1, 2, 3]


def test_nobody_is_sent_back_where_it_does_not_help() -> None:
    simulation = Simulation(scheduler(blocks=6, running=4, step=1000), 1000)
    simulation.add(request(0, 4 * BLOCK - 5, 5, priority=5))
    simulation.add(request(1, 5, 20, priority=0))
    simulation.step()
    simulation.add(request(2, 4 * BLOCK - 5, 5, priority=3))
    simulation.step()
    assert [r.id for r in simulation.scheduler.running] == [0, 1]
    assert simulation.scheduler.preemptions == 0


def test_prompts_of_higher_priority_are_read_first() -> None:
    simulation = Simulation(scheduler(blocks=64, running=4, step=10), 10)
    low = simulation.add(request(0, 100, 5))
    simulation.step()
    high = simulation.add(request(1, 35, 5, priority=1))
    for _ in range(3):
        simulation.step()
    assert (high.cached, low.cached) == (30, 10)


def test_answers_go_on_while_a_long_prompt_is_read() -> None:
    simulation = Simulation(scheduler(blocks=64, running=4, step=10), 10)
    simulation.add(request(0, 1, 50))
    simulation.step()
    simulation.add(request(1, 95, 5))
    for _ in range(10):
        before = len(simulation.scheduler.running[0].tokens)
        simulation.step()
        assert len(simulation.scheduler.running[0].tokens) == before + 1
    assert simulation.scheduler.running[1].cached >= 90


def test_when_the_cache_runs_out_the_youngest_makes_room() -> None:
    simulation = Simulation(scheduler(blocks=4, running=4, step=BLOCK * 4), BLOCK * 4)
    for number in range(3):
        simulation.add(request(number, BLOCK - 1, 2 * BLOCK, client=f"{number}"))
    simulation.finish()
    assert simulation.scheduler.preemptions > 0
    assert simulation.ended == [0, 1, 2]


def test_who_was_sent_back_goes_before_who_never_ran() -> None:
    """However little the newcomers' clients were served."""
    simulation = Simulation(scheduler(blocks=4, running=4, step=BLOCK * 4), BLOCK * 4)
    for number in range(2):
        simulation.add(request(number, BLOCK - 1, 2 * BLOCK, client="old"))
    while not simulation.scheduler.preemptions:
        simulation.step()
    for number in range(2, 5):
        simulation.add(request(number, 2 * BLOCK, 5, client=f"new {number}"))
    simulation.finish()
    assert simulation.ended[:2] == [0, 1]


def test_what_is_computed_again_is_charged_to_nobody() -> None:
    simulation = Simulation(scheduler(blocks=64, running=1, step=64), 64)
    simulation.add(request(0, 60, 10, client="often sent back"))
    simulation.add(request(10, 5, 1, client="often sent back"))
    simulation.add(request(11, 95, 1, client="other"))
    simulation.add(request(12, 5, 1, client="other"))
    for number in range(1, 4):
        simulation.step()
        simulation.add(request(number, 5, 1, priority=1))
        while number not in simulation.ended:
            simulation.step()
    assert simulation.scheduler.preemptions == 3
    simulation.finish()
    # Its prompt counts once: 80 for the first request against 97 for the other's, not 60 more each time.
    assert simulation.ended[3:] == [0, 11, 10, 12]

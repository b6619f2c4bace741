"""What ended or running requests left in the KV cache is found again, and changes nothing but how much is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lindos.engine.blocks import BLOCK, BlockPool, Digests
from lindos.engine.core import EngineCore
from lindos.engine.network import Network, TorchNetwork
from lindos.engine.packed import PackedNetwork
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler, Work
from lindos.kernels.choosing import available_kernels
from lindos.kernels.products import products
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, load_model, save_model
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import PackedSource
from tests.engine.simulation import Simulation, request, scheduler
from tests.engine.test_packed import GROK

CONTEXT = 4 * BLOCK
OVERLAPPING = st.lists(st.integers(0, 2), min_size=1, max_size=5).flatmap(
    lambda parts: st.integers(0, BLOCK - 1).map(
        lambda rest: [token for part in parts for token in [part] * (BLOCK // 2)] + [7] * rest
    )
)
"""Prompts of up to three and a half blocks, put together from few pieces of half a block, so that many begin alike."""
ARRIVALS = st.tuples(OVERLAPPING, st.integers(1, 2 * BLOCK), st.integers(-1, 1), st.sampled_from(["", "ann", "bob"]))
COMMANDS = st.lists(st.one_of(ARRIVALS, ARRIVALS, st.integers(0, 20), st.integers(1, 30)), max_size=40)


def played(commands: list, *, blocks: int, running: int, step: int, reuse: bool) -> Simulation:
    """A command is a request to add, or a number: that of a request to cancel where it runs, else steps to take."""
    simulation = Simulation(scheduler(blocks=blocks, running=running, step=step, reuse=reuse), step)
    requests: list[Request] = []
    for command in commands:
        if isinstance(command, tuple):
            prompt, limit, priority, client = command
            limit = min(limit, CONTEXT - len(prompt))
            requests.append(simulation.add(request(len(requests), prompt, limit, priority=priority, client=client)))
        elif command < len(requests) and requests[command] in simulation.scheduler.running:
            simulation.scheduler.remove(requests[command], failed=command % 2 == 1)
        else:
            for _ in range(command):
                if not simulation.scheduler.idle:
                    simulation.step()
    simulation.finish()
    return simulation


@settings(max_examples=150, deadline=None)
@given(commands=COMMANDS, blocks=st.integers(4, 12), running=st.integers(1, 6), step=st.integers(6, 200))
def test_whatever_comes_nothing_is_lost_and_only_a_requests_own_tokens_are_read(
    commands: list, blocks: int, running: int, step: int
) -> None:
    """Each step is checked by the simulation."""
    simulation = played(commands, blocks=blocks, running=running, step=step, reuse=True)
    pool = simulation.scheduler.pool
    assert pool.used == 0
    assert all(pool.holders(block) == 0 for block in range(pool.total))
    assert sorted(pool.take(pool.total)) == list(range(pool.total)), "every block can be taken, once"
    for one in simulation.started:
        assert 0 <= one.reused < one.prompt_tokens
        assert one.reused + simulation.computed[one.id] >= one.reached


def test_a_beginning_is_computed_once() -> None:
    simulation = Simulation(scheduler(blocks=16, running=4, step=300), 300)
    system = [5] * (2 * BLOCK + 10)
    for number in range(3):
        simulation.add(request(number, [*system, 100 + number], 3))
        simulation.finish()
    assert simulation.computed == {0: 2 * BLOCK + 13, 1: 13, 2: 13}
    assert [one.usage.cached_tokens for one in simulation.started] == [0, 0, 0], "they have not run by the core's clock"
    assert [one.reused for one in simulation.started] == [0, 2 * BLOCK, 2 * BLOCK]


def test_of_a_prompt_that_is_known_whole_the_last_block_is_computed() -> None:
    simulation = Simulation(scheduler(blocks=16, running=4, step=300), 300)
    for number in range(2):
        simulation.add(request(number, [5] * (2 * BLOCK), 1))
        simulation.finish()
    assert simulation.computed == {0: 2 * BLOCK, 1: BLOCK}


def test_a_conversation_goes_on_where_it_was() -> None:
    simulation = Simulation(scheduler(blocks=16, running=4, step=300), 300)
    first = simulation.add(request(0, [5] * 40, BLOCK))
    simulation.finish()
    simulation.add(request(1, [*first.tokens, 9, 9, 9], 1))
    simulation.finish()
    assert simulation.computed[1] == 40 + 3, "the answer's last token was sampled, but never read"


def test_prompts_that_come_together_are_computed_once() -> None:
    simulation = Simulation(scheduler(blocks=32, running=8, step=BLOCK), BLOCK)
    for number in range(4):
        simulation.add(request(number, [*[5] * (3 * BLOCK), 100 + number], 2))
    simulation.finish()
    assert sum(simulation.computed.values()) < 4 * BLOCK + 4 * 3
    assert simulation.scheduler.pool.total - simulation.scheduler.pool.kept == 32 - 3


def test_only_what_begins_alike_is_shared() -> None:
    simulation = Simulation(scheduler(blocks=16, running=4, step=300), 300)
    for number, prompt in enumerate(([1] * BLOCK + [2] * BLOCK, [3] * BLOCK + [2] * BLOCK, [2] * 2 * BLOCK)):
        simulation.add(request(number, [*prompt, 1], 1))
        simulation.finish()
    assert [one.reused for one in simulation.started] == [0, 0, 0]


def test_what_was_used_longest_ago_goes_first() -> None:
    simulation = Simulation(scheduler(blocks=4, running=1, step=300), 300)
    for number, prompt in enumerate((1, 2, 1, 3, 1, 2)):  # each leaves one block, and needs two while it runs
        simulation.add(request(number, [prompt] * (BLOCK + 1), 1))
        simulation.finish()
    assert [one.reused > 0 for one in simulation.started] == [False, False, True, False, True, True]
    for number, prompt in enumerate((4, 5, 1), start=6):
        simulation.add(request(number, [prompt] * (BLOCK + 1), 1))
        simulation.finish()
    assert [one.reused > 0 for one in simulation.started[6:]] == [False, False, False]


def test_the_end_of_a_prompt_goes_before_its_beginning() -> None:
    simulation = Simulation(scheduler(blocks=4, running=1, step=300), 300)
    simulation.add(request(0, [1] * (3 * BLOCK + 1), 1))
    simulation.finish()
    simulation.add(request(1, [2] * (2 * BLOCK), 1))
    simulation.finish()
    last = simulation.add(request(2, [1] * (3 * BLOCK + 1), 1))
    simulation.finish()
    assert last.reused == 2 * BLOCK


def test_who_is_sent_back_finds_most_of_its_work_again() -> None:
    simulation = Simulation(scheduler(blocks=16, running=1, step=300), 300)
    low = simulation.add(request(0, 3 * BLOCK + 5, 10))
    simulation.step()
    simulation.add(request(1, 5, 3, priority=1))
    simulation.finish()
    assert simulation.scheduler.preemptions == 1
    assert simulation.computed[0] == 3 * BLOCK + 5 + 9 + 5, "all but its full blocks"
    assert low.reused == 0, "what it computed itself was not spared it"


def test_what_a_failed_request_computed_is_not_found() -> None:
    simulation = Simulation(scheduler(blocks=16, running=2, step=300), 300)
    bad = simulation.add(request(0, [5] * (2 * BLOCK), 9))
    simulation.step()
    simulation.scheduler.remove(bad, failed=True)
    after = simulation.add(request(1, [5] * (2 * BLOCK), 9))
    simulation.finish()
    assert after.reused == 0


def test_without_reuse_nothing_is_kept() -> None:
    simulation = Simulation(scheduler(blocks=16, running=2, step=300, reuse=False), 300)
    for number in range(2):
        simulation.add(request(number, [5] * (2 * BLOCK), 3))
        simulation.finish()
    assert simulation.computed[1] == 2 * BLOCK + 2
    assert simulation.scheduler.pool.kept == 0


def test_a_shared_beginning_leaves_room_for_more_requests() -> None:
    """Ten requests of three blocks each, two of them shared, in a cache of 14."""
    simulation = Simulation(scheduler(blocks=24, running=10, step=1000), 1000)
    for number in range(10):
        simulation.add(request(number, [*[5] * (2 * BLOCK), 100 + number], 20))
        if number == 0:
            simulation.step()
    simulation.step()
    assert len(simulation.scheduler.running) == 10
    assert simulation.scheduler.pool.used == 12
    simulation.finish()


def test_only_what_is_computed_is_charged() -> None:
    simulation = Simulation(scheduler(blocks=64, running=1, step=300), 300)
    for number in range(3):
        simulation.add(request(number, [*[5] * (2 * BLOCK), number], 1, client="same"))
        simulation.add(request(10 + number, BLOCK // 2, 1, client="other"))
    simulation.finish()
    assert simulation.ended == [0, 10, 11, 12, 1, 2]


@given(st.lists(st.integers(0, 1 << 40), max_size=3 * BLOCK), st.data())
def test_digests_differ_where_tokens_do_and_do_not_change_as_more_come(tokens: list[int], data: st.DataObject) -> None:
    growing: list[int] = []
    digests = Digests(growing)
    for token in tokens:
        growing.append(token)
        digests.first(len(growing) // BLOCK)
    full = len(tokens) // BLOCK
    assert digests.first(full) == Digests(list(tokens)).first(full)
    if full:
        changed = list(tokens)
        at = data.draw(st.integers(0, full * BLOCK - 1))
        changed[at] += 1
        same = [a == b for a, b in zip(Digests(changed).first(full), digests.first(full), strict=True)]
        assert same == [block < at // BLOCK for block in range(full)]


def test_the_pool_refuses_what_it_does_not_have() -> None:
    pool = BlockPool(BLOCK + 1)
    assert pool.total == 2
    with pytest.raises(RuntimeError, match="asked for"):
        pool.take(3)
    with pytest.raises(RuntimeError, match="nobody holds it"):
        pool.give([1])


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Transformer:
    return load_model(tiny_model_dir, dtype=torch.float32)


PADDED = [3, *[0] * 20, *range(5, 50), 0, 0, 8]


@settings(max_examples=12, deadline=None)
@given(commands=st.lists(st.one_of(ARRIVALS, st.integers(0, 4)), max_size=8), blocks=st.integers(5, 9))
def test_answers_are_the_same_with_and_without(model: Transformer, commands: list, blocks: int) -> None:
    """With padding among the tokens, whose keys are hidden."""
    found = []
    for reuse in (True, False):
        pool = BlockPool(blocks * BLOCK, reuse=reuse)
        core = EngineCore(Runner(TorchNetwork(model), pool.total), Scheduler(pool, max_running=3, step_tokens=50))
        requests: list[Request] = []
        for command in commands:
            if isinstance(command, tuple):
                prompt = [*PADDED, *command[0]][: 3 * BLOCK]
                one = request(len(requests), prompt, 5)
                one.sampling = one.sampling.__class__(temperature=0, ignore_end=True)
                requests.append(one)
                core.add(one)
            else:
                for _ in range(command):
                    if not core.idle:
                        core.step()
        while not core.idle:
            core.step()
        found.append([one.tokens for one in requests])
    assert found[0] == found[1]


def test_found_content_gives_the_logits_of_computing_it(model: Transformer) -> None:
    tokens = [*PADDED, *range(3, 3 + 2 * BLOCK)]
    runner, one, other = Runner(TorchNetwork(model), 16), request(0, tokens, 1), request(1, tokens, 1)
    one.blocks, other.blocks = [9, 2, 4, 5], [9, 2, 4, 0]
    expected = runner.run([Work(one, 0, len(tokens))])
    found = runner.run([Work(other, 3 * BLOCK, len(tokens))])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


class Recording(Runner):
    """Keeps the logits of every token that is sampled, by request and position."""

    def __init__(self, network: Network, blocks: int) -> None:
        super().__init__(network, blocks)
        self.logits: dict[tuple[int, int], torch.Tensor] = {}

    def run(self, work: Sequence[Work]) -> torch.Tensor:
        logits = super().run(work)
        places = [(item.request.id, item.end) for item in work if item.samples]
        self.logits.update(zip(places, logits.clone(), strict=True))
        return logits


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reuse")
    model = Transformer(GROK.model_copy(update={"sequence": CONTEXT}))
    initialise(model, seed=5)
    save_model(model, folder / "plain")
    convert(folder / "plain", folder / "int4", quantise="int4")
    return folder / "int4"


@pytest.mark.parametrize("kernels", available_kernels()[:1])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commands=st.lists(st.one_of(ARRIVALS, st.integers(0, 20), st.integers(1, 30)), max_size=10),
    blocks=st.integers(4, 8),
    running=st.integers(1, 4),
    step=st.integers(4, 100),
)
def test_with_the_kernels_reuse_changes_no_bit_of_any_result(
    quantised: Path, kernels: str, commands: list, blocks: int, running: int, step: int
) -> None:
    """Whatever overlaps, is cancelled or sent back; the tokens 0 are padding, which is hidden."""
    source = open_source(quantised)
    assert isinstance(source, PackedSource)
    network = PackedNetwork(source, products(kernels, 2))
    found = []
    for reuse in (True, False):
        pool = BlockPool(blocks * BLOCK, reuse=reuse)
        runner = Recording(network, pool.total)
        core = EngineCore(runner, Scheduler(pool, max_running=running, step_tokens=step))
        requests: list[Request] = []
        for command in commands:
            if isinstance(command, tuple):
                prompt, limit, priority, client = command
                limit = min(limit, CONTEXT - len(prompt), 20)
                requests.append(request(len(requests), prompt, limit, priority=priority, client=client))
                core.add(requests[-1])
            elif command < len(requests):
                core.cancel(command)
            else:
                for _ in range(command):
                    if not core.idle:
                        core.step()
        while not core.idle:
            core.step()
        assert pool.used == 0
        found.append((requests, runner.logits))
    (with_reuse, logits), (without, expected) = found
    for one, other in zip(with_reuse, without, strict=True):
        many = min(len(one.tokens), len(other.tokens))  # one that is cancelled may have come further
        assert one.tokens[:many] == other.tokens[:many]
    for place in logits.keys() & expected.keys():
        assert torch.equal(logits[place], expected[place])

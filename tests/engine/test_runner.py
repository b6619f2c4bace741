"""The flat pass over many requests against the model's own forward, one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.engine import Sampling
from lindos.engine.blocks import BlockPool
from lindos.engine.core import EngineCore, Event
from lindos.engine.network import TorchNetwork
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler, Work
from lindos.model import Transformer, initialise
from lindos.model.formats import load_model
from lindos.specs import ModelSpec
from tests.engine.conftest import PROMPTS


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Transformer:
    return load_model(tiny_model_dir, dtype=torch.float32)


def request(number: int, tokens: list[int], limit: int = 12) -> Request:
    return Request(number, list(tokens), limit, Sampling(temperature=0, ignore_end=True), OutputText(None, ()))


def check_greedy(model: Transformer, prompt: list[int], ids: Sequence[int], count: int) -> None:
    """Each id is the likeliest after the prompt and the ids before it, by one forward of the whole sequence."""
    assert len(ids) == count
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *ids[:-1]]]))[0, len(prompt) - 1 :]
    assert list(ids) == logits.argmax(-1).tolist()


def finish(core: EngineCore) -> dict[int, list[int]]:
    """Step to the end; every request's ids."""
    found: dict[int, list[int]] = {}
    events: list[Event] = []
    while not core.idle:
        events += core.step()
    for event in events:
        assert event.error is None
        found.setdefault(event.id, []).extend(event.ids)
    return found


def core_for(model: Transformer, *, tokens: int = 4096, running: int = 16, step: int = 64) -> EngineCore:
    pool = BlockPool(tokens)
    runner = Runner(TorchNetwork(model), pool.total)
    return EngineCore(runner, Scheduler(pool, max_running=running, step_tokens=step))


@pytest.mark.parametrize("step", [3, 17, 300])
def test_a_batch_gives_each_what_it_gets_alone(model: Transformer, step: int) -> None:
    core = core_for(model, step=step, running=8)
    for number, prompt in enumerate(PROMPTS):
        core.add(request(number, prompt))
    found = finish(core)
    for number, prompt in enumerate(PROMPTS):
        check_greedy(model, prompt, found[number], 12)


def test_a_full_cache_delays_but_changes_nothing(model: Transformer) -> None:
    core = core_for(model, tokens=256, step=100)
    for number, prompt in enumerate(PROMPTS):
        core.add(request(number, prompt, limit=140 if number < 2 else 12))
    found = finish(core)
    assert core.stats().preemptions > 0
    for number, prompt in enumerate(PROMPTS):
        check_greedy(model, prompt, found[number], 140 if number < 2 else 12)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 511), min_size=2, max_size=140), st.data())
def test_logits_do_not_depend_on_how_a_prompt_is_cut(
    model: Transformer, tokens: list[int], data: st.DataObject
) -> None:
    one, runner = request(0, tokens), Runner(TorchNetwork(model), 8)
    one.blocks = data.draw(st.permutations(range(8)))[: BlockPool.needed(len(tokens))]
    other = request(1, [9, 8, 7])
    other.blocks = [min(set(range(8)).difference(one.blocks))]
    start = 0
    while True:
        end = data.draw(st.integers(start + 1, len(tokens)))
        work = [Work(one, start, end)]
        if data.draw(st.booleans()):
            work.insert(data.draw(st.integers(0, 1)), Work(other, 0, 2))
        logits = runner.run(work)
        start = one.cached = end
        if end == len(tokens):
            break
    with torch.inference_mode():
        expected = model(torch.tensor([tokens]))[0, -1]
    torch.testing.assert_close(logits[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prompt", [[5, 0, 7], [5, 0, 7, 0, 0, 9], [3, *[0] * 80, 4]])
def test_padding_is_not_looked_at(model: Transformer, prompt: list[int]) -> None:
    core = core_for(model, step=4, running=4)
    core.add(request(0, prompt))
    check_greedy(model, prompt, finish(core)[0], 12)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_softcap": None},
        {"activation": "silu", "renormalise_gates": True},
        {"logit_softcap": 20.0, "router_softcap": 30.0, "tied_head": False, "pad_token": None},
    ],
)
def test_other_members_of_the_family(tiny_spec: ModelSpec, changes: dict[str, object]) -> None:
    model = Transformer(tiny_spec.model_copy(update=changes))
    initialise(model, 3)
    core = core_for(model)
    core.add(request(0, [5, 6, 7]))
    core.add(request(1, [9]))
    found = finish(core)
    check_greedy(model, [5, 6, 7], found[0], 12)
    check_greedy(model, [9], found[1], 12)


def test_bf16_agrees_with_the_model_in_bf16(tiny_model_dir: Path) -> None:
    model = load_model(tiny_model_dir, dtype=torch.bfloat16)
    runner, one = Runner(TorchNetwork(model), 1), request(0, PROMPTS[4])
    one.blocks = [0]
    runner.run([Work(one, 0, 29)])
    logits = runner.run([Work(one, 29, 30)])
    with torch.inference_mode():
        expected = model(torch.tensor([PROMPTS[4]]))[0, -1]
    torch.testing.assert_close(logits[0], expected, atol=0.1, rtol=0.05)


class Breaking:
    """A runner that fails, or gives nonsense, wherever one token comes by."""

    def __init__(self, model: Transformer, bad: int, *, raising: bool) -> None:
        self._runner = Runner(TorchNetwork(model), BlockPool.needed(4096))
        self._bad = bad
        self._raising = raising

    def run(self, work: list[Work]) -> torch.Tensor:
        logits = self._runner.run(work).clone()
        hit = [self._bad in item.request.tokens[item.start : item.end] for item in work]
        if any(hit) and self._raising:
            raise RuntimeError("no memory left for this one")
        rows = [bad for bad, item in zip(hit, work, strict=True) if item.samples]
        logits[torch.tensor(rows)] = float("nan")
        return logits


@pytest.mark.parametrize("raising", [True, False])
def test_what_fails_in_a_step_ends_only_the_requests_concerned(
    model: Transformer, raising: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    core = EngineCore(
        Breaking(model, 500, raising=raising),  # type: ignore[arg-type]
        Scheduler(BlockPool(4096), max_running=8, step_tokens=64),
    )
    good = PROMPTS[:4]
    for number, prompt in enumerate(good):
        core.add(request(number, prompt))
    core.add(request(9, [1, 500]))
    events = []
    while not core.idle:
        events += core.step()
    (last,) = [event for event in events if event.id == 9]
    assert last.error is not None
    assert ("no memory left" if raising else "not finite") in last.error
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (2, 0)
    for number, prompt in enumerate(good):
        ids = [token for event in events if event.id == number for token in event.ids]
        check_greedy(model, prompt, ids, 12)
    stats = core.stats()
    assert stats.finished == {"stop": 0, "length": 4, "cancelled": 0, "error": 1}
    assert stats.kv_tokens == 0
    capsys.readouterr()


def test_counts_hold_while_requests_run_and_when_they_have_ended(model: Transformer) -> None:
    core = core_for(model, running=1)
    core.add(request(0, [5] * 10, limit=20))
    core.add(request(1, [5] * 7, limit=20))
    for _ in range(5):
        core.step()
    assert (core.stats().prompt_tokens, core.stats().completion_tokens) == (10, 5)
    (gone,) = core.cancel(1)
    assert gone.usage is not None
    assert gone.usage.total_tokens == 0, "it never ran"
    (event,) = core.cancel(0)
    assert event.usage is not None
    assert (event.usage.prompt_tokens, event.usage.completion_tokens) == (10, 5)
    assert core.cancel(0) == []
    stats = core.stats()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.running, stats.waiting) == (10, 5, 0, 0)


def test_sampling_replays_after_preemption(model: Transformer) -> None:
    """A request that is sent back goes on with its random numbers where it was."""
    found = []
    for tokens in (4096, 256):
        core = core_for(model, tokens=tokens)
        for number, prompt in enumerate(PROMPTS[:3]):
            one = request(number, prompt, limit=140)
            one.sampling = replace(one.sampling, temperature=1.0)
            one.random = Request(0, [1], 1, Sampling(seed=number), OutputText(None, ())).random
            core.add(one)
        found.append(finish(core))
        assert (core.stats().preemptions > 0) == (tokens == 256)
    assert found[0] == found[1]

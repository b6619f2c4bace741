"""What a request may ask for, the whole way: a client, a real engine process, a small random model in fp32."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lindos.engine import Completion, Grammar, QueueFull, RequestError, Sampling
from lindos.model.formats import load_model
from lindos.text import load_tokenizer
from tests.engine.conftest import GREEDY, PROMPTS, Harness, started

HELLO = [{"role": "user", "content": "How are you?"}]
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 150}, "kind": {"enum": ["boat", "bird"]}},
    "required": ["age", "kind"],
    "additionalProperties": False,
}
JSON = Grammar("json_schema", json.dumps(PERSON))
ENDLESS = Sampling(temperature=0, ignore_end=True)
KINDS = [
    Sampling(temperature=0, max_tokens=20, ignore_end=True, logprobs=3),
    Sampling(temperature=1.2, seed=3, max_tokens=20, ignore_end=True, logprobs=0, min_p=0.05),
    Sampling(temperature=1.0, seed=4, max_tokens=20, ignore_end=True, presence_penalty=1.0, frequency_penalty=0.5),
    Sampling(temperature=0.8, seed=5, max_tokens=20, ignore_end=True, repetition_penalty=1.3, logprobs=20),
    Sampling(temperature=1.0, seed=6, max_tokens=20, ignore_end=True, logit_bias=((7, 5.0), (9, -100.0))),
    Sampling(temperature=1.0, seed=7, max_tokens=60, grammar=JSON, logprobs=2),
    Sampling(temperature=0.9, seed=8, max_tokens=20, top_k=40, top_p=0.9, grammar=Grammar("regex", "[a-z ]{5,}")),
    Sampling(temperature=0, max_tokens=20, grammar=Grammar("lark", 'start: ("sea" | "sun")~3')),
]


def same(one: Completion, other: Completion) -> None:
    """The same answer, its log probabilities up to the rounding of sums that other shapes add up otherwise."""
    assert (one.text, one.ids, one.finish) == (other.text, other.ids, other.finish)
    assert one.usage.total_tokens == other.usage.total_tokens
    assert len(one.logprobs) == len(other.logprobs)
    for mine, yours in zip(one.logprobs, other.logprobs, strict=True):
        assert mine.token == yours.token
        for a, b in zip((mine, *mine.top), (yours, *yours.top), strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=1e-4)


def test_a_seed_gives_the_same_alone_and_beside_others(harness: Harness) -> None:
    engine = harness.engine

    async def together() -> list[Completion]:
        work = [
            engine.complete(tokens=prompt, sampling=kind, client=f"{n % 3}", priority=n % 2)
            for n, (prompt, kind) in enumerate(zip(PROMPTS, KINDS, strict=True))
        ]
        return await asyncio.gather(*work)

    batched = harness(together())
    for prompt, kind, beside in zip(PROMPTS, KINDS, batched, strict=True):
        alone = harness(engine.complete(tokens=prompt, sampling=kind))
        again = harness(engine.complete(tokens=prompt, sampling=kind))
        assert replace(again, timing=alone.timing) == alone, "alone to the last bit"
        same(beside, alone)


def test_log_probabilities_are_those_of_the_model(harness: Harness, tiny_model_dir: Path) -> None:
    model, tokenizer = load_model(tiny_model_dir, dtype=torch.float32), load_tokenizer(tiny_model_dir)
    for kind in (KINDS[0], KINDS[3]):
        one = harness(harness.engine.complete(tokens=PROMPTS[4], sampling=kind))
        with torch.inference_mode():
            logits = model(torch.tensor([[*PROMPTS[4], *one.ids[:-1]]]))[0, len(PROMPTS[4]) - 1 :]
        expected = torch.log_softmax(logits.double(), -1)
        assert [found.token for found in one.logprobs] == list(one.ids)
        for row, found in zip(expected, one.logprobs, strict=True):
            assert found.logprob == pytest.approx(float(row[found.token]), abs=1e-4)
            assert found.data == tokenizer.token_bytes(found.token)
            best = row.topk(kind.logprobs or 0)
            assert [other.logprob for other in found.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_every_chunk_has_the_log_probabilities_of_its_tokens(harness: Harness) -> None:
    asked = Sampling(temperature=1, seed=1, max_tokens=60, ignore_end=True, logprobs=1)

    async def stream() -> None:
        async with await harness.engine.submit(HELLO, sampling=asked) as generation:
            async for chunk in generation:
                assert tuple(found.token for found in chunk.logprobs) == chunk.ids

    harness(stream())
    silent = harness(harness.engine.complete(HELLO, sampling=replace(asked, logprobs=None)))
    assert silent.logprobs == ()


@pytest.mark.parametrize("seed", range(4))
def test_answers_held_to_a_schema_fit_it_and_end_by_themselves(harness: Harness, seed: int) -> None:
    asked = Sampling(temperature=1.5, seed=seed, grammar=JSON, max_tokens=200)
    for prompt in ({"messages": HELLO}, {"prompt": "A boat:"}, {"tokens": [5, 6]}):
        one = harness(harness.engine.complete(**prompt, sampling=asked))  # type: ignore[arg-type]
        assert one.finish == "stop"
        person = json.loads(one.text)
        assert 0 <= person["age"] <= 150
        assert person["kind"] in ("boat", "bird")
        assert one.usage.completion_tokens == len(one.ids)


def test_an_answer_that_may_end_or_go_on_ends_by_the_end_token_alone(harness: Harness, tiny_model_dir: Path) -> None:
    end = load_tokenizer(tiny_model_dir).special("<|end|>")
    assert end is not None
    digits = Sampling(temperature=0, grammar=Grammar("regex", "[0-9]{2,}"), max_tokens=30)
    forced = replace(digits, logit_bias=((end, 100.0),))
    one = harness(harness.engine.complete(HELLO, sampling=forced))
    assert (len(one.text), one.finish, one.ids[-1]) == (2, "stop", end), "not before the grammar allows it"
    endless = harness(harness.engine.complete(HELLO, sampling=replace(digits, logit_bias=((end, -100.0),))))
    assert endless.finish == "length"
    assert endless.text.isdecimal()


def test_a_grammar_that_cannot_be_used_is_refused_and_the_rest_goes_on(harness: Harness) -> None:
    engine = harness.engine

    async def beside() -> Completion:
        going = asyncio.create_task(engine.complete(tokens=PROMPTS[2], sampling=GREEDY))
        for grammar in (Grammar("json_schema", '{"type": "king"}'), Grammar("regex", "("), Grammar("lark", "start: x")):
            with pytest.raises(RequestError, match="cannot be used") as caught:
                await engine.submit(HELLO, sampling=Sampling(grammar=grammar))
            assert caught.value.param == "response_format"
        return await going

    assert harness(beside()).usage.completion_tokens == 24
    stats = harness(engine.stats())
    assert (stats.running, stats.waiting) == (0, 0)


def test_higher_priorities_go_first_and_clients_take_turns(long_model_dir: Path) -> None:
    with started(long_model_dir, max_running=1, threads=1) as harness:
        engine, ended = harness.engine, []

        async def ask(name: str, **ways: object) -> None:
            await engine.complete(tokens=[5] * 4, sampling=replace(GREEDY, max_tokens=4), **ways)  # type: ignore[arg-type]
            ended.append(name)

        async def work() -> None:
            first = await engine.submit(tokens=[5], sampling=ENDLESS, priority=9)
            await anext(first)
            asked = [("many 1", 0, "many"), ("many 2", 0, "many"), ("many 3", 0, "many"), ("one", 0, "one")]
            asked += [("low", -1, "one"), ("high", 1, "one")]
            tasks = []
            for count, (name, priority, client) in enumerate(asked):
                tasks.append(asyncio.create_task(ask(name, priority=priority, client=client)))
                while (await engine.stats()).waiting <= count:
                    await asyncio.sleep(0.005)
            first.cancel()
            await asyncio.gather(*tasks)

        harness(work())
        assert ended == ["high", "many 1", "one", "many 2", "many 3", "low"]


def test_a_client_cannot_fill_the_queue_against_others(long_model_dir: Path) -> None:
    with started(long_model_dir, max_requests=2, max_running=1, threads=1) as harness:
        engine = harness.engine

        async def work() -> None:
            held = [await engine.submit(tokens=[5], sampling=ENDLESS, client="many") for _ in range(2)]
            for name in ("many", ""):
                with pytest.raises(QueueFull):
                    await engine.submit(tokens=[5], sampling=GREEDY, client=name)
            held += [await engine.submit(tokens=[5], sampling=ENDLESS, client=name) for name in ("ann", "bob")]
            for name in ("ann", "eve"):  # one place each, and twice as many in all
                with pytest.raises(QueueFull):
                    await engine.submit(tokens=[5], sampling=GREEDY, client=name)
            for one in held:
                one.cancel()
                await one.wait()
            assert (await engine.complete(tokens=[5], sampling=GREEDY, client="many")).usage.completion_tokens == 24

        harness(work())

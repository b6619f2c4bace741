"""The whole way: a client, a real engine process, a small random model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lindos.engine import (
    Chunk,
    Completion,
    EngineClient,
    Generation,
    QueueFull,
    RequestError,
    Sampling,
    Usage,
)
from lindos.engine.process import _environment
from lindos.model.formats import load_model
from lindos.text import load_tokenizer
from tests.engine.conftest import GREEDY, PROMPTS, Harness, started
from tests.engine.test_runner import check_greedy

SEEDED = Sampling(temperature=1.0, top_p=0.95, top_k=100, seed=11, max_tokens=24, ignore_end=True)
HELLO = [{"role": "user", "content": "How are you?"}]
ENDLESS = Sampling(temperature=0, ignore_end=True)


async def settled(engine: EngineClient) -> None:
    """Nothing runs, nothing waits, all of the cache is free."""
    stats = await engine.stats()
    assert (stats.running, stats.waiting, stats.kv_tokens) == (0, 0, 0)


def test_python_files_of_the_folder_one_is_in_are_not_run(tiny_model_dir: Path, tmp_path: Path) -> None:
    """A folder of weights from anywhere may hold a file named like a module."""
    (tmp_path / "queue.py").write_text("raise SystemExit(7)")
    code = f"""
import asyncio
from lindos.engine import EngineClient
async def main():
    async with await EngineClient.start({str(tiny_model_dir)!r}, threads=1) as engine:
        print(engine.info.name)
asyncio.run(main())
"""
    script = tmp_path.parent / "start_engine.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_engine_is_looked_for_where_its_parent_found_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a clone that is not installed, whose only way onto the path is the folder one stands in."""
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr("lindos.__file__", str(tmp_path / "src" / "lindos" / "__init__.py"))
    assert _environment()["PYTHONPATH"] == os.pathsep.join([str(tmp_path / "src"), "elsewhere"])
    monkeypatch.setattr("lindos.__file__", str(tmp_path / "site-packages" / "lindos" / "__init__.py"))
    assert _environment()["PYTHONPATH"] == "elsewhere"


def test_eight_at_once_get_what_each_gets_alone(harness: Harness, tiny_model_dir: Path) -> None:
    engine = harness.engine

    async def together() -> list[Completion]:
        return await asyncio.gather(*[engine.complete(tokens=prompt, sampling=GREEDY) for prompt in PROMPTS])

    batched = harness(together())
    model = load_model(tiny_model_dir, dtype=torch.float32)
    for prompt, one in zip(PROMPTS, batched, strict=True):
        alone = harness(engine.complete(tokens=prompt, sampling=GREEDY))
        assert one.ids == alone.ids
        check_greedy(model, prompt, one.ids, 24)
        assert one.text == alone.text
        assert {(found.usage.prompt_tokens, found.usage.completion_tokens) for found in (one, alone)} == {
            (len(prompt), 24)
        }
        assert one.finish == "length"


def test_others_join_and_leave_in_the_middle(harness: Harness) -> None:
    engine = harness.engine
    alone = [
        harness(engine.complete(tokens=prompt, sampling=replace(SEEDED, seed=n))) for n, prompt in enumerate(PROMPTS)
    ]

    async def in_turns() -> list[Completion]:
        leaving = await engine.submit(tokens=[5] * 20, sampling=ENDLESS)
        await anext(leaving)
        tasks = []
        for n, prompt in enumerate(PROMPTS):
            tasks.append(asyncio.create_task(engine.complete(tokens=prompt, sampling=replace(SEEDED, seed=n))))
            await anext(leaving)
            await anext(leaving)
            if n == 4:
                leaving.cancel()
                await leaving.wait()
                leaving = await engine.submit(tokens=[9] * 9, sampling=ENDLESS)
        results = await asyncio.gather(*tasks)
        leaving.cancel()
        await leaving.wait()
        await settled(engine)
        return results

    assert [(one.ids, one.text) for one in harness(in_turns())] == [(one.ids, one.text) for one in alone]


def test_seeds(harness: Harness) -> None:
    def once(seed: int | None) -> tuple[int, ...]:
        return harness(harness.engine.complete(tokens=[5, 6], sampling=replace(SEEDED, seed=seed))).ids

    assert once(11) == once(11)
    assert len({once(11), once(12), once(-12), once(None), once(None)}) == 5


def test_the_chunks_are_the_answer(harness: Harness, tiny_model_dir: Path) -> None:
    """Streamed text joins to the text of the ids, and the counts of the chunks to the usage."""
    tokenizer = load_tokenizer(tiny_model_dir)

    async def stream() -> list[Chunk]:
        return [chunk async for chunk in harness.engine.generate(HELLO, sampling=replace(SEEDED, max_tokens=100))]

    chunks = harness(stream())
    *early, last = chunks
    assert all(chunk.finish is chunk.usage is None and chunk.text for chunk in early)
    assert last.finish == "length"
    assert last.usage is not None
    assert sum(chunk.tokens for chunk in chunks) == last.usage.completion_tokens == 100
    ids = [token for chunk in chunks for token in chunk.ids]
    whole = tokenizer.decode(ids)
    joined = "".join(chunk.text for chunk in chunks)
    # An unfinished character at the very end is left out.
    assert joined == whole or joined == whole.rstrip("\ufffd")
    seconds = [chunk.seconds for chunk in chunks]
    assert seconds == sorted(seconds)
    assert last.timing is not None
    assert last.timing.first_token is not None
    assert 0 <= last.timing.queued <= last.timing.first_token <= last.timing.total


def test_stop_strings_end_the_text_before_them(harness: Harness) -> None:
    """Strings taken from what the model says anyway, so that they lie across its tokens."""
    engine = harness.engine
    base = replace(SEEDED, max_tokens=40)
    full = harness(engine.complete(HELLO, sampling=base))
    for start in range(5, len(full.text) - 6, 19):
        stop = full.text[start : start + 4]
        cut = harness(engine.complete(HELLO, sampling=replace(base, stop=("not in it at all", stop))))
        assert cut.finish == "stop"
        assert cut.text == full.text[: full.text.index(stop)]
        assert cut.usage.completion_tokens == len(cut.ids) <= 40
        assert full.ids[: len(cut.ids)] == cut.ids
    never = harness(engine.complete(HELLO, sampling=replace(base, stop=("not in it at all",))))
    assert never == replace(full, timing=never.timing)


def test_stop_tokens_end_the_text_and_are_counted(harness: Harness) -> None:
    full = harness(harness.engine.complete(HELLO, sampling=SEEDED))
    stop = full.ids[10]
    cut = harness(harness.engine.complete(HELLO, sampling=replace(SEEDED, stop_tokens=(stop,))))
    end = full.ids.index(stop) + 1
    assert (cut.finish, cut.ids, cut.usage.completion_tokens) == ("stop", full.ids[:end], end)


def test_the_answer_ends_where_the_context_does(harness: Harness) -> None:
    prompt = harness.engine.info.context - 6
    one = harness(harness.engine.complete(tokens=[5] * prompt, sampling=ENDLESS))
    assert (one.finish, one.usage) == ("length", Usage(prompt, 6, one.usage.cached_tokens))


@pytest.mark.parametrize("reuse", [True, False])
def test_a_prompt_that_was_read_lately_is_found_again(long_model_dir: Path, reuse: bool) -> None:
    with started(long_model_dir, threads=1, prefix_reuse=reuse) as harness:
        first, again = (harness(harness.engine.complete(tokens=[9] * 200, sampling=GREEDY)) for _ in range(2))
        assert first.ids == again.ids
        found = 192 if reuse else 0  # three whole blocks of 64
        assert (first.usage, again.usage) == (Usage(200, 24), Usage(200, 24, found))
        stats = harness(harness.engine.stats())
        assert (stats.cached_tokens, stats.kv_tokens, stats.kv_kept) == (found, 0, found)


def test_what_cannot_be_is_refused_before_anything_is_streamed(harness: Harness) -> None:
    engine = harness.engine
    with pytest.raises(RequestError, match=r"has 8,192 tokens.*holds 8,192"):
        harness(engine.submit(tokens=[5] * 8192))
    with pytest.raises(RequestError, match="shorten it"):
        harness(engine.submit([{"role": "user", "content": "sea and sun " * 8000}]))
    with pytest.raises(RequestError, match=r"messages\[0\]"):
        harness(engine.submit([{"role": "king", "content": "x"}]))
    with pytest.raises(RequestError, match="exactly one"):
        harness(engine.submit(HELLO, prompt="x"))
    with pytest.raises(RequestError, match="too large"):
        harness(engine.submit(prompt="x" * (65 << 20)))
    harness(settled(engine))


def test_old_turns_are_dropped_on_request(harness: Harness) -> None:
    talk = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}: " + "sea " * 600} for n in range(15)]
    generation = harness(harness.engine.submit(talk, sampling=GREEDY, truncate="oldest"))
    assert generation.dropped > 0
    usage = harness(generation.wait())
    assert usage.prompt_tokens + 24 <= 8192


def test_cancelling_at_any_time_frees_everything_and_counts_exactly(harness: Harness, tiny_model_dir: Path) -> None:
    engine, tokenizer = harness.engine, load_tokenizer(tiny_model_dir)

    async def cancel_after(chunks: int) -> Generation:
        async with await engine.submit(tokens=PROMPTS[4], sampling=ENDLESS) as generation:
            seen = [await anext(generation) for _ in range(chunks)]
        await settled(engine)
        rest = [chunk async for chunk in generation]
        said = [*seen, *rest]
        text, whole = "".join(c.text for c in said), tokenizer.decode([t for c in said for t in c.ids])
        assert text.rstrip("\ufffd") == whole.rstrip("\ufffd")  # but for an unfinished character
        assert rest[-1].finish == generation.finish == "cancelled"
        assert sum(chunk.tokens for chunk in [*seen, *rest]) == generation.usage.completion_tokens
        assert rest[-1].usage == generation.usage
        generation.cancel()
        return generation

    for chunks in (0, 1, 7):
        generation = harness(cancel_after(chunks))
        assert generation.usage.prompt_tokens in (0, len(PROMPTS[4]))
    before = harness(engine.stats())

    async def leave_a_generator() -> None:
        stream = engine.generate(tokens=PROMPTS[4], sampling=ENDLESS)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        while (await engine.stats()).running:
            await asyncio.sleep(0.01)

    harness(leave_a_generator())

    async def leave_a_task() -> None:
        task = asyncio.create_task(engine.complete(tokens=PROMPTS[4], sampling=ENDLESS))
        while not (await engine.stats()).running:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(engine)

    harness(leave_a_task())
    after = harness(engine.stats())
    assert after.finished["cancelled"] == before.finished["cancelled"] + 2


def test_a_generation_nobody_reads_is_counted(harness: Harness) -> None:
    generation = harness(harness.engine.submit(tokens=[1, 2, 3], sampling=GREEDY))
    assert harness(generation.wait()) == Usage(3, 24)
    assert generation.finish == "length"


def test_the_totals_are_the_sums_of_the_usages(harness: Harness) -> None:
    engine = harness.engine

    async def mixed() -> None:
        before = await engine.stats()
        generations = [await engine.submit(tokens=prompt, sampling=replace(SEEDED, seed=1)) for prompt in PROMPTS]
        generations[2].cancel()
        await anext(generations[7])
        generations[7].cancel()
        usages = [await generation.wait() for generation in generations]
        after = await engine.stats()
        assert after.prompt_tokens - before.prompt_tokens == sum(usage.prompt_tokens for usage in usages)
        assert after.completion_tokens - before.completion_tokens == sum(usage.completion_tokens for usage in usages)

    harness(mixed())


def test_token_ids_are_whole_numbers_and_nothing_is_made_one(harness: Harness) -> None:
    whole = harness(harness.engine.complete(tokens=[1, 7, 1], sampling=GREEDY))
    assert harness(harness.engine.complete(tokens=np.array([1, 7, 1]).tolist(), sampling=GREEDY)).ids == whole.ids
    assert harness(harness.engine.complete(tokens=list(np.array([1, 7, 1])), sampling=GREEDY)).ids == whole.ids
    for odd in (1.9, "7", True, None):
        with pytest.raises(RequestError, match="whole numbers") as caught:
            harness(harness.engine.complete(tokens=[1, odd], sampling=GREEDY))  # type: ignore[list-item]
        assert caught.value.param == "tokens"


def test_a_full_queue_refuses_and_a_waiting_request_can_be_cancelled(long_model_dir: Path) -> None:
    with started(long_model_dir, max_requests=3, max_running=1) as harness:
        engine = harness.engine

        async def fill() -> None:
            generations = [await engine.submit(tokens=[5], sampling=ENDLESS) for _ in range(3)]
            with pytest.raises(QueueFull, match="busy with 3 requests"):
                await engine.submit(tokens=[5], sampling=GREEDY)
            first, second, third = generations
            await anext(first)
            assert (await engine.stats()).waiting == 2
            second.cancel()
            assert await second.wait() == Usage(0, 0)
            # Its place is free again, at the end of the queue.
            fourth = await engine.submit(tokens=[5], sampling=GREEDY)
            first.cancel()
            third.cancel()
            assert await fourth.wait() == Usage(1, 24)
            assert fourth.fault is None
            await settled(engine)

        harness(fill())


def test_the_model_is_described(harness: Harness) -> None:
    info = harness.engine.info
    assert (info.name, info.kind, info.context, info.vocabulary) == ("tiny", "chat", 8192, 512)
    assert (info.dtype, info.device, info.threads, info.template) == ("fp32", "cpu", 1, "role-tokens")
    assert info.spec["experts"] == 4
    assert info.parameters > info.active_parameters > 0
    assert harness.engine.ready


def test_the_client_does_not_import_torch() -> None:
    code = "import sys, lindos.engine, lindos.engine.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

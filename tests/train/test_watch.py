"""The watch over a run: losses that jump, ranks that are slow, exchanges that never end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lindos.data import Batch, BatchPlan
from lindos.specs import SpecError
from lindos.train import RunFile, Trainer, TrainingError
from lindos.train.detours import MOST, PAST, Detours
from lindos.train.watch.exchanges import Exchanges
from lindos.train.watch.hang import EXIT, HangWatch, report
from lindos.train.watch.slow import Slow, slower
from lindos.train.watch.spikes import LEAST, LONGEST, Spikes
from tests.train.conftest import write_run
from tests.train.forked import forked
from tests.train.test_cluster import launch, lines, order, ranks_of, saved

FIGURES = st.floats(0.5, 2.0)


def settled(deviations: float, values: list[float]) -> Spikes:
    spikes = Spikes(deviations)
    for value in values:
        spikes.accept(value, value)
    return spikes


@given(st.lists(FIGURES, min_size=LEAST, max_size=100), st.floats(1.0, 20.0))
@settings(max_examples=100, deadline=None)
def test_a_spike_is_what_lies_far_above_the_steps_before(values: list[float], deviations: float):
    far = max(values) + 30 * (max(values) - min(values) + 0.1)
    assert settled(deviations, values).seen(far, values[-1])
    assert settled(deviations, values).seen(values[-1], far)
    assert not settled(deviations, values).seen(min(values), min(values))
    assert not settled(0.0, values).seen(far, far)
    early = settled(deviations, values[: LEAST - 1])
    assert not early.seen(far, far)


@given(st.lists(FIGURES, min_size=LEAST, max_size=90), st.integers(0, LONGEST))
def test_a_resumed_run_sees_the_same_spikes(values: list[float], spikes: int):
    one = settled(3.0, values)
    for _ in range(spikes):
        one.seen(1e3, 1e3)
    other = Spikes(3.0, one.recent)
    for value in (1.0, 2.0, 50.0, 1e3, 1e3):
        assert one.seen(value, value) == other.seen(value, value)


def test_what_stays_high_is_no_spike():
    spikes = settled(5.0, [1.0] * LEAST)
    seen = [bool(spikes.seen(9.0, 1.0)) for _ in range(LONGEST + 3)]
    assert seen == [True] * LONGEST + [False] * 3


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), max_size=8))
def test_a_run_that_has_gone_back_takes_batches_it_has_not_seen(detours: list[tuple[int, int]]):
    now, taken = Detours(), -1
    for spike, back in detours:
        spike = max(spike, taken - now.shift + 1)
        taken = spike + now.shift
        to = max(0, spike - back)
        to = min(to, now.latest(spike))
        if to < 0:
            break
        before, now = now, now.after(spike, to)
        assert to + now.shift == taken + 1  # the first batch after the spike's
        again = before.tries > 0 and spike <= before.spike + PAST
        assert now.tries == (before.tries + 1 if again else 1)
        assert not again or to < before.to
    assert Detours.of({"detours": now.model_dump()}) == now
    assert Detours.of({}) == Detours()


@given(st.lists(st.floats(0.9, 1.1), min_size=1, max_size=32), st.sampled_from([1, 2, 4, 8]), st.data())
def test_slow_ranks_are_found_among_their_like(seconds: list[float], alike: int, data: st.DataObject):
    # Stages differ as much as they like.
    told = [(each * (1 + index // alike), f"host {index}") for index, each in enumerate(seconds)]
    assert slower(told, alike, 1.5) == []
    victim = data.draw(st.integers(0, len(told) - 1))
    first = victim // alike * alike
    if len(told[first : first + alike]) > 1:
        told[victim] = (told[victim][0] * 3, told[victim][1])
        assert [(slow.rank, slow.host) for slow in slower(told, alike, 1.5)] == [(victim, f"host {victim}")]


def test_of_two_ranks_the_slower_one_is_found():
    assert slower([(3.0, "a"), (1.0, "b")], 2, 1.5) == [Slow(0, "a", 3.0)]


def said(rank: int, waits: str | None, ranks: list[int]) -> dict[str, Any]:
    return {
        "rank": rank, "host": f"host-{rank}", "step": 7, "waits": waits, "ranks": ranks, "since": time.time() - 30,
        "place": "train/loop.py:1 learn",
    }  # fmt: skip


def test_a_report_follows_those_who_wait_to_those_who_do_not():
    heard = {
        1: said(1, "receive of 8 bytes from rank 2", [2]),
        2: said(2, "all-reduce of 8 bytes among ranks 2, 3, 4", [2, 3, 4]),
        3: said(3, None, []),
    }
    told = report(said(0, "all-gather of 8 bytes among ranks 0, 1", [0, 1]), (0, 1), heard.get).splitlines()
    assert told[0].startswith("rank 0 on host-0 waits in all-gather of 8 bytes among ranks 0, 1, step 7, for 30.")
    assert told[1].startswith("rank 3 on host-3 is in no exchange, step 7")
    assert told[1].endswith("(train/loop.py:1 learn)")
    assert told[2:] == ["rank 4 says nothing: stopped, dead or cut off"]


def test_a_report_of_a_ring_of_waiters_says_so_and_one_of_many_is_short():
    ring = {rank: said(rank, "receive of 8 bytes", [(rank + 1) % 3]) for rank in range(3)}
    assert "everybody asked waits, too" in report(ring[0], (1,), ring.get)
    many = report(said(0, "all-reduce of 8 bytes", []), tuple(range(60)), lambda _: None).splitlines()
    assert len(many) == 10
    assert many[-1] == "and 51 more"


class Poisoned:
    """A plan some of whose batches are noise."""

    def __init__(self, plan: BatchPlan, vocabulary: int, bad: set[int]) -> None:
        self.plan, self.vocabulary, self.bad = plan, vocabulary, bad
        self.taken: list[int] = []

    def batch(self, step: int, **kwargs: Any) -> Batch:
        batch = self.plan.batch(step, **kwargs)
        self.taken.append(step)
        if step not in self.bad:
            return batch
        noise = np.random.default_rng(step).integers(3, self.vocabulary, batch.tokens.shape)
        return replace(batch, tokens=noise.astype(batch.tokens.dtype))


@pytest.fixture
def spiky(run_table: dict[str, Any], tmp_path: Path) -> Callable[..., tuple[Trainer, Poisoned]]:
    run_table |= {
        "schedule": {"steps": 40, "warmup": 3}, "checkpoint": {"every": 5, "keep": 4, "background": False},
        "sample": {"every": 99}, "evaluate": {"every": 99}, "optimizer": {"kind": "adamw", "lr": 1e-2},
    }  # fmt: skip

    def begin(
        on_spike: str, bad: set[int], name: str = "run", resume: bool = False, **more: Any
    ) -> tuple[Trainer, Poisoned]:
        table = {**run_table, "watch": {"spike": 6.0, "on_spike": on_spike}, **more}
        console = Console(file=io.StringIO(), width=200)
        trainer = Trainer(RunFile.parse(table), tmp_path / name, resume=resume, console=console)
        plan = Poisoned(trainer.plan, trainer.run.spec.vocabulary, bad)
        trainer.turns.plan = plan  # type: ignore[attr-defined]
        return trainer, plan

    return begin


def test_a_spike_is_told(spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path):
    trainer, _ = spiky("tell", {30})
    trainer.train()
    seen = lines(tmp_path / "run", "watch")
    assert [(line["step"], line["what"]) for line in seen] == [(30, "spike")]
    assert "deviations above" in seen[0]["text"]
    assert len(lines(tmp_path / "run", "step")) == 40


def test_a_spike_is_skipped_and_leaves_no_mark(spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path):
    trainer, _ = spiky("skip", {30})
    before: dict[str, torch.Tensor] = {}
    plain = trainer.skip

    def skip(*names: Any, **how: Any) -> None:
        before.update({name: each.clone() for name, each in trainer.master.masters.items()})
        plain(*names, **how)
        assert all(torch.equal(before[name], each) for name, each in trainer.master.masters.items())

    trainer.skip = skip  # type: ignore[method-assign]
    trainer.train()
    assert before
    steps = [line["step"] for line in lines(tmp_path / "run", "step")]
    assert steps == [step for step in range(40) if step != 30]
    assert [line["step"] for line in lines(tmp_path / "run", "skip")] == [30]


def test_a_run_goes_back_and_on_with_other_batches(spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path):
    trainer, plan = spiky("rewind", {32})
    trainer.train()
    assert plan.taken == [*range(33), *range(33, 43)]
    went = lines(tmp_path / "run", "rewind")
    assert [(line["step"], line["to"], line["shift"]) for line in went] == [(32, 30, 3)]
    assert [line["step"] for line in lines(tmp_path / "run", "step")] == list(range(40))
    # The same as a run that never met the batches it left out.
    clean, other = spiky("tell", set(), "clean")
    clean.train(steps=30)
    other.plan.batch, whole = lambda step, **kw: whole(step + 3, **kw), other.plan.batch  # type: ignore[method-assign]
    clean.train()
    one, two = saved(tmp_path / "run"), saved(tmp_path / "clean")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("until", [33, 36])
def test_a_run_that_went_back_and_was_stopped_goes_on_as_if_it_had_not(
    spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path, until: int
):
    spiky("rewind", {32}, "whole")[0].train()
    trainer, plan = spiky("rewind", {32})
    stop_at(trainer, plan, until)
    again, _ = spiky("rewind", {32}, resume=True)
    again.train()
    one, two = saved(tmp_path / "run"), saved(tmp_path / "whole")
    assert all(torch.equal(one[name], two[name]) for name in one)
    told = [[(line["step"], line["loss"]) for line in lines(tmp_path / n, "step")] for n in ("run", "whole")]
    assert told[0] == told[1]


def stop_at(trainer: Trainer, plan: Poisoned, batch: int) -> None:
    """End a run as a kill would, at a batch: no checkpoint, no end."""

    class Killed(BaseException):
        pass

    whole = plan.batch

    def killing(step: int, **kwargs: Any) -> Batch:
        if step == batch:
            raise Killed
        return whole(step, **kwargs)

    plan.batch = killing  # type: ignore[method-assign]
    with pytest.raises(Killed):
        trainer.train()


def test_a_run_that_spikes_again_and_again_goes_further_back_and_then_ends(
    spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path
):
    longer = {"schedule": {"steps": 80, "warmup": 3}, "checkpoint": {"every": 5, "keep": 6, "background": False}}
    trainer, _ = spiky("rewind", set(range(74, 200)), **longer)
    with pytest.raises(TrainingError, match=f"gone back {MOST} times"):
        trainer.train()
    assert [line["to"] for line in lines(tmp_path / "run", "rewind")] == [70, 65, 60]
    again, _ = spiky("skip", set(), resume=True, **longer)
    assert again.train() == 80


def test_without_a_checkpoint_a_spike_is_skipped(spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path):
    trainer, _ = spiky("rewind", {30}, checkpoint={"every": 1000})
    trainer.train()
    assert [line["step"] for line in lines(tmp_path / "run", "skip")] == [30]


@pytest.mark.parametrize("watch", [{"hang": -1}, {"on_spike": "explode"}, {"spikes": 3}])
def test_a_mistyped_watch_is_refused(run_table: dict[str, Any], watch: dict[str, Any]):
    with pytest.raises(SpecError, match="watch"):
        RunFile.parse({**run_table, "watch": watch})


@contextlib.contextmanager
def running(run: Path, out: Path, *, restarts: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    with (out.with_suffix(".log")).open("w") as told:
        whole = subprocess.Popen(launch(run, out, 2, restarts=restarts), stdout=told, stderr=subprocess.STDOUT)
    try:
        yield whole
    finally:
        for victim in ranks_of(whole.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        whole.kill()
        whole.wait()


def wait_for(what: Callable[[], Any], whole: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and whole.poll() is None:
        if found := what():
            return found
        time.sleep(0.05)
    found = what()
    assert found, log.read_text()[-4000:]
    return found


def rank_processes(launcher: int) -> dict[int, int]:
    """Process ids by rank."""
    found = {}
    for process in ranks_of(launcher):
        with contextlib.suppress(OSError, StopIteration):
            pairs = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            found[int(next(pair[5:] for pair in pairs if pair.startswith(b"RANK=")))] = process
    return found


def cluster_table(run_table: dict[str, Any], **watch: Any) -> dict[str, Any]:
    run_table["machine"] |= {"precision": "fp32"}
    return run_table | {
        "optimizer": {"kind": "adamw", "lr": 3e-3}, "schedule": {"steps": 400, "warmup": 2}, "layout": {"shards": 2},
        "checkpoint": {"every": 4}, "watch": watch, "sample": {"every": 1000}, "evaluate": {"every": 1000},
    }  # fmt: skip


def test_a_rank_that_is_stopped_is_named_and_the_run_goes_on_after_a_restart(run_table: dict[str, Any], tmp_path: Path):
    table = cluster_table(run_table, hang=3.0)
    table["schedule"] = {"steps": 60, "warmup": 2}
    run, out = write_run(tmp_path / "run.json", table), tmp_path / "out"
    with running(run, out, restarts=2) as whole:
        wait_for(lambda: len(lines(out, "checkpoint")) > 1, whole, out.with_suffix(".log"))
        victim = rank_processes(whole.pid)[1]
        os.kill(victim, signal.SIGSTOP)
        path = out / "hang-rank-00000.txt"
        wait_for(lambda: path.exists() and path.read_text().endswith("\n"), whole, out.with_suffix(".log"))
        os.kill(victim, signal.SIGKILL)  # torchrun would wait half a minute for it to end by itself
        assert whole.wait(120) == 0, out.with_suffix(".log").read_text()[-4000:]
    told = path.read_text().splitlines()
    assert told[0].startswith("rank 0 on ")
    assert " waits in " in told[0]
    assert "bytes among ranks 0, 1" in told[0] or "bytes from rank 1" in told[0]
    assert told[1] == "rank 1 says nothing: stopped, dead or cut off"
    assert [line["what"] for line in lines(out, "watch")] == ["hang"]
    assert [line["step"] for line in lines(out, "step")] == list(range(60))


def test_a_rank_that_is_slower_than_its_like_is_named(run_table: dict[str, Any], tmp_path: Path):
    run = write_run(tmp_path / "run.json", cluster_table(run_table, slow=1.5, slow_every=10))
    out, over = tmp_path / "out", threading.Event()

    def hold_up(process: int) -> None:
        """Let it run a third of the time."""
        while not over.is_set():
            for number, seconds in ((signal.SIGSTOP, 0.04), (signal.SIGCONT, 0.02)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
                time.sleep(seconds)

    with running(run, out) as whole:
        wait_for(lambda: lines(out, "step"), whole, out.with_suffix(".log"))
        holding = threading.Thread(target=hold_up, args=(rank_processes(whole.pid)[1],))
        holding.start()
        try:
            named = wait_for(
                lambda: [line for line in lines(out, "watch") if line["rank"] == 1], whole, out.with_suffix(".log")
            )
        finally:
            over.set()
            holding.join()
    assert named[0]["what"] == "slow rank"
    assert "times as long as its like" in named[0]["text"]


def test_gradients_that_are_not_finite_name_rank_and_tensor(run_table: dict[str, Any], tmp_path: Path):
    table = cluster_table(run_table)
    table["optimizer"]["lr"] = 1e30
    run, out = write_run(tmp_path / "run.json", table), tmp_path / "out"
    done = forked(*[order(run, out)] * 2)
    assert done.returncode != 0
    assert "5 steps in a row had no finite gradient (last in " in " ".join(done.stderr.split())
    skips = lines(out, "skip")
    assert len(skips) == 5
    named = {tuple(tensor.rpartition(" of rank ")[::2]) for line in skips for tensor in line["tensors"]}
    assert {rank for _, rank in named} == {"0", "1"}
    assert {name for name, _ in named} >= {"embedding", "layers.0.attention.query"}


def test_memory_of_a_way_that_was_left_is_forgotten(spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path):
    memory = tmp_path / "memory"
    memory.mkdir()
    kept = {"checkpoint": {"every": 5, "keep": 4, "background": False, "memory_every": 1, "memory_folder": str(memory)}}
    spiky("rewind", {33}, "whole", **kept)[0].train()
    trainer, plan = spiky("rewind", {33}, **kept)
    stop_at(trainer, plan, 36)  # three steps after going back to the thirtieth with the batches from the 34th on
    trainer.memory.wait()
    again, _ = spiky("rewind", {33}, resume=True, **kept)
    assert again.step == 32
    again.train()
    one, two = saved(tmp_path / "run"), saved(tmp_path / "whole")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert lines(tmp_path / "run", "leg")[-1]["where"] == "memory"


def test_what_only_memory_holds_is_on_disk_before_memory_is_cleared(
    spiky: Callable[..., tuple[Trainer, Poisoned]], tmp_path: Path
):
    memory = tmp_path / "memory"
    memory.mkdir()
    kept = {"checkpoint": {"every": 20, "background": False, "memory_every": 1, "memory_folder": str(memory)}}
    trainer, plan = spiky("tell", set(), **kept)
    stop_at(trainer, plan, 26)
    trainer.memory.wait()
    again, _ = spiky("tell", set(), resume=True, **kept)
    assert again.step == 26
    again.train(minutes=0)
    assert spiky("tell", set(), resume=True)[0].step == 26
    assert not list(memory.iterdir())


class Store(dict[str, str]):
    """What a rank says, where all can read it."""

    set = dict.__setitem__
    delete_key = dict.__delitem__


def test_a_rank_that_moves_again_takes_back_what_it_said():
    exchanges, store = Exchanges(), Store()
    watch = HangWatch(exchanges, 10.0, 3, lambda: 7, print)
    watch._publish(store)
    assert not store
    exchanges.moved -= 6.0
    watch._publish(store)
    assert json.loads(store["lindos/watch/3"])["step"] == 7
    exchanges.moved += 6.0
    watch._publish(store)
    assert not store


def test_a_disk_and_a_store_that_hang_do_not_keep_a_rank(tmp_path: Path):
    script = (
        "import time, threading\n"
        "from lindos.train.watch import hang\n"
        "from lindos.train.watch.exchanges import Exchange, Exchanges\n"
        "plain = hang._in_time\n"
        "hang._in_time = lambda work, seconds=30.0: plain(work, 0.2)\n"
        "seen = Exchanges()\n"
        "seen.now = Exchange('all-reduce', None, None, 8, time.monotonic() - 9)\n"
        "class Stuck:\n"
        "    def __getattr__(self, name):\n"
        "        time.sleep(60)\n"
        "watch = hang.HangWatch(seen, 1.0, 0, lambda: 1, lambda text: time.sleep(60))\n"
        "watch._look(Stuck())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert done.returncode == EXIT, done.stderr

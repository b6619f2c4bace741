"""Replica groups that come and go, by the real commands: undisturbed, killed and started again, told apart."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lindos.data import BatchPlan, TokenDataset
from lindos.specs import SpecError
from lindos.train import Journal, RunFile
from lindos.train.checkpoint import Checkpoint, Parts
from lindos.train.loop import Trainer
from lindos.train.replicas import Share
from lindos.train.saving import held
from lindos.train.turns import Among, check_replicas, fingerprint_of
from tests.train.conftest import write_run
from tests.train.forked import Command, forked, said
from tests.train.test_cluster import launch, lines, order, ranks_of, saved, train

LIMIT = 150.0
"""Seconds that anything here may take at most."""


@pytest.fixture
def torchft() -> None:
    """Tests that want it are skipped without it, unless nothing may be skipped."""
    try:
        import torchft  # noqa: F401
    except ImportError:
        words = 'torchft is not installed (pip install "lindos[torchft]")'
        if os.environ.get("LINDOS_NO_SKIP") == "1":
            pytest.fail(words)
        pytest.skip(words)


class Started:
    """A command in a session of its own, so that all of it can be ended; forked unless it is torchrun."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        if command[0] == "lindos":
            self.process = Command(command, log)
            return
        with Path(f"{log}.out").open("a") as told:
            self.process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self) -> str:
        return said(self.log)

    def told(self) -> str:
        return " ".join(self.said().split())

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def done(self) -> None:
        """Wait for its good end."""
        assert self.process.wait(LIMIT) == 0, self.said()[-5000:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts commands, which end with the test."""
    running: list[Started] = []

    def starting(name: str, command: list[str]) -> Started:
        running.append(Started(command, tmp_path / f"{name}.log"))
        return running[-1]

    yield starting
    for each in running:
        each.end()


class Lighthouse(Started):
    url = ""

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """It answers nobody for a while: no group begins a step."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@pytest.fixture
def lighthouse(torchft: None, tmp_path: Path) -> Iterator[Lighthouse]:
    command = ["lindos", "train", "lighthouse", "--bind", "127.0.0.1:0", "--heartbeat", "1"]
    server = Lighthouse(command, tmp_path / "lighthouse.log")
    try:
        wait_for(lambda: "http://" in server.told(), server)
        server.url = re.findall(r"http://\S+", server.told())[0]
        yield server
    finally:
        server.end()


def wait_for(what: Callable[[], bool], *working: Started) -> None:
    """Until it is so, while all of `working` run."""
    until = time.monotonic() + LIMIT
    while not what():
        for each in working:
            assert each.process.poll() in (None, 0), each.said()[-5000:]
        assert time.monotonic() < until, [each.said()[-3000:] for each in working]
        time.sleep(0.02)


@pytest.fixture
def table(run_table: dict[str, Any]) -> dict[str, Any]:
    run_table |= {"optimizer": {"kind": "adamw", "lr": 3e-3, "eps": 1e-5}, "schedule": {"steps": 9, "warmup": 2}}
    run_table["data"]["micro_batch"] = 1
    run_table["machine"] |= {"precision": "fp32"}
    run_table["checkpoint"] = {"every": 2}
    run_table["sample"] = {"every": 1000}
    run_table["replicas"] = {"patience": 60.0}
    return run_table


def slow(table: dict[str, Any], steps: int) -> dict[str, Any]:
    """Steps that take as long as an evaluation, which changes nothing: time to look in."""
    more = {"evaluate": {"every": 1, "sequences": 48}, "checkpoint": {"every": 10}}
    return {**table, "schedule": {"steps": steps, "warmup": 2}, **more}


def group(run: Path, out: Path, name: str, lighthouse: str, processes: int = 1, restarts: int = 0) -> list[str]:
    more = ("--replica", name, "--lighthouse", lighthouse)
    return order(run, out, *more) if processes == 1 else launch(run, out, processes, *more, restarts=restarts)


def undisturbed(folder: Path, table: dict[str, Any]) -> Path:
    """The same run by one process, without groups; evaluations change nothing and are left out."""
    alone = {**table, "layout": {}, "evaluate": {"every": 1000}}
    train(write_run(folder / "alone.json", alone), folder / "alone", 1)
    return folder / "alone"


def check_same(one: Path, other: Path) -> None:
    """Bit for bit."""
    mine, theirs = saved(one), saved(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def check_close(out: Path, alone: Path) -> None:
    """Steps and weights of a run are those of an undisturbed one, up to rounding."""
    mine, theirs = ({line["step"]: line for line in lines(each, "step")} for each in (out, alone))
    assert sorted(mine) == sorted(theirs)
    assert len(lines(out, "step")) == len(mine)
    for step, line in mine.items():
        for key in ("loss", "router_loss", "norm", "balance"):
            np.testing.assert_allclose(line[key], theirs[step][key], rtol=1e-5, err_msg=f"step {step}, {key}")
        assert line["counted"] == theirs[step]["counted"]
    check_weights(out, alone)


def check_weights(out: Path, alone: Path) -> None:
    ours, whole = saved(out), saved(alone)
    for name in whole:
        if name.startswith("master."):
            torch.testing.assert_close(ours[name], whole[name], rtol=0, atol=1e-5, msg=name)


def test_two_groups_train_what_one_process_does(
    table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse, start: Callable[..., Started]
):
    run = write_run(tmp_path / "run.json", {**table, "replicas": {"least": 2, "patience": 60.0}})
    outs = {name: tmp_path / name for name in ("01", "02")}
    groups = [start(name, group(run, out, name, lighthouse.url)) for name, out in outs.items()]
    alone = undisturbed(tmp_path, table)
    for each in groups:
        each.done()
    for out in outs.values():
        check_close(out, alone)
    check_same(*outs.values())


def test_a_group_is_killed_and_comes_back(
    table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse, start: Callable[..., Started]
):
    table = slow(table, steps=60)
    run = write_run(tmp_path / "run.json", table)
    outs = [tmp_path / name for name in ("01", "02")]
    stays = start("01", group(run, outs[0], "01", lighthouse.url))
    wait_for(lambda: bool(lines(outs[0], "step")), stays)
    dies = start("02", group(run, outs[1], "02", lighthouse.url))
    wait_for(lambda: len(lines(outs[1], "step")) >= 2, stays, dies)
    dies.end()
    reached = len(lines(outs[0], "step"))
    wait_for(lambda: len(lines(outs[0], "step")) >= reached + 3, stays)
    with lighthouse.away():  # so that it need not hurry
        back = start("02b", group(run, outs[1], "02", lighthouse.url))
        wait_for(lambda: "from step" in back.told(), back)
    alone = undisturbed(tmp_path, table)
    back.done()
    stays.done()
    assert "with another group's weights" in back.told()
    check_close(outs[0], alone)
    check_same(*outs)


def test_another_group_writes_on_where_the_one_that_wrote_is_killed(
    table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse, start: Callable[..., Started]
):
    table = slow(table, steps=40)
    run, out = write_run(tmp_path / "run.json", table), tmp_path / "out"
    with lighthouse.away():
        writes = start("01", group(run, out, "01", lighthouse.url))
        wait_for(lambda: "from step" in writes.told(), writes)
        goes_on = start("02", group(run, out, "02", lighthouse.url))
        wait_for(lambda: "from step" in goes_on.told(), writes, goes_on)
    wait_for(lambda: "held-out" in goes_on.told(), writes, goes_on)
    writes.end()
    goes_on.done()
    assert len(lines(out, "step")) == 40
    check_close(out, undisturbed(tmp_path, table))
    assert len(lines(out, "leg")) == 2
    assert [line["why"] for line in lines(out, "end")] == ["schedule"]
    assert (out / "model").is_dir()


def test_a_sharded_group_trains_what_one_process_does(table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse):
    run = write_run(tmp_path / "run.json", {**table, "layout": {"shards": 2}})
    out = tmp_path / "group"
    done = forked(*[group(run, out, "01", lighthouse.url)] * 2)
    assert done.returncode == 0, done.stderr[-5000:]
    check_close(out, undisturbed(tmp_path, table))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_of_a_sharded_group_is_killed(
    table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse, start: Callable[..., Started], victim: int
):
    run = write_run(tmp_path / "run.json", {**slow(table, steps=80), "layout": {"shards": 2}})
    outs = [tmp_path / name for name in ("01", "02")]
    orders = [group(run, out, out.name, lighthouse.url, processes=2, restarts=2) for out in outs]
    stays = start("01", orders[0])
    wait_for(lambda: bool(lines(outs[0], "step")), stays)  # else the other may do the first step, and heal this one
    with lighthouse.away():  # so that the one that stays does not get far meanwhile
        dies = start("02", orders[1])
        wait_for(lambda: "from step" in dies.told(), stays, dies)
    wait_for(lambda: len(lines(outs[1], "step")) >= 2, stays, dies)
    os.kill(sorted(ranks_of(dies.process.pid))[victim], signal.SIGKILL)
    reached = len(lines(outs[0], "step"))
    wait_for(lambda: len(lines(outs[0], "step")) >= reached + 3, stays)
    with lighthouse.away():
        wait_for(lambda: dies.told().count("from step") == 2, dies)
    for each in (stays, dies):
        each.done()
    assert "with another group's weights" in dies.told()
    check_close(outs[0], undisturbed(tmp_path, slow(table, steps=80)))
    check_same(*outs)


def test_a_group_of_another_run_is_refused_and_the_others_go_on(
    table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse, start: Callable[..., Started]
):
    ours = write_run(tmp_path / "run.json", slow(table, steps=40))
    table["optimizer"]["lr"] = 1e-3
    theirs = write_run(tmp_path / "other.json", slow(table, steps=40))
    stays = start("01", group(ours, tmp_path / "01", "01", lighthouse.url))
    wait_for(lambda: bool(lines(tmp_path / "01", "step")), stays)
    refused = start("02", group(theirs, tmp_path / "02", "02", lighthouse.url))
    assert refused.process.wait(LIMIT) == 1, refused.told()
    assert "this group and the others train different runs" in refused.told()
    stays.done()
    assert [line["step"] for line in lines(tmp_path / "01", "step")] == list(range(40))


def test_a_lighthouse_that_is_not_there_is_told(table: dict[str, Any], tmp_path: Path, torchft: None):
    table["replicas"] = {"patience": 0.5}
    run = write_run(tmp_path / "run.json", table)
    done = forked(group(run, tmp_path / "out", "01", "http://127.0.0.1:9"))
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "nothing answers at http://127.0.0.1:9 (Connection refused); start one with `lindos train lighthouse" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lighthouse_ends_when_told_to(
    lighthouse: Lighthouse, start: Callable[..., Started], number: int, tmp_path: Path
):
    command = ["lindos", "train", "lighthouse", "--bind", "127.0.0.1:0"]
    server = start("another", command)
    wait_for(lambda: "http://" in server.told(), server)
    os.kill(server.process.pid, number)
    server.done()
    taken = forked([*command[:-1], lighthouse.url[7:]])
    assert taken.returncode == 1
    assert "Address already in use" in taken.stderr


def test_groups_that_do_not_come_are_told(table: dict[str, Any], tmp_path: Path, lighthouse: Lighthouse):
    table["replicas"] = {"least": 2, "wait": 0.5}
    run = write_run(tmp_path / "run.json", table)
    done = forked(group(run, tmp_path / "out", "01", lighthouse.url))
    assert done.returncode == 1
    assert "1 of at least 2 groups came within 0.5 s" in " ".join(done.stderr.split())
    assert not lines(tmp_path / "out", "step")


def test_torchft_that_is_not_there_is_told(table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchft", None)
    table["replicas"] = {"lighthouse": "http://127.0.0.1:9", "name": "01"}
    with pytest.raises(SpecError, match=r'pip install "lindos\[torchft\]"'):
        Trainer(RunFile.parse(table), tmp_path / "out", console=Console(quiet=True)).train()


@pytest.mark.parametrize(
    ("replicas", "layout", "told"),
    [
        ({"name": "01"}, {}, "'01' has nowhere to look for the others: give --lighthouse"),
        ({"lighthouse": "http://h:1"}, {}, "the group needs a name; give --replica"),
        ({"lighthouse": "http://h:1", "name": "01"}, {"pipeline": 2, "schedule": "zero-bubble"}, "use 1f1b"),
    ],
)
def test_what_cannot_be_a_group_says_why(table: dict[str, Any], replicas: Any, layout: Any, told: str):
    with pytest.raises(SpecError, match=told):
        check_replicas(RunFile.parse({**table, "replicas": replicas, "layout": layout}))


def test_groups_are_told_apart_by_what_they_compute(table: dict[str, Any], tmp_path: Path):
    def mark(**changed: Any) -> bytes:
        trainer = Trainer(RunFile.parse({**table, **changed}), tmp_path / str(time.monotonic_ns()))
        return fingerprint_of(trainer.past.origin, trainer.platform.dtype)

    same = mark()
    assert mark(name="other", checkpoint={"every": 7}, replicas={"patience": 1.0}) == same
    assert mark(optimizer={"kind": "adamw", "lr": 1e-3}) != same
    assert mark(schedule={"steps": 10}) != same
    assert mark(data={**table["data"], "micro_batch": 2}) != same
    assert mark(data={**table["data"], "seed": 4}) != same


def test_a_checkpoint_that_goes_while_a_group_reads_it_is_left_to_the_others(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Trainer(RunFile.parse(table), tmp_path / "out", console=Console(quiet=True)).train(steps=2)
    groups = RunFile.parse({**table, "replicas": {"lighthouse": "http://127.0.0.1:9", "name": "02"}})
    restore = Checkpoint.restore

    def pruned(checkpoint: Checkpoint, parts: Parts) -> None:
        for path in checkpoint.path.glob("rank-*"):
            path.unlink()
        restore(checkpoint, parts)

    with held(tmp_path / "out"):  # by a group that trains there
        assert Trainer(groups, tmp_path / "out").step == 2
        monkeypatch.setattr(Checkpoint, "restore", pruned)
        assert Trainer(groups, tmp_path / "out").step == 0


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_however_many_groups_learn_the_whole_batch_is_learnt(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int
):
    """Four micro-batches over two, three and five groups, one after the other in this process."""

    class Recorded:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.share, self.sums = Share(3, 0, groups), []

        def begin(self) -> Share:
            return self.share

        def add_up(self, tensors: list[torch.Tensor]) -> None:
            self.sums.append([tensor.clone() for tensor in tensors])

        def commit(self) -> bool:
            return True

    monkeypatch.setattr("lindos.train.turns.Replicas", Recorded)
    run = RunFile.parse(table)
    plan = BatchPlan(TokenDataset.open(Path(run.data.path), split="train"), sequence=64, batch=4, seed=3)

    def learnt(index: int | None) -> Any:
        trainer = Trainer(run, tmp_path / str(index))
        if index is None:
            return trainer.worker.learner.learn(plan.batch(3)), trainer.master.gradients
        among: Any = Among(run, plan, trainer.worker, trainer.optimizer, trainer.ranks, b"", 3)
        among.replicas.share = Share(3, index, groups)
        turn = among.begin(3, 0)
        assert trainer.worker.learner.learn(turn.batch, turn.whole).counted == turn.whole.counted
        assert among.commit()
        return among.replicas.sums

    whole, gradients = learnt(None)
    found = [learnt(index) for index in range(groups)]
    summed: list[list[Any]] = [[sum(each) for each in zip(*parts, strict=True)] for parts in zip(*found, strict=True)]
    losses, shares = summed[0]
    np.testing.assert_allclose(losses, [whole.loss, whole.router_loss], rtol=1e-5)
    np.testing.assert_allclose((shares.max(-1).values * 4).mean(), whole.balance, rtol=1e-5)
    for name, mine in zip(gradients, summed[1], strict=True):
        torch.testing.assert_close(mine, gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_journal_is_taken_over_where_it_was_left(tmp_path: Path):
    first, second = (
        Journal(tmp_path / "metrics.jsonl", Console(quiet=True), writes=writes) for writes in (True, False)
    )
    for step in range(6):
        second.write("step", step=step, loss=1.0, seconds=1.0)
        if step in (2, 4):
            second.write("evaluation", step=step, loss=2.0)
        if step < 4:
            first.write("step", step=step, loss=1.0, seconds=1.0)
    first.write("step", step=7, loss=3.0, seconds=1.0)  # it got further than the others know of
    assert not second.writes
    second.take_over(6)
    second.write("step", step=6, loss=1.0, seconds=1.0)
    told = [(line["kind"], line["step"]) for line in Journal.read(tmp_path / "metrics.jsonl")]
    assert [step for kind, step in told if kind == "step"] == list(range(7))
    assert ("lost", 7) in told
    assert [step for kind, step in told if kind == "evaluation"] == [2, 4]


@pytest.mark.parametrize(
    "more",
    [
        {"watch": {"spike": 6, "on_spike": "rewind"}},
        {"watch": {"spike": 6, "on_spike": "skip"}},
        {"checkpoint": {"every": 4, "memory_every": 2}},
    ],
)
def test_what_knows_one_group_only_is_refused_among_several(run_table: dict[str, Any], more: dict[str, Any]):
    groups = {"replicas": {"lighthouse": "http://127.0.0.1:1", "name": "01"}}
    with pytest.raises(SpecError, match="is not for replica groups that come and go"):
        check_replicas(RunFile.parse(run_table | groups | more))
    check_replicas(RunFile.parse(run_table | more))

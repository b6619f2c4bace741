"""Checkpoints in memory: ranks are killed, machines are lost, copies are damaged, memory is full."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from lindos.specs import SpecError
from lindos.train import CheckpointError, RunFile, Trainer
from lindos.train.checkpoint import Part
from lindos.train.peer_files import Copy, Slots, copies, filled, restore_copy
from lindos.train.peer_recall import Moment, newest_whole, transfers
from lindos.train.peers import PeerMemory, home_of
from tests.train.conftest import write_run
from tests.train.forked import forked
from tests.train.test_cluster import check_killed, lines, order, run_of, saved, train


def in_memory(out: Path) -> list[dict[str, Any]]:
    """What the journal tells of checkpoints in memory."""
    return [line for line in lines(out, "checkpoint") if line["where"] == "memory"]


DYING = """
import os, signal, sys
from pathlib import Path
from lindos.train import RunFile, Trainer
from lindos.train.machine import joined

class Dying(Trainer):
    def _save(self):  # on disk: at the end of the leg only
        self.memory.wait()
        self.ranks.any(False)
        os.kill(os.getpid(), signal.SIGKILL)

run = RunFile.load(Path(sys.argv[1]))
with joined("cpu"):
    Dying(run, Path(sys.argv[2]), resume=True).train(steps=int(sys.argv[3]))
"""
"""A run all of whose ranks die when so many steps are done, the last checkpoint in memory being complete."""


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "memory"
    folder.mkdir()
    return folder


@pytest.fixture
def table(run_table: dict[str, Any], memory: Path) -> dict[str, Any]:
    run_table |= {"optimizer": {"kind": "adamw", "lr": 3e-3, "eps": 1e-5}, "schedule": {"steps": 9, "warmup": 2}}
    run_table["data"]["micro_batch"] = 1
    run_table["machine"] |= {"precision": "fp32"}
    run_table["checkpoint"] = {"every": 1000, "memory_every": 2, "memory_folder": str(memory)}
    return run_table


def die(run: Path, out: Path, steps: int) -> None:
    """Two ranks do so many steps more and are lost at once."""
    driver = out.with_name("dying.py")
    driver.write_text(DYING)
    done = forked(*[[str(driver), str(run), str(out), str(steps)]] * 2)
    assert done.codes == [-signal.SIGKILL] * 2, done.stderr[-3000:]


def same(one: Path, other: Path) -> None:
    """Two runs have ended with the same bits."""
    first, second = saved(one), saved(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = [[(line["step"], line["loss"]) for line in lines(out, "step")] for out in (one, other)]
    assert told[0] == told[1]


def last_leg(out: Path) -> tuple[int, str | None]:
    leg = lines(out, "leg")[-1]
    return leg["step"], leg["where"]


def check_killed_in_memory(table: dict[str, Any], folder: Path, name: str, kills: int, seed: int) -> None:
    check_killed(table, folder, name, kills, seed, between=5)
    legs = [(line["step"], line["where"]) for line in lines(folder / "killed", "leg")]
    assert len(legs) == kills + 1
    assert all(where == "memory" and step > 0 for step, where in legs[1:]), legs
    taken = in_memory(folder / "killed")
    assert all(line["where"] == "memory" and line["bytes"] > 0 for line in taken)
    assert not list((folder / "memory").iterdir())


def test_ranks_are_killed_and_the_run_goes_on_from_memory(table: dict[str, Any], tmp_path: Path):
    table["schedule"] = {"steps": 40, "warmup": 2}
    check_killed_in_memory(table, tmp_path, "sharded", kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_more_ranks_are_killed_again_and_again(table: dict[str, Any], tmp_path: Path):
    table["schedule"] = {"steps": 100, "warmup": 2}
    check_killed_in_memory(table, tmp_path, "tensor-and-experts", kills=4, seed=3)


def damage(memory: Path, step: int, owner: int, holders: tuple[int, ...]) -> None:
    """Cut the first of these copies short, flip a bit of the others."""
    (home,) = memory.iterdir()
    found = {copy.path.parent.name: copy.path for copy in copies(home) if (copy.step, copy.owner) == (step, owner)}
    for number, holder in enumerate(holders):
        path = found[f"rank-{holder:05d}"]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content if number else content[:-100])


def test_lost_and_damaged_copies_are_replaced_by_partners_and_then_by_older_ones(
    table: dict[str, Any], tmp_path: Path, memory: Path
):
    run, _ = run_of(tmp_path, table, "sharded")
    train(run, tmp_path / "whole", 2)
    out = tmp_path / "out"
    die(run, out, steps=5)
    (home,) = memory.iterdir()
    assert sorted({copy.step for copy in copies(home)}) == [2, 4]
    assert len(list(copies(home))) == 8
    shutil.rmtree(home / "rank-00001")  # what a machine that is lost had: its own copies, and those it kept
    die(run, out, steps=3)
    assert last_leg(out) == (4, "memory")
    damage(memory, 6, owner=0, holders=(1, 0))
    die(run, out, steps=3)
    assert last_leg(out) == (4, "memory")  # neither copy was whole
    damage(memory, 6, owner=1, holders=(1,))
    train(run, out, 2)
    assert last_leg(out) == (6, "memory")
    same(tmp_path / "whole", out)
    assert not list(memory.iterdir())


def test_a_machine_that_is_replaced_is_sent_its_part(table: dict[str, Any], tmp_path: Path):
    train(run_of(tmp_path, table, "sharded")[0], tmp_path / "whole", 2)
    machines = [tmp_path / "one", tmp_path / "other"]
    for machine in machines:
        (machine / "memory").mkdir(parents=True)
    out = tmp_path / "out"
    assert on_machines(table, machines, out, DYING, "5") != 0
    (home,) = (machines[1] / "memory").iterdir()
    assert {(copy.owner, copy.step) for copy in copies(home)} == {(owner, step) for owner in (0, 1) for step in (2, 4)}
    shutil.rmtree(home)
    assert on_machines(table, machines, out, DYING, "3") != 0
    assert last_leg(out) == (4, "memory")
    assert on_machines(table, machines[::-1], out, DYING.replace("Dying(run", "Trainer(run"), "9") == 0
    assert last_leg(out) == (6, "memory")
    same(tmp_path / "whole", out)


def on_machines(table: dict[str, Any], machines: list[Path], out: Path, code: str, steps: str) -> int:
    """Run a process on each of several "machines" that have their own memory; 0 where all end well."""
    orders = []
    for machine in machines:
        layout = {"layout": {"shards": len(machines)}}
        section = {"checkpoint": table["checkpoint"] | {"memory_folder": str(machine / "memory")}}
        run = write_run(machine / "run.json", table | layout | section)
        (machine / "driver.py").write_text(code)
        orders.append([str(machine / "driver.py"), str(run), str(out), steps])
    return forked(*orders, LOCAL_WORLD_SIZE="1", LOCAL_RANK="0", GLOO_SOCKET_IFNAME="lo").returncode


def test_copies_of_another_number_of_processes_are_passed_over(table: dict[str, Any], tmp_path: Path):
    run, _ = run_of(tmp_path, table, "sharded")
    alone, _ = run_of(tmp_path, table, "alone")
    out = tmp_path / "out"
    train(run, out, 2, "--steps", "3")
    die(run, out, steps=3)
    done = forked(order(alone, out), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "step 4 in memory is passed over: it was made by 2 processes, now there are 1" in done.stdout
    assert last_leg(out) == (3, "disk")


class DiedError(Exception):
    """What ends a leg of one process before it is on disk."""


class Dying(Trainer):
    def _save(self) -> None:
        self.memory.wait()
        raise DiedError


def die_here(table: dict[str, Any], out: Path, steps: int) -> None:
    with pytest.raises(DiedError):
        Dying(RunFile.parse(table), out, resume=True, console=Console(quiet=True)).train(steps=steps)


def test_without_a_whole_copy_the_run_goes_on_from_disk(table: dict[str, Any], tmp_path: Path, memory: Path):
    out = tmp_path / "out"
    Trainer(RunFile.parse(table), out).train(steps=3)
    assert not list(memory.iterdir())  # all of it is on disk
    die_here(table, out, steps=4)
    for step in (4, 6):
        damage(memory, step, owner=0, holders=(0,))
    trainer = Trainer(RunFile.parse(table), out, resume=True)
    assert (trainer.step, last_leg(out)) == (3, (3, "disk"))
    trainer.train()
    Trainer(RunFile.parse(table), tmp_path / "whole").train()
    same(tmp_path / "whole", out)


def test_copies_of_what_is_not_this_run_are_passed_over(table: dict[str, Any], tmp_path: Path):
    out, told = tmp_path / "out", Console(record=True, width=200)
    die_here(table, out, steps=5)
    changed = RunFile.parse(table | {"z_loss": 0.5})
    assert Trainer(changed, out, resume=True, console=told).step == 0
    assert "step 4 in memory is passed over: z_loss: the run began with 0.0001, now it is 0.5" in told.export_text()
    die_here(table | {"z_loss": 0.5}, out, steps=5)
    shutil.rmtree(out)  # to begin anew, whatever is in memory
    assert Trainer(changed, out, resume=True, console=Console(quiet=True)).step == 0


def test_rates_may_change_and_memory_be_given_up_between_legs(table: dict[str, Any], tmp_path: Path, memory: Path):
    out = tmp_path / "out"
    die_here(table, out, steps=5)
    table["optimizer"] = table["optimizer"] | {"lr": 1e-3}
    die_here(table, out, steps=4)
    assert last_leg(out) == (4, "memory")
    table["checkpoint"] = {"every": 1000, "memory_folder": str(memory)}
    assert Trainer(RunFile.parse(table), out, resume=True).step == 0
    assert not list(memory.iterdir())


def test_runs_beside_each_other_keep_their_own(table: dict[str, Any], tmp_path: Path, memory: Path):
    die_here(table, tmp_path / "one", steps=5)
    die_here(table, tmp_path / "other", steps=7)
    assert len(list(memory.iterdir())) == 2
    one = Trainer(RunFile.parse(table), tmp_path / "one", resume=True)
    assert one.step == 4
    one.train()
    assert list(memory.iterdir()) == [home_of(memory, tmp_path / "other")]
    assert Trainer(RunFile.parse(table), tmp_path / "other", resume=True).step == 6


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A memory with room for two steps of two ranks, own copies and those of partners, not for three."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_memory_does_not_end_a_run(table: dict[str, Any], tmp_path: Path, full: Path):
    table["checkpoint"] |= {"memory_folder": str(full), "memory_every": 1}
    run, _ = run_of(tmp_path, table, "sharded")
    train(run, tmp_path / "out", 2)
    taken = in_memory(tmp_path / "out")
    (failed,) = [line for line in taken if "failed" in line]
    assert "No space left on device" in failed["failed"]
    before, after = taken[: taken.index(failed)], taken[taken.index(failed) + 1 :]
    assert len(before) == 2
    assert after, "with one step kept instead of two there is room again"
    assert not list(full.iterdir())


def test_a_memory_that_fails_is_told_once_and_tried_again(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table["checkpoint"] |= {"memory_every": 1}
    real, tried = os.posix_fallocate, []

    def twice_full(*asked: int) -> None:
        tried.append(asked)
        if len(tried) < 3:
            raise OSError(28, "No space left on device")
        real(*asked)

    monkeypatch.setattr(os, "posix_fallocate", twice_full)
    told = Console(record=True, width=200)
    Trainer(RunFile.parse(table), tmp_path / "out", console=told).train(steps=6)
    assert told.export_text().count("no checkpoint in memory of step 1: [Errno 28] No space left on device") == 1
    taken = in_memory(tmp_path / "out")
    assert [line["step"] for line in taken if "failed" in line] == [1]
    assert taken[-1]["bytes"] > 0


def test_steps_that_come_too_early_are_passed_over(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gate, spread = threading.Event(), PeerMemory._spread

    def slow(memory: PeerMemory, *rest: Any) -> int:
        assert gate.wait(60)
        return spread(memory, *rest)

    class Opening(Trainer):
        def _save(self) -> None:
            gate.set()
            super()._save()

    monkeypatch.setattr(PeerMemory, "_spread", slow)
    Opening(RunFile.parse(table), tmp_path / "out").train(steps=9)
    (taken,) = in_memory(tmp_path / "out")
    assert (taken["step"], taken["passed_over"]) == (2, 3)


def test_a_memory_folder_that_is_not_there_is_told_first(table: dict[str, Any], tmp_path: Path):
    table["checkpoint"]["memory_folder"] = str(tmp_path / "none")
    with pytest.raises(SpecError, match=r"checkpoint\.memory_folder: .*none is no folder here; name that of a file"):
        Trainer(RunFile.parse(table), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_another_user_put_there_is_not_written_into(table: dict[str, Any], tmp_path: Path, memory: Path):
    home_of(memory, tmp_path / "out").symlink_to(tmp_path)
    told = Console(record=True, width=300)
    Trainer(RunFile.parse(table), tmp_path / "out", console=told).train(steps=5)
    assert "another user's" in told.export_text()
    assert not list(tmp_path.glob("rank-*"))


def test_what_they_take_is_explained(table: dict[str, Any], tmp_path: Path):
    table |= {"model": "grok-1", "layout": {"tensor": 8, "pipeline": 8, "expert": 8, "shards": 2}}
    table["data"] = {"path": "nowhere", "sequence": 8192, "batch": 64, "micro_batch": 1}
    table["checkpoint"] = {"memory_every": 5}
    run = write_run(tmp_path / "run.json", table)
    done = forked(["lindos", "train", str(run), "--explain"])
    assert done.returncode == 0, done.stderr
    told = re.search(r"in memory every 5 steps, in /dev/shm of each machine: ([\d.,]+) GiB for each", done.stdout)
    assert told, done.stdout
    # Masters and two moments, 12 bytes a parameter, six times; the ends of a pipeline hold more than its middle.
    assert 1 < float(told[1].replace(",", "")) * 2**30 / (6 * 12 * 315_684_820_992 / 128) < 1.3


def test_a_copy_is_a_file_that_safetensors_reads(tmp_path: Path):
    parts = {
        "grid": Part(torch.arange(12.0).reshape(3, 4).T, (8, 3), (4, 0)),
        "none": Part(torch.empty(0, 5), (7, 5), (7, 0)),
        "one": Part(torch.tensor(2.5), (), ()),
    }
    draft = filled(Slots(tmp_path / ".writing-own"), parts, {"step": 3, "title": "naïve ✓"})
    draft.add(draft.bytes)
    copy = Copy(draft.finish(3, owner=1), 3, 1, draft.sha256)
    assert copy.whole()
    assert copy.meta == {"step": 3, "title": "naïve ✓"}
    read = load_file(copy.path)
    assert all(torch.equal(read[name], part.values) for name, part in parts.items())
    again = {name: part._replace(values=torch.full_like(part.values, -1.0)) for name, part in parts.items()}
    restore_copy(copy.path, again)
    assert all(torch.equal(again[name].values, part.values) for name, part in parts.items())
    with pytest.raises(CheckpointError, match="tensor one is in this copy or in what this rank holds, but not in both"):
        restore_copy(copy.path, {name: part for name, part in parts.items() if name != "one"})


MOMENTS = st.builds(Moment, st.integers(1, 4), st.integers(1, 2))


@given(st.integers(1, 5), st.lists(st.dictionaries(MOMENTS, st.sets(st.integers(0, 5))), min_size=1, max_size=6))
def test_the_newest_moment_is_chosen_of_which_every_part_is_somewhere(world: int, told: list[dict[Moment, set[int]]]):
    def whole(moment: Moment) -> bool:
        return all(any(rank in seen.get(moment, ()) for seen in told) for rank in range(world))

    every = [Moment(step, began) for step in range(1, 5) for began in (1, 2)]
    chosen = newest_whole(told, world)
    assert chosen == next((moment for moment in reversed(every) if whole(moment)), None)


@given(st.sets(st.integers(0, 5)), st.lists(st.sets(st.integers(0, 5)), min_size=6, max_size=6))
def test_each_rank_that_wants_its_part_gets_one_sender_who_has_it(wanting: set[int], having: list[set[int]]):
    offers = [{owner: (100 + owner, f"sum of {owner}") for owner in owners} for owners in having]
    plan = transfers(sorted(wanting), offers)
    if any(all(owner not in owners for owners in having) for owner in wanting):
        assert plan is None
        return
    assert plan is not None
    assert [each.receiver for each in plan] == sorted(wanting)
    for each in plan:
        assert each.receiver in having[each.sender]
        assert (each.size, each.sha256) == offers[each.sender][each.receiver]
    # No rank sends two parts where somebody who has sent none could send one of them.
    for each in plan:
        twice = sum(other.sender == each.sender for other in plan[: plan.index(each)])
        idle = [rank for rank, owners in enumerate(having) if each.receiver in owners
                and not any(other.sender == rank for other in plan[: plan.index(each)])]  # fmt: skip
        assert not (twice and idle)

"""Runs of several processes, by the real command under torchrun: other layouts, other numbers of processes, kills."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model.formats import load_model
from lindos.train import Journal
from lindos.train.checkpoint import Part, newest_checkpoint, save_checkpoint, whole_parts
from lindos.train.parallel.pieces import chunk
from tests.train.conftest import write_run
from tests.train.forked import forked

LAYOUTS: dict[str, dict[str, int | str]] = {
    "alone": {},
    "sharded": {"shards": 2},
    "pipeline": {"pipeline": 2, "schedule": "zero-bubble"},
    "tensor-and-experts": {"shards": 2, "tensor": 2, "expert": 4},
    "context": {"context": 2},
}


def launch(run: Path, out: Path, processes: int, *more: str, restarts: int = 0) -> list[str]:
    train = ["-m", "lindos", "train", str(run), "--out", str(out), "--resume", *more]
    if processes == 1:
        return [sys.executable, *train]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    return [sys.executable, *torchrun, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *train]


def order(run: Path, out: Path, *more: str) -> list[str]:
    """For `forked`: what each rank runs."""
    return ["lindos", "train", str(run), "--out", str(out), "--resume", *more]


def train(run: Path, out: Path, processes: int, *more: str) -> None:
    done = forked(*[order(run, out, *more)] * processes)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]


def lines(out: Path, kind: str) -> list[dict[str, Any]]:
    path = out / "metrics.jsonl"
    return [line for line in Journal.read(path) if line["kind"] == kind] if path.exists() else []


def saved(out: Path) -> dict[str, torch.Tensor]:
    checkpoint, passed = newest_checkpoint(out / "checkpoints")
    assert checkpoint is not None, passed
    tensors = {name: torch.empty(shape) for name, shape in checkpoint.shapes().items()}
    checkpoint.restore(whole_parts(tensors.items()))
    return tensors


@pytest.fixture
def table(run_table: dict[str, Any]) -> dict[str, Any]:
    run_table |= {"optimizer": {"kind": "adamw", "lr": 3e-3, "eps": 1e-5}, "schedule": {"steps": 9, "warmup": 2}}
    run_table["data"]["micro_batch"] = 1
    run_table["machine"] |= {"precision": "fp32"}
    run_table["checkpoint"] = {"every": 2}
    return run_table


def run_of(folder: Path, table: dict[str, Any], name: str) -> tuple[Path, int]:
    layout = LAYOUTS[name]
    path = write_run(folder / f"{name}.json", {**table, "layout": layout})
    processes = 1
    for degree in ("shards", "tensor", "pipeline", "context"):
        processes *= int(layout.get(degree, 1))
    return path, processes


def test_a_run_goes_on_in_other_layouts_with_the_same_batches_and_losses(table: dict[str, Any], tmp_path: Path):
    alone, _ = run_of(tmp_path, table, "alone")
    train(alone, tmp_path / "whole", 1)
    for name in ("sharded", "tensor-and-experts", "pipeline"):
        run, processes = run_of(tmp_path, table, name)
        train(run, tmp_path / "moved", processes, "--steps", "3")
    whole, moved = (lines(tmp_path / out, "step") for out in ("whole", "moved"))
    assert [line["step"] for line in moved] == list(range(9))
    for one, other in zip(whole, moved, strict=True):
        for key in ("loss", "router_loss", "norm", "balance"):
            np.testing.assert_allclose(other[key], one[key], rtol=1e-5, err_msg=f"step {one['step']}, {key}")
        assert one["counted"] == other["counted"]
    assert [line["processes"] for line in lines(tmp_path / "moved", "leg")] == [2, 4, 2]
    at_the_end = [lines(tmp_path / out, "evaluation")[-1]["loss"] for out in ("whole", "moved")]
    np.testing.assert_allclose(*at_the_end, rtol=1e-5)
    exported = load_model(tmp_path / "moved" / "model", dtype=torch.float32)
    states = saved(tmp_path / "moved")
    for name, parameter in exported.named_parameters():
        assert torch.equal(parameter.detach(), states[f"master.{name}"]), name


def kill_now_and_then(run: Path, out: Path, processes: int, kills: int, seed: int, between: int = 1) -> None:
    """Start a run with restarts and kill random ranks at random moments, until it has ended; `between` are the steps
    that are done at least before each."""
    chance = random.Random(seed)
    log = out.with_suffix(".log")
    with log.open("w") as told:
        command = launch(run, out, processes, restarts=kills + 2)
        whole = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
    try:
        for _ in range(kills):
            wanted, deadline = len(lines(out, "step")) + between, time.monotonic() + 60
            while len(lines(out, "step")) < wanted and whole.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(chance.random() * 0.3)
            victims = ranks_of(whole.pid)
            with contextlib.suppress(ProcessLookupError):
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
        assert whole.wait(180) == 0, log.read_text()[-6000:]
    finally:
        whole.kill()


def ranks_of(launcher: int) -> list[int]:
    """The processes that torchrun has started."""
    found = []
    with contextlib.suppress(OSError):  # it, or one of them, ends while we look
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            if "lindos" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def check_killed(table: dict[str, Any], folder: Path, name: str, kills: int, seed: int, between: int = 1) -> None:
    run, processes = run_of(folder, table, name)
    train(run, folder / "undisturbed", processes)
    kill_now_and_then(run, folder / "killed", processes, kills, seed, between)
    undisturbed, killed = saved(folder / "undisturbed"), saved(folder / "killed")
    assert undisturbed.keys() == killed.keys()
    assert all(torch.equal(undisturbed[tensor], killed[tensor]) for tensor in undisturbed)
    told = [[(line["step"], line["loss"]) for line in lines(folder / out, "step")] for out in ("undisturbed", "killed")]
    assert told[0] == told[1]
    assert len(lines(folder / "killed", "leg")) > 1


def test_ranks_are_killed_and_the_weights_are_those_of_an_undisturbed_run(table: dict[str, Any], tmp_path: Path):
    table["schedule"] = {"steps": 30, "warmup": 2}
    check_killed(table, tmp_path, "sharded", kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["pipeline", "tensor-and-experts", "context"])
def test_ranks_are_killed_again_and_again(table: dict[str, Any], tmp_path: Path, name: str):
    table["schedule"] = {"steps": 100, "warmup": 2}
    table["checkpoint"] = {"every": 1}
    check_killed(table, tmp_path, name, kills=4, seed=3)


def test_a_layout_of_another_size_is_told(table: dict[str, Any], tmp_path: Path):
    run, _ = run_of(tmp_path, table, "sharded")
    done = forked(order(run, tmp_path / "out"))
    assert done.returncode == 1
    assert "= 2, but one process runs; start so many with torchrun" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_two_runs_in_one_folder_are_refused(table: dict[str, Any], tmp_path: Path):
    table["schedule"] = {"steps": 100_000}
    run, _ = run_of(tmp_path, table, "alone")
    first = subprocess.Popen(launch(run, tmp_path / "out", 1), stdout=subprocess.DEVNULL)
    try:
        while not lines(tmp_path / "out", "step"):
            time.sleep(0.05)
        second = forked(order(run, tmp_path / "out"))
        assert second.returncode == 1
        assert "another process trains there" in " ".join(second.stderr.split())
        table["data"]["seed"] = 99  # another run, which --renew would put in the first one's place
        other = write_run(tmp_path / "other.json", table)
        third = forked(order(other, tmp_path / "out", "--renew"))
        assert third.returncode == 1
        assert "another process trains there" in " ".join(third.stderr.split())
        assert not list(tmp_path.glob("out.before*"))
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({"shards": 3}, r"a batch of 4 sequences is not a multiple of replicas \* shards \* micro_batch = 3"),
        ({"tensor": 4}, r"kv_heads = 2 is not a multiple of tensor = 4"),
        ({"context": 64}, r"sequence = 64 is not a multiple of 2 \* context = 128"),
        ({"pipeline": 3}, r"layers = 2 is not a multiple of pipeline \* virtual_stages = 3"),
        ({"expert": 3}, r"experts = 4 is not a multiple of expert = 3"),
        ({"tensr": 2}, r"layout\.tensr: unknown field; did you mean 'tensor'\?"),
        ({"micro_batch": 2}, r"layout\.micro_batch \(2\) is not data\.micro_batch \(1\); leave it out"),
        ({"precision": "fp8"}, r"layout\.precision \(fp8\) is not machine\.precision \(fp32\)"),
        ({"precision": "fp4"}, r"layout\.precision \(fp4\) is not machine\.precision \(fp32\)"),
        ({"shards": 2, "schedule": "zero-bubble"}, r"schedule = zero-bubble needs pipeline stages"),
        ({"pipeline": 2, "schedule": "zero-bubble", "recompute": "full"}, r"recompute = full with schedule = zero-bub"),
        ({"pipeline": 4, "ends_count": True}, r"ends_count leaves the first and last of 4 stages without a layer of 2"),
    ],
)
def test_what_does_not_fit_says_which_number_to_change(table: dict[str, Any], tmp_path: Path, layout: Any, told: str):
    from lindos.specs import SpecError
    from lindos.train import RunFile

    with pytest.raises(SpecError, match=told):
        RunFile.load(write_run(tmp_path / "run.json", {**table, "layout": layout}))


def cuts(data: st.DataObject, shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """A tensor cut into a grid of pieces."""
    grids = [[chunk(range(size), parts, i) for i in range(parts)] for size in shape
             for parts in [data.draw(st.integers(1, 4))]]  # fmt: skip
    pieces: list[tuple[slice, ...]] = [()]
    for grid in grids:
        pieces = [(*piece, slice(each.start, each.stop)) for piece in pieces for each in grid]
    return pieces


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=0, max_size=3), st.data())
def test_what_was_saved_in_some_pieces_is_found_in_any_others(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], data: st.DataObject
):
    folder = tmp_path_factory.mktemp("pieces")
    size = tuple(shape)
    whole = torch.arange(float(np.prod(size)) if size else 1.0).reshape(size)
    found: dict[str, Part] = {}
    for number, piece in enumerate(cuts(data, size)):
        offsets = tuple(each.start for each in piece)
        found[f"piece {number}"] = Part(whole[piece].clone(), size, offsets)
    # One rank of this test writes all pieces: as many tensors in its file, then put together under one name.
    save_checkpoint(folder, 1, found, {})
    path = folder / "step-00000001" / "index.json"
    index = json.loads(path.read_text())
    checkpoint, _ = newest_checkpoint(folder)
    assert checkpoint is not None
    for name, part in found.items():
        again = Part(torch.full_like(part.values, -1.0), size, part.offsets)
        if again.values.numel():
            assert index[name]["shape"] == list(size)
            checkpoint.restore({name: again})
            assert torch.equal(again.values, part.values)
    shutil.rmtree(folder)


def test_a_run_is_explained_before_anything_runs(table: dict[str, Any], tmp_path: Path):
    table |= {"model": "grok-1", "layout": {"tensor": 8, "pipeline": 8, "expert": 8, "shards": 2, "replicas": 2}}
    table["data"] = {"path": "nowhere", "sequence": 8192, "batch": 64, "micro_batch": 1}
    run = write_run(tmp_path / "run.json", table)
    asked = ["lindos", "train", str(run), "--explain"]
    done = forked([*asked, "--world", "1024"], COLUMNS="150")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "1,024 processes: replicas 8, shards 2, tensor 8, pipeline 8, expert 8, schedule 1f1b" in told
    assert "each of the 16 that see different sequences takes 4 micro-batches of 1 a step" in told
    assert "896 to 1,023 │ 56-63" in told
    assert "expert │ 8 │ 0-7 │ divides the experts of a layer" in told
    rows = [line.split("│") for line in done.stdout.splitlines() if "│" in line]
    parameters = sum(int(row[3].replace(",", "")) for row in rows if " to " in row[1])
    assert 315_684_820_992 / 16 * 0.99 < parameters < 315_684_820_992 / 16 * 1.05  # eight tensor ranks, two shards
    assert not (tmp_path / "out").exists()
    refused = forked([*asked, "--world", "1000"])
    assert refused.returncode == 1
    assert "--world 1000: is not a multiple" in " ".join(refused.stderr.split())


def test_a_zero_bubble_pipeline_wants_whole_turns(table: dict[str, Any], tmp_path: Path):
    from lindos.specs import SpecError
    from lindos.train import RunFile

    table["data"] |= {"batch": 5}
    table["layout"] = {"pipeline": 2, "schedule": "zero-bubble"}
    with pytest.raises(SpecError, match="5 micro-batches do not make whole turns of pipeline = 2"):
        RunFile.load(write_run(tmp_path / "run.json", table))

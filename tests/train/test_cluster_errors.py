"""What goes wrong in a run of several processes is told, and what was saved before stays as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lindos.specs import ModelSpec
from tests.train.conftest import write_data, write_run
from tests.train.forked import Ended, forked
from tests.train.test_cluster import lines, order, train


def table_of(data: Path, spec: ModelSpec, folder: Path) -> dict[str, Any]:
    model = folder / f"{spec.layers}.json"
    model.write_text(spec.model_dump_json())
    return {
        "name": "tiny",
        "model": str(model),
        "data": {"path": str(data), "sequence": 64, "batch": 4, "micro_batch": 1, "seed": 3},
        "optimizer": {"kind": "adamw", "lr": 3e-3},
        "schedule": {"steps": 6},
        "evaluate": {"every": 99},
        "checkpoint": {"every": 2, "keep": 3},
        "machine": {"threads": 1, "precision": "fp32"},
        "layout": {"shards": 2},
    }


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_spec: ModelSpec) -> Path:
    """A run of two processes that has ended at its sixth step."""
    folder = tmp_path_factory.mktemp("begun")
    train(write_run(folder / "run.json", table_of(tiny_data, tiny_spec, folder)), folder / "out", 2)
    return folder / "out"


@pytest.fixture
def resumed(begun: Path, tmp_path: Path, tiny_data: Path, tiny_spec: ModelSpec) -> Callable[..., Ended]:
    """Goes on with a copy of that run, to its tenth step, some of it changed."""
    shutil.copytree(begun, tmp_path / "out")

    def go_on(limit: int | None = None, **changed: Any) -> Ended:
        table = {**table_of(tiny_data, tiny_spec, begun.parent), "schedule": {"steps": 10}} | changed
        # No file larger than `limit`: what a full disk does to the writer of a large one.
        return forked(*[order(write_run(tmp_path / "run.json", table), tmp_path / "out")] * 2, limit=limit)

    return go_on


def fingerprints(out: Path) -> dict[str, str]:
    files = [path for path in (out / "checkpoints").rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def told(done: Ended) -> str:
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_shard_of_any_rank_is_named_and_the_one_before_taken(
    resumed: Callable[..., Ended], tmp_path: Path, damage: str
):
    victim = tmp_path / "out" / "checkpoints" / "step-00000006" / "rank-00001.safetensors"
    whole = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(whole[:-100] if damage == "truncated" else bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]]))
    done = resumed()
    assert done.returncode == 0, told(done)
    assert "step-00000006 is damaged and was passed over: " in told(done)
    assert "rank-00001.safetensors" in told(done).replace(" ", "")  # a terminal breaks long lines
    assert lines(tmp_path / "out", "leg")[-1]["step"] == 4
    assert [line["step"] for line in lines(tmp_path / "out", "step")] == list(range(10))
    assert (tmp_path / "out" / "checkpoints" / "damaged-step-00000006-1").is_dir()


def test_other_data_and_another_model_are_refused_and_nothing_is_touched(
    resumed: Callable[..., Ended],
    tmp_path: Path,
    tiny_tokenizer_dir: Path,
    tiny_spec: ModelSpec,
):
    before, other = fingerprints(tmp_path / "out"), write_data(tmp_path / "other", tiny_tokenizer_dir, seed=7)
    data = {"path": str(other), "sequence": 64, "batch": 4, "micro_batch": 1, "seed": 3}
    done = resumed(data=data)
    assert done.returncode != 0
    assert "fingerprint" in told(done) or "data" in told(done)
    deeper = tmp_path / "deeper.json"
    deeper.write_text(tiny_spec.model_copy(update={"layers": tiny_spec.layers + 2}).model_dump_json())
    done = resumed(model=str(deeper))
    assert done.returncode != 0
    assert "model" in told(done) or "network" in told(done)
    assert fingerprints(tmp_path / "out") == before
    assert len(lines(tmp_path / "out", "leg")) == 1


def test_a_disk_that_is_full_ends_the_run_and_leaves_what_was_saved(resumed: Callable[..., Ended], tmp_path: Path):
    before = fingerprints(tmp_path / "out")
    largest = max(path.stat().st_size for path in (tmp_path / "out" / "checkpoints").rglob("*.safetensors"))
    done = resumed(limit=largest // 2)
    assert done.returncode != 0
    assert "the checkpoint could not be written" in told(done)
    assert "older ones are untouched" in told(done)
    assert fingerprints(tmp_path / "out") == before
    assert not list((tmp_path / "out" / "checkpoints").glob(".writing-*"))
    done = resumed()
    assert done.returncode == 0, told(done)
    assert json.loads((tmp_path / "out" / "checkpoints" / "step-00000010" / "meta.json").read_text())["step"] == 10

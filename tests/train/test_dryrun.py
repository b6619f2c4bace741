"""The dry run: what it says of a rank is what a rank does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lindos.specs import Layout, ModelSpec, SpecError, load_model_spec
from lindos.train.dryrun import Rehearsed, rehearse, trace
from lindos.train.run_file import OptimizerSection
from tests.train.conftest import write_run
from tests.train.forked import forked
from tests.train.parallel.cases import case, form
from tests.train.parallel.pool import Pool
from tests.train.parallel.work import Case, watched

ADAM = OptimizerSection(lr=1e-3)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    made = Pool(4, tmp_path_factory.mktemp("pool"))
    yield made
    made.close()


REAL = [
    case({"replicas": 2, "shards": 2}),
    case({"shards": 2, "tensor": 2}),
    case({"tensor": 2, "context": 2}),
    case({"shards": 2, "tensor": 2, "expert": 4}),
    case({"pipeline": 2, "shards": 2, "sharding": "optimizer"}),
    case({"pipeline": 2, "tensor": 2, "schedule": "zero-bubble"}, "dense"),
    case({"pipeline": 2, "shards": 2, "virtual_stages": 2, "schedule": "interleaved"}),
]


@pytest.mark.parametrize("run", REAL, ids=str)
def test_a_real_step_exchanges_what_was_rehearsed(pool: Pool, run: Case):
    real = pool.run(watched, run)
    for rank in (0, 3):
        flops, counts, moved = real[rank]
        seen = trace(
            run.spec, run.layout, run.sequence, ADAM, rank, run.batch // (run.layout.data * run.layout.micro_batch)
        )
        assert counts == seen.counts
        assert moved.keys() == seen.moved.keys()
        # Where tokens go to experts, routers decide how many; a rehearsal has them choose evenly.
        for kind, size in moved.items():
            slack = 0.6 if kind[0] == "all-to-all" else 0.05
            assert abs(size - seen.moved[kind]) <= slack * max(size, seen.moved[kind]), kind
        rows = {"grouped_mm"} if run.layout.expert > 1 or run.spec.experts else set()
        for kind in flops.keys() - rows - {"mm"}:
            assert flops[kind] == seen.flops[kind]


@pytest.mark.parametrize(
    ("layout", "spec", "layers"),
    [
        ({"shards": 2}, "grok", 9),
        pytest.param({"shards": 2, "recompute": "full"}, "grok-2", 8, marks=pytest.mark.slow),
        ({"tensor": 2, "replicas": 2}, "dense", 7),
        pytest.param({"context": 2, "expert": 2}, "qwen", 8, marks=pytest.mark.slow),
        ({"pipeline": 2, "shards": 2}, "grok", 12),
        pytest.param(
            {"pipeline": 2, "virtual_stages": 2, "schedule": "interleaved"}, "grok", 24, marks=pytest.mark.slow
        ),
    ],
)
def test_what_follows_along_a_line_is_what_the_whole_shows(layout: dict[str, Any], spec: str, layers: int):
    deep = form(spec).model_copy(update={"layers": layers})
    if deep.dense_layers:
        deep = deep.model_copy(update={"dense_layers": layers})
    chosen = Layout.model_validate({"micro_batch": 1} | layout)
    rounds = 6 if chosen.pipeline == 1 else 3 * chosen.pipeline
    batch = rounds * chosen.data
    followed = rehearse(deep, chosen, batch=batch, sequence=32, optimizer=ADAM)
    whole = trace(deep, chosen, 32, ADAM, 0, rounds)
    check_alike(followed, whole)


def check_alike(followed: Rehearsed, whole: Rehearsed) -> None:
    for key in ("flops", "counts", "moved"):
        one, other = getattr(followed, key), getattr(whole, key)
        assert one.keys() == other.keys()
        for kind, value in other.items():
            assert one[kind] == pytest.approx(value, rel=1e-6, abs=1), (key, kind)
    assert followed.peak == pytest.approx(whole.peak, rel=0.02)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "llama-3.1-8b"])
def test_flops_are_those_of_the_model(name: str):
    spec = load_model_spec(name)
    seen = rehearse(spec, Layout(shards=64), batch=64, sequence=1024, optimizer=ADAM)
    expected = spec.training_flops_per_token(1024) * 1024
    assert seen.total_flops == pytest.approx(expected, rel=0.03)


def test_a_rank_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match="no rank 8 among 8"):
        rehearse(form("grok"), Layout(shards=8), batch=8, sequence=32, optimizer=ADAM, rank=8)


def test_grok_1_on_a_hundred_thousand_ranks_takes_a_minute_and_little_memory(run_table: dict[str, Any], tmp_path: Path):
    run_table |= {
        "model": "grok-1",
        "optimizer": {"kind": "adamw", "lr": 1e-4},
        "data": {"path": "nowhere", "sequence": 8192, "batch": 12288, "micro_batch": 1},
        "machine": {"precision": "bf16"},
        "layout": {"shards": 16, "tensor": 8, "pipeline": 8, "expert": 8, "sharding": "optimizer"},
    }
    run, picture = write_run(tmp_path / "run.json", run_table), tmp_path / "memory.svg"
    asked = ("--dry-run", "--world", "98304", "--json", "--picture", str(picture))
    began = time.monotonic()
    command = [sys.executable, "-m", "lindos", "train"]
    script = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", script, *command, str(run), *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["layout"]["replicas"] == 96
    assert int(done.stderr.split()[-1]) < 6 << 20  # KiB
    assert picture.stat().st_size > 1000
    spec: ModelSpec = load_model_spec("grok-1")
    share = spec.training_flops_per_token(8192) * 8192 * 12288 / 98304
    assert told["flops"]["total"] == pytest.approx(share, rel=0.25)  # the first stage has no head
    assert 10 << 30 < told["memory_bytes"]["peak"] < 200 << 30
    assert {entry["operation"] for entry in told["exchanges"]} >= {"all-gather", "reduce-scatter", "all-to-all", "send"}
    print(f"{time.monotonic() - began:.0f} s")


def test_a_world_that_the_layout_does_not_fill_is_told(run_table: dict[str, Any], tmp_path: Path):
    run_table["layout"] = {"shards": 2}
    run = write_run(tmp_path / "run.json", run_table)
    done = forked(["lindos", "train", str(run), "--dry-run", "--world", "3"])
    assert done.returncode == 1
    assert "--world 3: is not a multiple of the layout's" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--world", "8"), "--world belongs to --dry-run or --explain"),
        (("--json",), "--json belongs to --dry-run"),
        (("--explain", "--rank", "1"), "--rank belongs to --dry-run"),
        (("--dry-run", "--explain"), "give one of the two"),
        (("--dry-run", "--picture", "memory.xyz"), "name a .svg, .png or .pdf file"),
        (("--dry-run", "--picture", "nowhere/memory.svg"), "in a folder that is there"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_runs(
    run_table: dict[str, Any], tmp_path: Path, more: tuple[str, ...], told: str
):
    run = write_run(tmp_path / "run.json", run_table)
    done = forked(["lindos", "train", str(run), "--out", str(tmp_path / "out"), *more])
    assert done.returncode == 1
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()

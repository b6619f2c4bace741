"""`lindos plan` as people call it: answers, JSON, pages, one line and status 2 for what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.plan.training import TrainPlan

RUNNER = CliRunner()
SMALL = ["plan", "train", "llama-3.1-8b", "--on", "h100-8", "--tokens", "10B"]


def run(*arguments: str):
    return RUNNER.invoke(app, list(arguments))


def test_a_plan_says_everything_that_was_asked():
    done = run(*SMALL)
    assert done.exit_code == 0, done.output
    for word in (
        "MFU",
        "goodput",
        "calendar",
        "MWh",
        "candidates",
        "tensor",
        "1f1b",
        "Why the first wins",
        "optimizer",
    ):
        assert word in done.output, word


def test_json_holds_the_plan_and_its_candidates():
    done = run(*SMALL, "--json")
    table = json.loads(done.stdout)
    assert table["candidates"] > 1000
    assert len(table["options"]) == 5
    assert table["scaling"]
    assert TrainPlan.model_validate(table) == TrainPlan.model_validate_json(done.stdout)


def test_a_given_layout_is_evaluated_and_explained():
    done = run(*SMALL, "--layout", "tensor=2,sharding=optimizer,recompute=full", "--explain")
    assert done.exit_code == 0, done.output
    assert "data" in done.output
    assert "wave_outputs" in done.output
    assert "memory: activations" in done.output


def test_a_layout_may_come_from_a_file(tmp_path):
    file = tmp_path / "layout.toml"
    file.write_text('tensor = 2\nshards = 4\nsharding = "optimizer"\nrecompute = "full"\n')
    table = json.loads(run(*SMALL, "--layout", str(file), "--json").stdout)
    assert table["options"][0]["layout"]["shards"] == 4
    assert table["candidates"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "0"], "tokens must be more than zero"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "many"], "'many' is no amount"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "inf"], "tokens must be a number"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1_0T"], "'1_0T' is no amount"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--layout", ""], "--layout is empty"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--explain", "--json"], "give one of the two"),
        (["llama-3.1-8b", "--on", "a100-1k", "--tokens", "1T", "--precision", "fp8"], "has no units for fp8"),
        (["llama-3.1-8b", "--on", "colosus", "--tokens", "1T"], "did you mean 'colossus'"),
        (["llama-3.1-8x", "--on", "h100-8", "--tokens", "1T"], "unknown model 'llama-3.1-8x'"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--layout", "tensor=5"], "does not divide: heads = 32"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--layout", "tensor=0"], "greater than 0"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--layout", "tensr=2"], "did you mean 'tensor'"),
        (["llama-3.1-8b", "--on", "h100-64", "--tokens", "1T", "--devices", "12"], "machines of 8"),
        (["llama-3.1-8b", "--on", "h100-64", "--tokens", "1T", "--devices", "80"], "has 64 accelerators"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--precision", "int3"], "choose from"),
        (["llama-3.1-405b", "--on", "h100-8", "--tokens", "1T"], "does not fit on 'h100-8'"),
        (["llama-3.1-8b", "--on", "h100-8", "--tokens", "1T", "--html", "/nowhere/x.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(arguments, message):
    done = run("plan", "train", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.replace("\n", " ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.output


def test_a_failed_page_leaves_nothing_behind(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    assert run(*SMALL, "--html", str(target)).exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_help_starts_without_torch_scipy_or_plotly():
    code = (
        "import sys; from typer.testing import CliRunner; from lindos.cli.main import app;"
        "r = CliRunner().invoke(app, ['plan', '--help']); assert r.exit_code == 0;"
        "sys.exit(','.join(m for m in ('torch', 'scipy', 'plotly', 'matplotlib') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_planning_never_imports_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from lindos.cli.main import app;"
        f"r = CliRunner().invoke(app, {SMALL!r}); assert r.exit_code == 0, r.output; sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_million_layouts_are_scored_within_the_memory_of_a_laptop():
    """Counts and peak memory; the time is printed, and asserted nowhere."""
    code = (
        "import json, resource, sys; from typer.testing import CliRunner; from lindos.cli.main import app;"
        "r = CliRunner().invoke(app, ['plan','train','grok-1','--on','colossus','--tokens','6T','--json']);"
        "print(json.loads(r.stdout)['candidates'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    candidates, kib = map(int, done.stdout.split())
    print(f"{candidates:,} candidates in {time.perf_counter() - started:.1f} s, {kib / 1024:.0f} MiB")
    assert candidates > 1_000_000
    assert kib < 2 * 1024 * 1024

"""`lindos train plot`: real runs, killed and resumed, as a picture and figures."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from lindos.cli.main import app
from lindos.cli.train_plot import command
from lindos.specs import SpecError
from lindos.train import Journal, RunFile, Trainer
from lindos.train.history import read_history
from tests.train.conftest import write_run
from tests.train.test_history import WHOLE, write_lines


def lindos(*more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lindos", *more], capture_output=True, text=True, timeout=120)


def understood(line: str) -> tuple[str, dict[str, Any]]:
    """The command that a line is for, and what it would be given."""
    verb: Any = typer.main.get_command(app)
    name, rest = "lindos", shlex.split(line)
    while hasattr(verb, "resolve_command"):
        name, verb, rest = verb.resolve_command(verb.context_class(verb), rest)
    return name, verb.make_context(name, rest).params


def kill_after(run: Path, out: Path, steps: int) -> None:
    """Start a run, and kill it without warning when it has done so many steps."""
    order = [sys.executable, "-m", "lindos", "train", str(run), "--out", str(out)]
    process = subprocess.Popen(order, stdout=subprocess.DEVNULL)
    path = out / "metrics.jsonl"
    while not path.exists() or sum(line["kind"] == "step" for line in Journal.read(path)) < steps:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def drawn(path: Path) -> str:
    """The words in a picture."""
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8")))


def test_a_run_killed_stopped_and_finished_is_drawn_with_all_that_happened(run_table, tmp_path):
    run_table["checkpoint"]["every"] = 100_000
    run, out = tmp_path / "run.json", tmp_path / "out"
    run_table["schedule"]["steps"] = 100_000  # so that it is not done before it is killed
    kill_after(write_run(run, run_table), out, steps=3)
    run_table["schedule"]["steps"] = 60
    write_run(run, run_table)
    lost = sum(line["kind"] == "step" for line in Journal.read(out / "metrics.jsonl"))
    for steps in (8, 100):
        assert Trainer(RunFile.load(run), out, resume=True).train(steps=steps) in (8, 60)
    done = lindos("train", "plot", str(out), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    [figures] = told["runs"]
    assert [leg["ended"] for leg in figures["legs"]] == [None, "leg", "schedule"]
    assert (figures["steps"], figures["redone_steps"], figures["faults"]) == (60, lost, 1)
    seconds = figures["seconds"]
    lines = Journal.read(out / "metrics.jsonl")
    assert seconds["total"] == pytest.approx(lines[-1]["time"] - lines[0]["time"])
    assert sum(seconds.values()) == pytest.approx(2 * seconds["total"])
    worked = sum(line["seconds"] for line in lines if line["kind"] == "step")
    assert figures["goodput"] == pytest.approx(worked / seconds["total"], rel=1e-3)
    assert 0 < figures["goodput"] < figures["goodput_without_pauses"] < 1
    assert min(seconds[part] for part in ("other", "redone", "down", "paused")) > 0
    words = drawn(out / "run.svg")
    for said in (
        "tiny: 60 steps, 15.4k tokens",
        f"training, smoothed: {figures['loss']:.3f}",
        "held-out text",
        f"{figures['held_out_loss']:.3f}",
        "resumed (1)",
        "restarted after a fault (1)",
        "busiest expert",
        "gradient norm",
        "tokens/s",
        f"of all time: {figures['goodput']:.1%}",
        "down after faults",
    ):
        assert said in words, words


def test_runs_are_told_and_drawn_beside_each_other(run_table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    Trainer(RunFile.parse(run_table), tmp_path / "a").train()
    Trainer(RunFile.parse({**run_table, "seed": 1}), tmp_path / "b").train(steps=6)
    old = write_lines(tmp_path / "old", [{k: v for k, v in line.items() if k != "time"} for line in WHOLE])
    command([tmp_path / "a", tmp_path / "b", old])
    told = capsys.readouterr().out
    assert "6 of 12" in told
    assert "it: no goodput, for its journal has lines without a time" in told
    account = read_history(tmp_path / "a").account
    assert account is not None
    assert f"{account.goodput:.1%}" in told
    words = drawn(tmp_path / "a" / "compared.svg")
    assert "3 training runs" in words
    assert f"tiny ({tmp_path / 'a'})" in words  # two of them have that name
    assert f"tiny ({tmp_path / 'b'})" in words
    assert "goodput" in words
    assert "where " not in words  # whose bar would it be


def test_a_journal_without_times_is_drawn_without_goodput(tmp_path, capsys):
    old = write_lines(tmp_path, [{k: v for k, v in line.items() if k != "time"} for line in WHOLE])
    command([old], as_json=True)
    [figures] = json.loads(capsys.readouterr().out)["runs"]
    assert figures["goodput"] is None
    assert figures["seconds"] is None
    assert figures["loss"] == pytest.approx(read_history(old).curves["loss"].mean(), abs=1.5)
    assert "goodput" not in drawn(tmp_path / "run.svg")


def test_a_dense_model_has_no_balance_to_draw(tmp_path, capsys):
    dense = [{**line, "balance": 1.0, "router_loss": 0.0} if line["kind"] == "step" else line for line in WHOLE]
    command([write_lines(tmp_path / "dense", dense)])
    assert "busiest expert" not in drawn(tmp_path / "dense" / "run.svg")
    command([write_lines(tmp_path / "experts", WHOLE)])
    assert "busiest expert" in drawn(tmp_path / "experts" / "run.svg")


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_pictures_are_what_their_names_say_and_the_same_for_the_same_run(tmp_path, capsys, suffix, magic):
    folder, picture = write_lines(tmp_path / "it", WHOLE), tmp_path / f"picture{suffix}"
    command([folder], picture=picture)
    first = picture.read_bytes()
    assert first.startswith(magic)
    command([folder], picture=picture)
    assert picture.read_bytes() == first
    assert f"Picture: {picture}" in capsys.readouterr().out
    assert not (folder / "run.svg").exists()


def test_marks_and_names_that_a_picture_could_stumble_over(tmp_path, capsys):
    marks = [{"kind": kind, "step": 2, "time": 8.0} for kind in ("skip", "watch", "rewind", "checkpoint", "new")]
    folder = write_lines(tmp_path / "_a$b$ [bold]", [{**WHOLE[0], "run": None}, *WHOLE[1:], *marks])
    other = write_lines(tmp_path / "other", WHOLE)
    command([folder])
    words = drawn(folder / "run.svg")
    assert "_a$b$ [bold]: 4 steps" in words
    for said in ("step skipped (1)", "something seen by the watch (1)", "gone back (1)", "checkpoint (1)"):
        assert said in words
    command([folder, other])
    assert "_a$b$ [bold]: 2.733" in drawn(folder / "compared.svg")
    assert "_a$b$ [bold]" in capsys.readouterr().out


def test_pictures_that_cannot_be_written_are_refused_before_anything_is_read(tmp_path):
    for picture in (tmp_path / "run.gif", tmp_path / "none" / "run.svg"):
        with pytest.raises(SpecError, match=r"name a \.svg, \.png or \.pdf file in a folder that is there"):
            command([tmp_path / "nothing"], picture=picture)
    (tmp_path / "run.svg").mkdir()
    with pytest.raises(SpecError, match="cannot be written"):
        command([write_lines(tmp_path / "it", WHOLE)], picture=tmp_path / "run.svg")


def test_a_folder_without_a_run_is_answered_in_one_line(tmp_path):
    done = lindos("train", "plot", str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path}/metrics.jsonl: cannot be read (No such file or directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_plot_stands_beside_run_files():
    assert understood("train plot a b") == (
        "train plot",
        {"folders": [Path("a"), Path("b")], "picture": None, "as_json": False},
    )
    for line in ("train ./plot --resume", "train --resume ./plot", "train --out plot ./plot --resume"):
        name, given = understood(line)
        assert (name, given["run_file"], given["resume"]) == ("train", Path("plot"), True)
    help_of_training = lindos("train", "--help").stdout
    assert "lindos train [OPTIONS] {RUN.toml}" in help_of_training
    assert "--dry-run" in help_of_training
    assert "`lindos train plot DIR` draws" in help_of_training
    nothing = lindos("train", "plot")
    assert nothing.returncode == 2
    assert "lindos train plot [OPTIONS]" in nothing.stderr
    assert "Missing argument 'DIR'" in nothing.stderr

"""What a journal tells of its run: legs, ends, and an account of the time that adds up, whatever happened to it."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from lindos.specs import SpecError
from lindos.train import CheckpointError, Journal, RunFile, Trainer, TrainingError
from lindos.train.history import PARTS, read_history, smoothed
from lindos.train.picture import draw_runs
from lindos.train.saving import held

AS_OFTEN = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def journal(folder: Path) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    return Journal(folder / "metrics.jsonl", Console(file=io.StringIO()))


def write_lines(folder: Path, lines: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def kinds(folder: Path) -> list[str]:
    return [line["kind"] for line in Journal.read(folder / "metrics.jsonl")]


@dataclass
class Simulated:
    """A run that writes its journal by a clock of its own, and knows where the time went."""

    journal: Journal
    clock: Any
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    standing: list[float] = field(default_factory=list)
    saved: int = 0
    orderly: bool = False

    def begin(self, away: float = 0.0) -> None:
        """A leg, `away` seconds after the last sign of life: what was not saved is done again."""
        lost = sum(self.standing[self.saved :])
        self.spent["redone"] += lost
        self.spent["training"] -= lost
        self.spent["paused" if self.orderly else "down"] += away
        self.clock.now += away
        self.standing, self.orderly = self.standing[: self.saved], False
        self.journal.rewind(self.saved)
        self.journal.write("leg", step=self.saved)

    def step(self, seconds: float) -> None:
        self.clock.now += seconds
        self.spent["training"] += seconds
        self.standing.append(seconds)
        self.journal.write("step", step=len(self.standing) - 1, loss=1.0, seconds=seconds)

    def between(self, seconds: float) -> None:
        """Something that is no step, and whose line stands whichever step the run goes on from."""
        self.clock.now += seconds
        self.spent["other"] += seconds
        self.journal.write("watch", step=len(self.standing), what="slow", rank=0, text="")

    def save(self) -> None:
        self.saved = len(self.standing)

    def stop(self) -> None:
        self.save()
        self.orderly = True
        self.journal.end(self.saved, "signal")

    def fail(self) -> None:
        self.journal.end(len(self.standing), "error")


class Clock:
    def __init__(self) -> None:
        self.now = 1.7e9

    def time(self) -> float:
        return self.now


seconds = st.floats(0.001, 1e5)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("step"), seconds),
        st.tuples(st.just("step"), seconds),
        st.tuples(st.just("between"), seconds),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.sampled_from(["killed", "stopped", "failed"]), seconds),
    ),
    max_size=40,
)


@AS_OFTEN
@given(happenings)
def test_the_account_says_where_the_time_of_any_run_went(tmp_path, happened):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        patch.setattr("lindos.train.journal.time", clock)
        run = Simulated(journal(Path(folder)), clock)
        run.begin()
        legs: list[str | None] = []
        for what, value in happened:
            if what in ("killed", "stopped", "failed"):
                {"killed": lambda: None, "stopped": run.stop, "failed": run.fail}[what]()
                legs.append({"killed": None, "stopped": "signal", "failed": "error"}[what])
                run.begin(value)
            else:
                getattr(run, what)(*([] if value is None else [value]))
        run.step(1.0)
        history = read_history(Path(folder))
    account = history.account
    assert account is not None
    assert account.parts == pytest.approx(run.spent, rel=1e-6, abs=1e-3)  # a clock since 1970 has microseconds
    assert account.total == pytest.approx(clock.now - 1.7e9, rel=1e-9, abs=1e-6)
    assert len(history.step) == len(run.standing)
    assert [leg.why for leg in history.legs] == [*legs, None]
    assert history.faults == len(legs) - legs.count("signal")
    assert account.course[-1] == pytest.approx(account.goodput)
    assert account.running[-1] == pytest.approx(account.goodput_running)


anything = st.fixed_dictionaries(
    {"kind": st.sampled_from(["leg", "step", "evaluation", "end", "lost", "skip", "checkpoint", "rewind", "watch"])},
    optional={
        "step": st.integers(-2, 30),
        "seconds": st.floats(allow_nan=True),
        "steps": st.one_of(st.floats(), st.integers()),
        "why": st.sampled_from(["schedule", "leg", "signal", "error", "tea"]),
        "loss": st.floats(),
        "balance": st.floats(),
        "tokens": st.integers(),
    },
)


@AS_OFTEN
@given(st.lists(st.tuples(anything, st.floats(0, 2e9)), min_size=1))
def test_the_parts_add_up_to_the_time_from_the_first_line_to_the_last_one(tmp_path, lines):
    """Also of lines that make no sense, and of clocks that are set back."""
    lines.append(({"kind": "step", "step": 3}, lines[-1][1]))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        write_lines(Path(folder), [{**line, "time": at} for line, at in lines])
        account = read_history(Path(folder)).account
    assert account is not None
    times = [at for _, at in lines]
    assert account.total == pytest.approx(max(times) - times[0])
    assert min(account.parts.values()) >= 0


WHOLE = [
    {"kind": "leg", "step": 0, "time": 1.0,
     "run": {"name": "it", "schedule": {"steps": 4}, "optimizer": {"clip": 1.0}}},
    *({"kind": "step", "step": n, "tokens": 8 * n + 8, "loss": 5.0 - n, "router_loss": 0.1, "balance": 1.5, "norm": 2.0,
       "seconds": 1.0, "tokens_per_s": 8.0, "time": 2.0 + n} for n in range(4)),
    {"kind": "evaluation", "step": 3, "loss": 2.0, "time": 7.0},
    {"kind": "end", "step": 4, "why": "schedule", "time": 8.0},
]  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """The lines of a whole journal with fields changed, others between, and bytes overwritten."""
    lines: list[Any] = [dict(line) for line in WHOLE]
    for _ in range(draw(st.integers(0, 4))):
        line = draw(st.sampled_from(lines))
        if isinstance(line, dict) and line:
            line[draw(st.sampled_from(sorted(line)))] = draw(JSON)
        lines.insert(draw(st.integers(0, len(lines))), draw(JSON))
    data = bytearray("\n".join(json.dumps(line) for line in lines).encode())
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(len(data) // 2, len(data)))])


@settings(AS_OFTEN, max_examples=400)
@given(mangled())
def test_a_mangled_journal_is_read_as_far_as_it_makes_sense(tmp_path, data):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(data)
        try:
            history = read_history(Path(folder))
        except SpecError:
            steps = [line.get("step") for line in Journal.read(path) if line["kind"] == "step"]
            assert not any(type(step) is int and step in range(4) for step in steps)
            return
        assert len(history.step) == len(set(history.step.tolist()))
        assert all(len(curve) == len(history.step) for curve in history.curves.values())
        journal(Path(folder)).rewind(2)
        assert not any(
            line["kind"] in ("step", "skip", "evaluation") and line.get("step") in (2, 3) for line in Journal.read(path)
        )


@settings(AS_OFTEN, max_examples=25)
@given(mangled())
@pytest.mark.filterwarnings("ignore:Glyph")  # of names in scripts that the font lacks
def test_what_is_read_of_a_mangled_journal_can_be_drawn(tmp_path, data):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        (Path(folder) / "metrics.jsonl").write_bytes(data)
        try:
            history = read_history(Path(folder))
        except SpecError:
            return
    assert draw_runs([history], "svg").startswith(b"<?xml")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 10_000, '{"kind": "step", "step": ' + "9" * 5000 + "}", "3", '""']
)
def test_lines_that_json_itself_stumbles_over_are_passed_over(tmp_path, text):
    write_lines(tmp_path, WHOLE)
    path = tmp_path / "metrics.jsonl"
    path.write_text(text + "\n" + path.read_text() + text)
    assert read_history(tmp_path).step.tolist() == [0, 1, 2, 3]


def test_a_journal_without_steps_and_a_folder_without_a_journal_are_refused(tmp_path):
    with pytest.raises(SpecError, match=rf"{tmp_path}/metrics\.jsonl: cannot be read"):
        read_history(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(SpecError, match="holds no training step yet"):
        read_history(tmp_path)
    write_lines(tmp_path, WHOLE[:1])
    with pytest.raises(SpecError, match="holds no training step yet"):
        read_history(tmp_path)


def test_what_is_lost_at_a_resume_stays_as_one_line_in_its_place(tmp_path):
    write_lines(tmp_path, [*WHOLE[:5], {"kind": "checkpoint", "step": 1, "time": 5.5}, WHOLE[5]])
    journal(tmp_path).rewind(1)
    lines = Journal.read(tmp_path / "metrics.jsonl")
    assert lines[2:] == [
        {"kind": "lost", "step": 1, "steps": 3, "seconds": 3.0, "time": 5.0},
        {"kind": "checkpoint", "step": 1, "time": 5.5},
    ]


def test_balance_is_told_of_models_with_experts_only(tmp_path):
    dense = [{**line, "balance": 1.0, "router_loss": 0.0} if line["kind"] == "step" else line for line in WHOLE]
    assert not read_history(write_lines(tmp_path / "dense", dense)).balanced
    assert read_history(write_lines(tmp_path / "experts", WHOLE)).balanced
    even = [{**line, "balance": 1.0} if line["kind"] == "step" else line for line in WHOLE]
    assert read_history(write_lines(tmp_path / "even", even)).balanced


def test_smoothing_follows_a_steep_fall_and_skips_what_is_missing():
    assert smoothed(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    falling = 9 * np.exp(-np.arange(2000) / 50.0) + 3
    assert smoothed(falling)[200] < falling[200] + 0.15
    holes = smoothed(np.array([math.nan, 2.0, math.nan, 2.0]))
    assert math.isnan(holes[0])
    assert holes[1:].tolist() == pytest.approx([2.0, 2.0, 2.0])


def test_each_leg_says_why_it_ended(run_table, tmp_path, monkeypatch):
    run = RunFile.parse(run_table)
    Trainer(run, tmp_path).train(steps=2)
    stopped = Trainer(run, tmp_path, resume=True)
    monkeypatch.setattr(stopped.journal, "tell_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert stopped.train() == 3
    failing = Trainer(run, tmp_path, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(failing, "_one_step", _raise)
        with pytest.raises(TrainingError, match="as told"):
            failing.train()
    Trainer(run, tmp_path, resume=True).train()
    history = read_history(tmp_path)
    assert [(leg.step, leg.reached, leg.why) for leg in history.legs] == [
        (0, 2, "leg"), (2, 3, "signal"), (3, 3, "error"), (3, 12, "schedule"),
    ]  # fmt: skip
    assert history.faults == 1
    assert history.account is not None
    assert history.account.paused > 0
    assert history.account.down > 0


def _raise() -> None:
    raise TrainingError("as told")


def test_a_disk_that_fails_at_the_end_does_not_hide_why_the_run_ended(run_table, tmp_path, monkeypatch):
    trainer = Trainer(RunFile.parse(run_table), tmp_path)
    monkeypatch.setattr(trainer, "_one_step", _raise)
    monkeypatch.setattr(trainer.journal, "path", tmp_path / "checkpoints" / "none" / "metrics.jsonl")
    with pytest.raises(TrainingError, match="as told"):
        trainer.train()
    assert kinds(tmp_path) == ["leg"]


def test_who_is_refused_a_folder_writes_no_end_into_it(run_table, tmp_path):
    trainer = Trainer(RunFile.parse(run_table), tmp_path)
    with held(tmp_path), pytest.raises(CheckpointError, match="another process trains there"):
        trainer.train()
    assert kinds(tmp_path) == ["leg"]

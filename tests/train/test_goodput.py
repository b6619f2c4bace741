"""Goodput as a journal tells it, beside the planner's closed form at the rates that the same journal tells."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lindos.plan.goodput import training_share
from lindos.train.history import History, read_history
from tests.train.test_history import write_lines

STEP, STALL, EVERY = 1.0, 2.0, 40
"""Seconds of a step and of a checkpoint's hold-up; steps between checkpoints."""


def faulted(folder: Path, mean: float, restart: float, faults: int, seed: int) -> History:
    """The history of a run that meets so many faults, in simulated time."""
    chance = random.Random(seed)
    now, step, lines = 0.0, 0, [{"kind": "leg", "step": 0, "time": 0.0}]
    for _ in range(faults):
        until = now + chance.expovariate(1 / mean)
        since: list[dict[str, Any]] = []
        while now + STEP <= until:
            now += STEP
            since.append({"kind": "step", "step": step, "seconds": STEP, "loss": 1.0, "time": now})
            step += 1
            if step % EVERY == 0:
                now += STALL
                lines += [*since, {"kind": "checkpoint", "step": step, "seconds_held_up": STALL, "time": now}]
                since = []
        if since:
            lost = {"kind": "lost", "step": since[0]["step"], "steps": len(since), "seconds": STEP * len(since)}
            lines.append({**lost, "time": now})
            step = since[0]["step"]
        now = until + restart
        lines.append({"kind": "leg", "step": step, "time": now})
    return read_history(write_lines(folder, lines))


@pytest.mark.parametrize(("mean", "restart", "apart"), [(500.0, 30.0, 0.02), (200.0, 10.0, 0.03), (150.0, 2.0, 0.04)])
def test_the_closed_form_is_what_faults_leave(tmp_path: Path, mean: float, restart: float, apart: float):
    history = faulted(tmp_path, mean, restart, faults=200, seed=1)
    account, met = history.account, history.rates
    assert account is not None
    assert met is not None
    assert met.rate == pytest.approx(1 / (mean + restart), rel=0.15)
    assert met.restart == pytest.approx(restart, abs=STEP)
    assert met.interval == pytest.approx(EVERY * STEP + STALL, rel=0.05)
    assert met.stall == STALL
    formula = training_share(met.rate, met.restart, met.interval, met.stall)
    assert account.goodput_running == pytest.approx(formula, rel=apart)  # it is of first order in interval / mean


def test_without_faults_or_checkpoints_there_is_nothing_to_compare(tmp_path: Path):
    steps = [{"kind": "step", "step": n, "seconds": 1.0, "loss": 1.0, "time": float(n)} for n in range(9)]
    legs = [{"kind": "leg", "step": 0, "time": -1.0}]
    assert read_history(write_lines(tmp_path / "one", [*legs, *steps])).rates is None
    faulty = [*legs, *steps, {"kind": "leg", "step": 9, "time": 20.0}]
    assert read_history(write_lines(tmp_path / "two", faulty)).rates is None
    assert json.loads((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()[0])["kind"] == "leg"

"""A run's figures in TensorBoard: those of the journal, also after a kill; nothing without being asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorboard", reason="an extra")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lindos.specs import SpecError
from lindos.train import Journal, RunFile, Trainer


def shown(folder: Path) -> dict[str, dict[int, list[float]]]:
    """By tag: what stands at each step."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[str, dict[int, list[float]]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found.setdefault(tag, {}).setdefault(event.step, []).append(event.value)
    return found


def journalled(folder: Path) -> dict[str, dict[int, list[float]]]:
    """What ought to stand there."""
    found: dict[str, dict[int, list[float]]] = {}
    for line in Journal.read(folder / "metrics.jsonl"):
        if line["kind"] in ("step", "evaluation"):
            for name in line.keys() - {"kind", "step", "time"}:
                found.setdefault(f"{line['kind']}/{name}", {})[line["step"]] = [line[name]]
    return found


def assert_same(folder: Path) -> None:
    there, wanted = shown(folder), journalled(folder)
    assert there.keys() == wanted.keys()
    for tag, values in wanted.items():
        assert there[tag].keys() == values.keys(), tag
        for step, value in values.items():
            assert there[tag][step] == pytest.approx(value, rel=1e-6), (tag, step)


def test_what_stands_in_the_journal_stands_in_tensorboard_also_after_a_resume(run_table, tmp_path):
    run = RunFile.parse({**run_table, "log": {"tensorboard": True}})
    killed = Trainer(run, tmp_path)
    killed.train(steps=4)
    for _ in range(3):
        killed._one_step()  # as if killed now: nothing saved of these
    assert len(shown(tmp_path)["step/loss"]) == 7
    Trainer(run, tmp_path, resume=True).train(steps=2)
    assert_same(tmp_path)  # one step less than stood there before
    Trainer(run, tmp_path, resume=True).train()
    assert_same(tmp_path)
    assert sorted(shown(tmp_path)["step/loss"]) == list(range(12))


def test_logging_is_no_part_of_what_a_run_is(run_table, tmp_path):
    Trainer(RunFile.parse(run_table), tmp_path).train(steps=2)
    assert not (tmp_path / "tensorboard").exists()
    logged = RunFile.parse({**run_table, "log": {"tensorboard": True}})
    assert Trainer(logged, tmp_path, resume=True).train(steps=2) == 4
    assert sorted(shown(tmp_path)["step/loss"]) == [2, 3]
    assert Trainer(RunFile.parse(run_table), tmp_path, resume=True).train(steps=2) == 6


def test_without_the_package_nothing_begins(run_table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SpecError, match=r'log\.tensorboard: .*pip install "lindos\[tensorboard\]"'):
        Trainer(RunFile.parse({**run_table, "log": {"tensorboard": True}}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    Trainer(RunFile.parse(run_table), tmp_path / "out")  # who does not ask for it needs no package


def test_the_section_knows_its_keys(run_table):
    with pytest.raises(SpecError, match=r"log\.tensorbord: unknown field; did you mean 'tensorboard'"):
        RunFile.parse({**run_table, "log": {"tensorbord": True}})

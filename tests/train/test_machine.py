"""What a run computes on: chosen, recorded, and changed between legs."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from lindos.model.hardware import multiplies_bf16, product_dtype
from lindos.specs import SpecError
from lindos.train import Journal, RunFile, Trainer
from lindos.train.machine import prepare_platform
from lindos.train.run_file import MachineSection


def test_auto_takes_the_format_the_machine_multiplies(monkeypatch):
    assert product_dtype() == (torch.bfloat16 if multiplies_bf16() else torch.float32)
    for units, dtype in (({"avx2": True}, torch.float32), ({"avx2": True, "amx_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units)
        platform = prepare_platform(MachineSection(threads=1, device="cpu"))
        assert platform.dtype == dtype
        assert platform.environment()["precision"] == ("bf16" if dtype == torch.bfloat16 else "fp32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="an accelerator is here")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match=r"machine\.device: 'cuda' was asked for"):
        prepare_platform(MachineSection(device="cuda"))


def test_a_run_moves_to_another_format_between_legs_and_says_so(run_table, tmp_path):
    told = Console(file=io.StringIO(), width=200)
    for precision, steps in (("bf16", 4), ("fp32", None)):
        run_table["machine"]["precision"] = precision
        Trainer(RunFile.parse(run_table), tmp_path, resume=True, console=told).train(steps=steps)
    lines = Journal.read(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(12))
    assert [line["environment"]["precision"] for line in lines if line["kind"] == "leg"] == ["bf16", "fp32"]
    assert isinstance(told.file, io.StringIO)
    assert "(precision bf16 then, fp32 now): losses continue, but not bit for bit" in told.file.getvalue()


@pytest.mark.gpu
def test_a_run_on_an_accelerator_learns_and_continues(run_table, tmp_path):
    run_table["machine"] = {"device": "cuda", "precision": "bf16"}
    run = RunFile.parse(run_table)
    Trainer(run, tmp_path / "whole").train()
    for _ in range(2):
        Trainer(run, tmp_path / "legs", resume=True).train(steps=6)
    whole, legs = (
        [line["loss"] for line in Journal.read(tmp_path / name / "metrics.jsonl") if line["kind"] == "step"]
        for name in ("whole", "legs")
    )
    assert whole[-1] < whole[0] - 0.3
    assert legs == pytest.approx(whole, rel=1e-2)

"""`lindos evaluate` and `lindos data conversations`, as one calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import typer
from typer.testing import CliRunner

from lindos.cli import evaluate as verb


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(verb.command)
    return made


def test_figures_are_kept_and_the_card_is_written_from_them(tiny_model_dir: Path, root: Path, tmp_path: Path):
    model, kept = tmp_path / "model", tmp_path / "figures.json"
    shutil.copytree(tiny_model_dir, model)
    call = [str(model), "--root", str(root), "--json", str(kept)]
    first = CliRunner().invoke(app(), [*call, "--tasks", "blimp,lambada", "--limit", "8"])
    assert first.exit_code == 0, first.output
    assert "blimp" in first.output
    assert "chance" in first.output
    second = CliRunner().invoke(app(), [*call, "--tasks", "none", "--card"])
    assert second.exit_code == 0, second.output
    assert [task["task"] for task in json.loads(kept.read_text(encoding="utf-8"))["tasks"]] == ["blimp", "lambada"]
    assert "BLiMP" in (model / "MODEL_CARD.md").read_text(encoding="utf-8")

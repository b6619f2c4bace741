"""`lindos evaluate` and `lindos data conversations`, as one calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import typer
from typer.testing import CliRunner

from lindos.cli import evaluate as verb
from lindos.model.formats import check_directory


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
    assert check_directory(model) > 3
    (tmp_path / "limits.md").write_text("- It only knows nothing.\n", encoding="utf-8")
    third = CliRunner().invoke(app(), [*call, "--tasks", "none", "--card", "--limits", str(tmp_path / "limits.md")])
    assert third.exit_code == 0, third.output
    assert "It only knows nothing." in (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert check_directory(model) > 3


def test_figures_of_other_weights_are_refused_before_anything_is_measured(
    tiny_model_dir: Path, root: Path, tmp_path: Path
):
    kept = tmp_path / "figures.json"
    call = ["--root", str(root), "--json", str(kept), "--tasks", "lambada"]
    assert CliRunner().invoke(app(), [str(tiny_model_dir), *call]).exit_code == 0
    table = json.loads(kept.read_text(encoding="utf-8"))
    kept.write_text(json.dumps({**table, "weights": "other"}), encoding="utf-8")
    (root / "eval" / "gauntlet" / "never").mkdir(exist_ok=True)
    found = CliRunner().invoke(app(), [str(tiny_model_dir), *call[:4], "--tasks", "lambada"])
    assert found.exit_code == 1
    assert "of other weights" in str(found.exception)
    assert "LAMBADA" not in found.output  # no progress line: nothing was begun

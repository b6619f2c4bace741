"""The loss curve of a run's legs as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from lindos.evaluate.scoring import EvaluationError

matplotlib.use("Agg", force=False)

from matplotlib.figure import Figure as Picture


@dataclass(frozen=True)
class RunRecord:
    """What a run's journal (`metrics.jsonl`) tells."""

    name: str
    settings: dict[str, Any]
    environments: tuple[dict[str, Any], ...]
    steps: tuple[dict[str, Any], ...]
    """Lines with step, tokens, loss, seconds, ..."""
    evaluations: tuple[dict[str, Any], ...]

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return int(self.steps[-1].get("tokens", 0)) if self.steps else 0

    @property
    def hours(self) -> float:
        """Time spent in steps."""
        return sum(float(step.get("seconds", 0.0)) for step in self.steps) / 3600


def read_run(path: Path) -> RunRecord:
    """Read a journal, or the folder that holds one. A last line cut off is dropped. Raises EvaluationError."""
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: cannot be read as a run's journal: {error}") from None
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    steps = [row for row in rows if isinstance(row.get("loss"), int | float) and row.get("kind", "step") == "step"]
    if not steps:
        raise EvaluationError(f"{path}: holds no training steps")
    legs = [row for row in rows if row.get("kind") == "leg"]
    settings = legs[-1].get("run") if legs else None
    settings = settings if isinstance(settings, dict) else {}
    return RunRecord(
        name=str(settings.get("name") or path.parent.name),
        settings=settings,
        environments=tuple(leg["environment"] for leg in legs if isinstance(leg.get("environment"), dict)),
        steps=tuple(steps),
        evaluations=tuple(row for row in rows if row.get("kind") == "evaluation"),
    )


def draw_losses(runs: Sequence[RunRecord], path: Path) -> None:
    """Write a picture (by its suffix: .svg or .png), one panel a run: training loss, smoothed, and held-out loss."""
    picture = Picture(figsize=(5.2 * len(runs), 3.4), layout="constrained")
    axes = picture.subplots(1, len(runs), squeeze=False)[0]
    for axis, run in zip(axes, runs, strict=True):
        tokens = [step.get("tokens", step.get("step", 0)) / 1e6 for step in run.steps]
        losses = [float(step["loss"]) for step in run.steps]
        axis.plot(tokens, losses, color="#9db7d5", linewidth=0.6, label="training, each step")
        axis.plot(tokens, _smoothed(losses), color="#1f4e79", linewidth=1.6, label="training, smoothed")
        if run.evaluations:
            axis.plot(
                [row.get("tokens", 0) / 1e6 for row in run.evaluations],
                [row["loss"] for row in run.evaluations],
                color="#c0504d",
                marker="o",
                markersize=3,
                linewidth=1,
                label="held-out",
            )
        axis.set(title=run.name, xlabel="million tokens", ylabel="loss, nats a token")
        axis.set_ylim(top=min(max(losses), _smoothed(losses)[min(len(losses) - 1, 20)] * 1.4 + 0.2))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A picture of the same runs is the same file: no date, no random ids.
        with matplotlib.rc_context({"svg.hashsalt": "lindos", "svg.fonttype": "none"}):
            picture.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None}, dpi=120)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written: {error}") from None


def _smoothed(losses: Sequence[float], share: float = 0.02) -> list[float]:
    """An exponential mean over about `share` of the run, without the pull of its start."""
    keep = 1 - 1 / max(2.0, share * len(losses))
    mean = weight = 0.0
    smooth: list[float] = []
    for loss in losses:
        mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        smooth.append(mean / weight)
    return smooth

"""What an evaluation leaves behind: figures with their intervals, answers, and what they were measured on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lindos.evaluate.scoring import EvaluationError
from lindos.specs import ModelSpec, Spec, SpecError

FORMAT = "lindos-evaluation-1"


class Figure(Spec):
    """One number: a share with its 95% interval and what chance gives, or a plain value."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int
    """Questions it is taken over."""
    chance: float | None = None
    groups: dict[str, float] = Field(default_factory=dict)


class TaskResult(Spec):
    """All figures of one evaluation set."""

    task: str
    figures: tuple[Figure, ...]
    limit: int | None = None
    """Questions taken of each group; None for all."""
    seconds: float = 0.0


class BitsResult(Spec):
    """Held-out text of one group: how many bits the model needs for one byte of it."""

    data: str
    group: str
    bits_per_byte: float
    nats_per_token: float
    tokens: int
    whole: bool = True
    """False when only the beginning was measured."""


class Answer(Spec):
    """What the model said to a fixed question, unedited."""

    kind: str
    ask: str
    answer: str
    tokens: int
    finish: Literal["stop", "length"]


class Evaluation(Spec):
    """Everything measured on one model."""

    format: str = FORMAT
    model: ModelSpec
    tasks: tuple[TaskResult, ...] = ()
    bits: tuple[BitsResult, ...] = ()
    answers: tuple[Answer, ...] = ()
    system: str = ""
    """The system message the answers were given under."""
    weights: str = ""
    """A digest of the weights that were measured."""
    environment: dict[str, Any] = Field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"{path}: cannot be written: {error}") from None

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what `save` wrote. Raises EvaluationError."""
        try:
            found = cls.parse(json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, SpecError):
                raise EvaluationError(str(error)) from None
            raise EvaluationError(f"{path}: cannot be read as an evaluation: {error}") from None
        if found.format != FORMAT:
            raise EvaluationError(f"{path}: is of format {found.format!r}, this version reads {FORMAT!r}")
        return found

    def merged(self, other: Evaluation) -> Evaluation:
        """This evaluation, with what `other` measured in place of its own.

        Raises EvaluationError where the two were taken on different weights: figures of two models make no card.
        """
        if (self.model, self.weights) != (other.model, other.weights):
            raise EvaluationError(
                f"the figures kept of {self.model.name} are of other weights; keep those of these in another file"
            )
        tasks = {each.task: each for each in (*self.tasks, *other.tasks)}
        bits = {(each.data, each.group): each for each in (*self.bits, *other.bits)}
        return other.model_copy(
            update={
                "tasks": tuple(tasks.values()),
                "bits": tuple(bits.values()),
                "answers": other.answers or self.answers,
                "system": other.system or self.system,
            }
        )

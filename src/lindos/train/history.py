"""What a run's journal tells, in numbers: its curves, its legs, and where the time went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lindos.specs import SpecError
from lindos.train.journal import JOURNAL, Journal, figure

FIGURES = ("tokens", "loss", "router_loss", "balance", "norm", "seconds", "tokens_per_s")
MARKS = ("skip", "watch", "rewind", "checkpoint")
"""Kinds of lines that are worth a mark where they stand; checkpoints in memory are too many for that."""
ORDERLY = ("schedule", "leg", "signal")
"""Ends of a leg that somebody wanted."""
PARTS = ("training", "other", "redone", "down", "paused")
MOST_STEPS = 2**53


@dataclass(frozen=True)
class Leg:
    """What one process did of a run, from a start or resume on."""

    step: int
    """Where it began."""
    reached: int
    """Where it ended: this many steps were done."""
    began: float
    """Seconds since 1970; NaN where the journal has no times."""
    pause: float
    """Seconds since the last line of the leg before; NaN where unknown, 0 in the first."""
    why: str | None
    """`schedule`, `leg`, `signal` or `error`; None where no end was noted: killed, or still running."""

    @property
    def orderly(self) -> bool:
        """Whether it ended as somebody wanted."""
        return self.why in ORDERLY


@dataclass(frozen=True)
class Account:
    """Where the wall time between the first line and the last one went, in seconds."""

    training: float
    """In steps that count."""
    other: float
    """Evaluations, samples, waiting for checkpoints, and whatever else happened between steps."""
    redone: float
    """In steps that were done again later."""
    down: float
    """From the last sign of life of a leg that died until the next one had started."""
    paused: float
    """The same after a leg that ended as somebody wanted: nothing failed, nobody was training."""
    course: np.ndarray
    """Of each step that counts: the share of the time until then that went into steps that count."""
    running: np.ndarray
    """The same, without pauses."""

    @property
    def parts(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in PARTS}

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def goodput(self) -> float:
        """Share of all time that went into steps that count."""
        return _share(self.training, self.total)

    @property
    def goodput_running(self) -> float:
        """The same share of the time in which the run was meant to run."""
        return _share(self.training, self.total - self.paused)


@dataclass(frozen=True)
class Faults:
    """How often a run was interrupted, and what each interruption and each checkpoint cost, in seconds."""

    rate: float
    """Interruptions a second of the time it was meant to run."""
    restart: float
    """From a fault until training went on."""
    interval: float
    """Between checkpoints."""
    stall: float
    """What a checkpoint holds up."""


@dataclass(frozen=True)
class History:
    """One run, as its journal tells it."""

    folder: Path
    settings: dict[str, Any]
    """The run file of the last leg."""
    step: np.ndarray
    """The steps that count, rising; each array of `curves` has a value, or NaN, for each of them."""
    curves: dict[str, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]
    """Steps, and the loss on held-out text after them."""
    marks: dict[str, np.ndarray]
    """By kind of mark: the steps it stands at."""
    legs: tuple[Leg, ...]
    redone: int
    """Steps that were done more than once, with repetition."""
    account: Account | None
    """None where lines have no time: versions before wrote none."""

    stall: float = 0.0
    """Seconds that a checkpoint holds training up, the middle of all."""

    @property
    def rates(self) -> Faults | None:
        """What a formula of goodput wants to know; None where there were no faults, or no checkpoints."""
        account, saved = self.account, np.unique(self.marks["checkpoint"])
        if account is None or not self.faults or len(saved) < 2 or not len(self.step):
            return None
        meant = account.total - account.paused
        each = (account.training + account.other) / len(self.step)
        return Faults(
            rate=self.faults / meant,
            restart=account.down / self.faults,
            interval=float(np.median(np.diff(saved))) * each,
            stall=self.stall,
        )

    @property
    def name(self) -> str:
        return str(self.settings.get("name") or self.folder.resolve().name)

    @property
    def reached(self) -> int:
        """The last step that anything is told of, from 1: one that was skipped may come after those that count."""
        return 1 + int(max(steps.max(initial=0) for steps in (self.step, self.held_out[0], self.marks["skip"])))

    @property
    def planned(self) -> int | None:
        """Steps of the whole run, where that is known."""
        schedule = self.settings.get("schedule")
        steps = figure(schedule, "steps") if isinstance(schedule, dict) else math.nan
        return int(steps) if steps > 0 else None

    @property
    def balanced(self) -> bool:
        """Whether there are experts to balance: a dense model's steps all say 1, and no loss of a router."""
        balance, router = self.curves["balance"], self.curves["router_loss"]
        known = np.isfinite(balance)
        return bool(known.any() and not ((balance[known] == 1).all() and np.nan_to_num(router).any() == 0))

    @property
    def faults(self) -> int:
        """Legs that died and were followed by another."""
        return sum(not leg.orderly for leg in self.legs[:-1])


def read_history(folder: Path) -> History:
    """Read a run's folder. Raises SpecError where there is no journal, or none with steps in it."""
    path = folder / JOURNAL
    try:
        lines = Journal.read(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); name the folder of a run") from None
    standing = _standing(lines)
    if not standing:
        raise SpecError(f"{path}: holds no training step yet; nothing to draw")
    steps = np.array(list(standing))
    order = np.argsort(steps)
    chosen = [lines[index] for index in np.array(list(standing.values()))[order]]
    return History(
        folder=folder,
        settings=_settings(lines),
        step=steps[order],
        curves={name: np.array([figure(line, name) for line in chosen]) for name in FIGURES},
        held_out=_held_out(lines),
        marks={kind: np.array([at for line in _of(lines, kind) if (at := step_of(line)) is not None
                               and line.get("where") != "memory"], int) for kind in MARKS},
        legs=_legs(lines),
        redone=int(sum(_positive(line, "steps") for line in _of(lines, "lost"))),
        account=_account(lines, set(standing.values()), order),
        stall=_stall(lines),
    )  # fmt: skip


def _stall(lines: Sequence[dict[str, Any]]) -> float:
    found = [spent for line in _of(lines, "checkpoint") if (spent := figure(line, "seconds_held_up")) >= 0]
    return float(np.median(found)) if found else 0.0


def step_of(line: dict[str, Any]) -> int | None:
    """The step of a line, or None where it is none."""
    step = line.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < MOST_STEPS else None


def smoothed(values: np.ndarray, share: float = 0.02, reach: float = 0.05) -> np.ndarray:
    """An exponential mean over about `share` of the values, skipping those that are missing.

    At first, where losses fall steeply, over `reach` of the values so far: it would hang far above them otherwise.
    """
    mean = weight = 0.0
    smooth = np.empty(len(values))
    for index, value in enumerate(values.tolist()):
        if math.isfinite(value):
            keep = 1 - 1 / max(2.0, min(share * len(values), reach * index))
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        smooth[index] = mean / weight if weight else math.nan
    return smooth


def _of(lines: Iterable[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (line for line in lines if line["kind"] == kind)


def _standing(lines: Sequence[dict[str, Any]]) -> dict[int, int]:
    """By step that counts: the index of its line. Of two lines of a step, the later one."""
    found: dict[int, int] = {}
    for index, line in enumerate(lines):
        if line["kind"] == "step" and (step := step_of(line)) is not None:
            found.pop(step, None)  # so that the indices rise
            found[step] = index
    return found


def _settings(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tables = [table for line in _of(lines, "leg") if isinstance(table := line.get("run"), dict)]
    return tables[-1] if tables else {}


def _held_out(lines: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Of two evaluations after one step, the later one."""
    found = {}
    for line in _of(lines, "evaluation"):
        at, loss = step_of(line), figure(line, "loss")
        if at is not None and math.isfinite(loss):
            found[at] = loss
    pairs = sorted(found.items())
    return np.array([at for at, _ in pairs], int), np.array([loss for _, loss in pairs], float)


def _legs(lines: Sequence[dict[str, Any]]) -> tuple[Leg, ...]:
    """Lines before the first leg belong to none."""
    legs: list[Leg] = []
    last = math.nan
    for index, line in enumerate(lines):
        if line["kind"] == "leg":
            began, step = figure(line, "time"), step_of(line) or 0
            why, reached = _end(lines, index, step)
            pause = float(np.maximum(began - last, 0.0)) if legs else 0.0  # of NaN and 0: NaN
            legs.append(Leg(step, reached, began, pause, why))
        last = figure(line, "time")
    return tuple(legs)


def _end(lines: Sequence[dict[str, Any]], leg: int, step: int) -> tuple[str | None, int]:
    """Why and where the leg that begins at index `leg` ended. Steps after an end were another call of the same leg."""
    why, reached = None, step
    for line in lines[leg + 1 :]:
        at = step_of(line)
        if line["kind"] == "leg":
            break
        if line["kind"] in ("step", "skip") and at is not None:
            why, reached = None, max(reached, at + 1)
        elif line["kind"] == "lost" and at is not None:
            reached = max(reached, at + int(_positive(line, "steps")))
        elif line["kind"] == "end":
            why = str(line.get("why"))
    return why, reached


def _account(lines: Sequence[dict[str, Any]], standing: set[int], order: np.ndarray) -> Account | None:
    """Each stretch between two lines goes to what its later line says was done; what is over goes to what lay between.

    A clock that is set back stands still until it is where it was.
    """
    times = np.array([figure(line, "time") for line in lines])
    if not np.isfinite(times).all():
        return None
    stretches = np.diff(np.maximum.accumulate(times), prepend=times[0])
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    course, running = [], []
    idle = "other"
    for index, (line, stretch) in enumerate(zip(lines, stretches.tolist(), strict=True)):
        kind = line["kind"]
        idle = "down" if kind == "leg" and idle == "other" else idle
        work = min(stretch, _positive(line, "seconds")) if kind in ("step", "lost") else 0.0
        spent["training" if index in standing else "redone"] += work
        spent[idle] += stretch - work
        if index in standing:
            whole = sum(spent.values())
            course.append(_share(spent["training"], whole))
            running.append(_share(spent["training"], whole - spent["paused"]))
        idle = _after(line)
    return Account(**spent, course=np.array(course)[order], running=np.array(running)[order])


def _after(line: dict[str, Any]) -> str:
    """What the time after a line went into, as far as no step says otherwise."""
    if line["kind"] != "end":
        return "other"
    return "paused" if line.get("why") in ORDERLY else "down"


def _positive(line: dict[str, Any], name: str) -> float:
    value = figure(line, name)
    return value if value > 0 else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

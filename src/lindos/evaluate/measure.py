"""One evaluation from beginning to end: the model opened, tasks, held-out text and questions, with progress shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lindos.data import TokenDataset
from lindos.evaluate.answers import SYSTEM, answers, fixed_questions
from lindos.evaluate.bits import bits_per_byte
from lindos.evaluate.record import Evaluation
from lindos.evaluate.scoring import EvaluationError
from lindos.evaluate.tasks import TASKS, load_items, run_task
from lindos.model.formats import load_model, weights_digest
from lindos.specs import nearest
from lindos.text import Tokenizer, load_tokenizer

EVERYTHING = (*TASKS, "bits", "answers")
"""What can be measured, by the names that `--tasks` takes."""


def evaluate(
    directory: Path,
    *,
    tasks: Sequence[str] = EVERYTHING,
    root: Path | None = None,
    data: Sequence[Path] = (),
    limit: int | None = None,
    most_tokens: int = 120,
    device: str = "cpu",
    console: Console | None = None,
    keep: Callable[[Evaluation], object] | None = None,
) -> Evaluation:
    """Measure the model in `directory`.

    `root` is the data root whose `eval/` the tasks read; `data` are prepared sets whose held-out text gives bits per
    byte; `limit` takes only so many questions of each group of a task (and windows of each group of text); an
    answer ends after `most_tokens`. The network computes in fp32, whatever its weights are stored in. `keep` is handed
    what there is after each part, so that a failure in the last one loses nothing. Raises EvaluationError, and what
    opening the model or the data raises.
    """
    for name in tasks:
        if name not in EVERYTHING:
            close = nearest(name, EVERYTHING)
            hint = f"; did you mean '{close}'?" if close else ""
            raise EvaluationError(f"unknown task '{name}'{hint} (known: {', '.join(EVERYTHING)})")
    wanted = [TASKS[name] for name in tasks if name in TASKS]
    if wanted and root is None:
        raise EvaluationError("where the evaluation sets lie is not known: give --root FOLDER, or set LINDOS_SHARED")
    tokenizer: Tokenizer = load_tokenizer(directory)
    model = load_model(directory, dtype=torch.float32, device=chosen_device(device)).eval()
    held_out = [_held_out(folder, directory) for folder in data] if "bits" in tasks else []
    found = Evaluation(
        model=model.spec,
        weights=weights_digest(directory),
        environment={"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()},
    )

    def add(**more: Any) -> None:
        nonlocal found
        found = found.model_copy(update=more)
        if keep is not None:
            keep(found)

    add()  # figures that cannot be kept beside others are better refused now than after an hour
    with progress_bars(console or Console(stderr=True)) as bars:
        for task in wanted:
            line = bars.add_task(task.title, total=None)
            items = load_items(task, root or Path(), limit)
            began = time.monotonic()
            result = run_task(task, model, tokenizer, items, _on(bars, line))
            result = result.model_copy(update={"limit": limit, "seconds": time.monotonic() - began})
            add(tasks=(*found.tasks, result))
        for dataset in held_out:
            line = bars.add_task(f"held-out text of {dataset.meta.name}", total=len(dataset.parts))
            measured = bits_per_byte(model, dataset, limit=limit, progress=_on(bars, line))
            add(bits=(*found.bits, *measured))
        if "answers" in tasks:
            line = bars.add_task("questions", total=None)
            told = answers(model, tokenizer, fixed_questions(), most_tokens=most_tokens, progress=_on(bars, line))
            add(answers=told, system=SYSTEM)
    return found


def _held_out(folder: Path, model: Path) -> TokenDataset:
    """A data set's held-out text. Raises EvaluationError when it was made with another tokenizer than the model's."""
    dataset = TokenDataset.open(folder, split="heldout")
    theirs = model / "tokenizer.json"
    if theirs.is_file() and theirs.read_bytes() != (folder / "tokenizer.json").read_bytes():
        raise EvaluationError(f"{folder}: was made with another tokenizer than that of {model}")
    return dataset


def chosen_device(name: str) -> torch.device:
    """The device of that name. Raises EvaluationError where torch finds none."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EvaluationError(f"'{name}' is no device; use cpu or cuda") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise EvaluationError(f"device '{name}' was asked for, but torch finds none here; use cpu")
    return device


def _on(bars: Progress, line: TaskID):
    def show(done: int, total: int) -> None:
        bars.update(line, completed=done, total=total)

    return show


def progress_bars(console: Console) -> Progress:
    """A line for each part, with how much of it is done."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )

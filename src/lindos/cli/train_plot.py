"""`lindos train plot`: how training runs went, as a picture and a few figures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lindos.cli.files import check_picture, write_whole

if TYPE_CHECKING:
    from lindos.train.history import Account, History, Leg

MOST_LEGS = 12
"""Of a run with more the last ones are told; --json has all."""
ENDS = {
    "schedule": "end of the run",
    "leg": "end of its steps or minutes",
    "signal": "stopped by a signal",
    "error": "[bold]error[/bold]",
}


def command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="The folder of a run; several are drawn beside each other.")
    ],
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw into this file (.svg, .png, .pdf).  [default: DIR/run.svg; of several the first's compared.svg]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Draw a training run from its journal: losses, router balance, gradient norm, speed, and where the time went.

    Goodput is the share of the time since the run began that went into steps that count: not into evaluations,
    checkpoints, steps that were done again after a fault, nor the time from a fault until training went on. A run that
    ended as somebody wanted and was resumed later was paused; goodput is told with and without pauses.
    """
    from lindos.train.history import read_history
    from lindos.train.picture import draw_runs

    check_picture(picture)
    runs = [read_history(folder) for folder in folders]
    path = picture or folders[0] / ("run.svg" if len(runs) == 1 else "compared.svg")
    write_whole(path, draw_runs(runs, path.suffix[1:]))
    if as_json:
        print(json.dumps({"picture": str(path), "runs": [_document(run) for run in runs]}, indent=1))
        return
    _tell(runs, path, Console(highlight=False))


def _document(run: History) -> dict[str, Any]:
    """The figures of a run; null where the journal does not say."""
    from lindos.train.history import smoothed

    account = run.account
    return {
        "name": run.name,
        "folder": str(run.folder),
        "steps": run.reached,
        "planned_steps": run.planned,
        "tokens": int(tokens) if math.isfinite(tokens := run.curves["tokens"][-1]) else None,
        "loss": _known(smoothed(run.curves["loss"])[-1]),
        "held_out_loss": _known(run.held_out[1][-1]) if len(run.held_out[1]) else None,
        "balance": _known(smoothed(run.curves["balance"])[-1]) if run.balanced else None,
        "tokens_per_s": _known(_middle(run)),
        "marks": {kind: len(steps) for kind, steps in run.marks.items()},
        "redone_steps": run.redone,
        "faults": run.faults,
        "legs": [_leg(leg) for leg in run.legs],
        "goodput": account and _known(account.goodput),
        "goodput_without_pauses": account and _known(account.goodput_running),
        "goodput_by_formula": _by_formula(run),
        "seconds": account and {**account.parts, "total": account.total},
    }


def _by_formula(run: History) -> float | None:
    """What the planner's closed form gives for the faults that the run met."""
    from lindos.plan.goodput import training_share

    met = run.rates
    return None if met is None else training_share(met.rate, met.restart, met.interval, met.stall)


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "from_step": leg.step,
        "to_step": leg.reached,
        "began": _known(leg.began),
        "seconds_since_the_leg_before": _known(leg.pause),
        "ended": leg.why,
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _middle(run: History) -> float:
    """Tokens a second of the step in the middle: of the slow and the fast ones neither counts for more."""
    speeds = sorted(value for value in run.curves["tokens_per_s"].tolist() if math.isfinite(value))
    return speeds[len(speeds) // 2] if speeds else math.nan


def _tell(runs: Sequence[History], path: Path, console: Console) -> None:
    from lindos.train.picture import names_of

    names = [escape(name) for name in names_of(runs)]
    table = Table("", title_justify="left")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    columns = [_rows(run) for run in runs]
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns), end_section=row in ("restarts after faults", "all"))
    console.print(table)
    for name, run in zip(names, runs, strict=True):
        if run.account is None:
            console.print(f"{name}: no goodput, for its journal has lines without a time (older versions wrote none)")
        if len(run.legs) > 1:
            console.print(_legs(name, run.legs))
    console.print(f"Picture: {path}", markup=False, soft_wrap=True)


def _rows(run: History) -> dict[str, str]:
    from lindos.train.picture import amount

    told = _document(run)
    planned = f" of {run.planned:,}" if run.planned and run.planned != told["steps"] else ""
    return {
        "steps": f"{told['steps']:,}{planned}",
        "tokens": _written(told["tokens"], amount),
        "loss, smoothed": _written(told["loss"], "{:.4f}".format),
        "loss on held-out text": _written(told["held_out_loss"], "{:.4f}".format),
        "busiest expert (1 = even)": _written(told["balance"], "{:.2f}".format),
        "tokens/s": _written(told["tokens_per_s"], amount),
        "steps skipped": f"{told['marks']['skip']:,}",
        "steps redone": f"{run.redone:,}",
        "restarts after faults": f"{run.faults:,}",
        **_times(run.account),
        "goodput": _written(told["goodput"], "{:.1%}".format),
        "goodput without pauses": _written(told["goodput_without_pauses"], "{:.1%}".format),
        "the planner's formula, same faults": _written(told["goodput_by_formula"], "{:.1%}".format),
    }


def _times(account: Account | None) -> dict[str, str]:
    from lindos.train.journal import clock
    from lindos.train.picture import PARTS

    if account is None:
        return dict.fromkeys((*(label for label, _ in PARTS.values()), "all"), "-")
    whole = max(account.total, 1e-9)
    told = {PARTS[part][0]: f"{clock(spent)}  {spent / whole:>6.1%}" for part, spent in account.parts.items()}
    return {**told, "all": f"{clock(account.total)}  {'':>6}"}


def _written(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _legs(name: str, legs: Sequence[Leg]) -> Table:
    from lindos.train.journal import clock

    more = f"; {len(legs) - MOST_LEGS:,} before" if len(legs) > MOST_LEGS else ""
    table = Table("began", title=f"Legs of {name}{more}", title_justify="left")
    for column in ("after", "from step", "to step"):
        table.add_column(column, justify="right")
    table.add_column("ended")
    for leg in legs[-MOST_LEGS:]:
        pause = clock(leg.pause) if leg is not legs[0] and math.isfinite(leg.pause) else ""
        unknown = "no end yet" if leg is legs[-1] else "[bold]killed or crashed[/bold]"
        table.add_row(_moment(leg.began), pause, f"{leg.step:,}", f"{leg.reached:,}", ENDS.get(leg.why or "", unknown))
    return table


def _moment(seconds: float) -> str:
    """Here, by the clock on the wall."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):  # no time, or none that a calendar has
        return "-"

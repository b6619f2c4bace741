"""`lindos plan validate` and `lindos plan fit`: how right the planner is, and where its constants come from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lindos.cli.files import write_whole
from lindos.specs import SpecError

RowsFile = Annotated[
    Path | None,
    typer.Option("--rows", help="A CSV of runs with the columns of the shipped table. Default: the shipped table."),
]

PATIENCE = 2.0
"""Seconds of work without a word."""


def validate(
    rows: RowsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: one entry a row, and all tables.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots to this file.")] = None,
) -> None:
    """How right the planner is: every published run replayed, predicted beside measured.

    Each prediction has an 80% interval from the errors on the nearest runs that the fit had not seen. Rows that leave
    out what no default can stand in for are refused, with the reason.
    """
    from lindos.plan.constants import shipped_constants
    from lindos.plan.replay.published import read_rows
    from lindos.plan.replay.scoreboard import validate as replay
    from lindos.plan.report.scoreboard_page import scoreboard_page
    from lindos.plan.report.scoreboard_report import print_scoreboard

    runs = read_rows(rows)
    if not runs:
        raise SpecError(f"{rows}: the table has no rows")
    with _late_progress("replaying") as tell:
        board = replay(runs, shipped_constants(), table=str(rows) if rows else "The shipped table", tell=tell)
    if html is not None:
        write_whole(html, scoreboard_page(board))
    if as_json:
        typer.echo(board.model_dump_json(indent=1))
        return
    print_scoreboard(board, Console())
    if html is not None:
        typer.echo(f"{html}: the same with plots")


def fit(
    write: Annotated[
        Path | None, typer.Option("--write", help="Write constants.toml and residuals.csv into this folder.")
    ] = None,
    rows: RowsFile = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables as Markdown to this file.")
    ] = None,
) -> None:
    """Fit the planner's constants to published runs again, and judge the fit on runs it has not seen.

    The fit is repeated without each publisher and without each model, and those are predicted: a minute or two. The
    result depends on the table and on what is expected of the constants, not on their present values.
    """
    from lindos.plan.constants import shipped_constants, write_constants
    from lindos.plan.replay.published import read_rows
    from lindos.plan.replay.refit import refit
    from lindos.plan.replay.residuals import write_residuals
    from lindos.plan.report.scoreboard_report import markdown_tables, print_fit

    runs = read_rows(rows)
    if not runs:
        raise SpecError(f"{rows}: the table has no rows")
    if write is not None:
        _folder(write)
    with _progress() as bar:
        task = bar.add_task("fitting", total=None)

        def tell(name: str, done: int, total: int) -> None:
            description = f"fitting to {name}" if done == 0 else f"without {name}"
            bar.update(task, description=description, completed=done, total=total)

        fitted = refit(runs, shipped_constants(), tell)
    if write is not None:
        write_whole(write / "constants.toml", write_constants(fitted.constants))
        write_whole(write / "residuals.csv", write_residuals(fitted.residuals))
    if markdown is not None:
        write_whole(markdown, markdown_tables(fitted))
    print_fit(fitted, Console())
    if write is not None:
        typer.echo(f"{write}: constants.toml and residuals.csv")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def _late_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr that shows only where the work takes more than two seconds."""
    bar = _progress()
    task, begin = bar.add_task(description, total=None), time.monotonic()

    def tell(done: int, total: int) -> None:
        if done % 64 == 0 and time.monotonic() - begin > PATIENCE:
            bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()


def _folder(path: Path) -> None:
    """Make the folder, and find out now rather than after the fit whether it can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{path}: cannot be made: {error.strerror}") from None
    write_whole(path / ".lindos-plan-fit", "")
    (path / ".lindos-plan-fit").unlink(missing_ok=True)

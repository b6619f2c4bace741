"""`lindos plan validate` and `lindos plan fit` on a terminal of 100 columns, and the fit's tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from lindos.plan.replay.refit import Moved, Refit
from lindos.plan.replay.scoreboard import Scoreboard
from lindos.plan.replay.scoreboard_tables import Table
from lindos.plan.replay.scores import LeftOut, Score

LONGEST = 40
"""Characters of a name in a table."""
LINES = 24
"""Reasons for refusals listed; the rest is counted."""


def percent(value: float | None, *, sign: bool = False) -> str:
    """`5.3%`; a dash where there is no figure."""
    if value is None:
        return "-"
    return f"{100 * value:+.1f}%" if sign else f"{100 * value:.1f}%" if value < 9.995 else f"{value:.0f}x"


def print_scoreboard(board: Scoreboard, console: Console) -> None:
    """The summary first, then tables, then what was refused."""
    predicted = [row for row in board.rows if row.refused is None]
    timed = [row for row in predicted if row.measured_step_s]
    console.print(
        f"[bold]{escape(board.table)}[/bold]: {len(board.rows)} rows, {len(predicted)} predicted, {len(timed)} of them "
        f"with a measured time, {len(board.rows) - len(predicted)} refused",
        highlight=False,
    )
    if board.stated:
        share = percent(board.stated_predicted / board.stated)
        console.print(f"of {board.stated} GPU rows with a stated layout {share} predicted", highlight=False)
    for table in (*board.summary, *board.tables):
        if table.lines:
            console.print()
            console.print(_grid(table, summary=table in board.summary))
    _print_refusals(board, console)
    _print_words(board, console)


def _print_words(board: Scoreboard, console: Console) -> None:
    seen = any(row.seen for row in board.rows)
    lines = [
        "Errors are shares of the measured time; repeats of one run count once; bias above zero: predicted too slow."
    ]
    if seen:
        lines.append(
            "Runs of the shipped table went into the fit: judge by the columns with publisher or model unseen."
        )
    if any(row.extrapolated for row in board.rows):
        lines.append("Rows beyond 6,144 accelerators are extrapolated; their intervals are widened.")
    console.print()
    for line in lines:
        console.print(line, style="dim", highlight=False)


def _grid(table: Table, *, summary: bool) -> Grid:
    """The summary shows all three ways of predicting side by side; other tables the one that tells most."""
    if not any(line.unseen_publisher for line in table.lines):
        return _scores(table.title, [line.shown for line in table.lines])
    if not summary:
        some = [line.unseen_publisher for line in table.lines if line.unseen_publisher]
        return _scores(f"{table.title}, publisher unseen", some)
    grid = _headed(f"{table.title}: median, p90, held", ("groups", "as fitted", "publisher unseen", "model unseen"))
    for line in table.lines:
        three = [_three(score) for score in (line.shown, line.unseen_publisher, line.unseen_model)]
        grid.add_row(_short(line.name), str(line.shown.groups), *three)
    return grid


def _scores(title: str, scores: Iterable[Score]) -> Grid:
    grid = _headed(title, ("groups", "median", "p90", "bias", "held"))
    for score in scores:
        grid.add_row(_short(score.name), *_figures(score))
    return grid


def _headed(title: str, columns: Iterable[str]) -> Grid:
    grid = Grid(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    grid.add_column("", max_width=LONGEST, overflow="ellipsis", no_wrap=True)
    for column in columns:
        grid.add_column(column, justify="right", no_wrap=True)
    return grid


def _short(name: str) -> str:
    """A name within its column: its ends say more than its middle."""
    if len(name) > LONGEST:
        name = f"{name[:14]} .. {name[18 - LONGEST :]}"
    return escape(name)


def _figures(score: Score) -> list[str]:
    held = "-" if score.coverage is None else f"{100 * score.coverage:.0f}%"
    return [str(score.groups), percent(score.median), percent(score.p90), percent(score.bias, sign=True), held]


def _three(score: Score | None) -> str:
    if score is None:
        return "-"
    held = "-" if score.coverage is None else f"{100 * score.coverage:3.0f}%"
    p90 = "-" if score.p90 is None else f"{100 * score.p90:3.0f}%"
    return f"{percent(score.median)} {p90} {held}"


def _print_refusals(board: Scoreboard, console: Console) -> None:
    if not board.refusals:
        return
    console.print()
    if len(board.rows) == sum(board.refusals.values()):
        console.print("No row can be predicted:", highlight=False)
    else:
        console.print("[bold]Refused[/bold]")
    for reason, count in list(board.refusals.items())[:LINES]:
        console.print(f"{count:5}  {escape(reason)}", highlight=False, overflow="ellipsis", no_wrap=True)
    if len(board.refusals) > LINES:
        console.print(f"       and {len(board.refusals) - LINES} more reasons; --json has them all", style="dim")


def print_fit(fitted: Refit, console: Console) -> None:
    """The constants, then how right the fit is."""
    console.print(f"{fitted.rows} rows, {fitted.groups} runs without repeats", highlight=False)
    console.print()
    grid = Grid(title="Constants", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("", "value", "expected", "deviations", "unit"):
        grid.add_column(name, justify="left" if name in ("", "unit") else "right", no_wrap=name != "unit")
    for moved in fitted.moved:
        grid.add_row(*_moved(moved))
    console.print(grid)
    console.print()
    levels = Grid(title="Publishers' levels", title_justify="left", box=None, show_header=False, pad_edge=False)
    for name, value in fitted.levels.items():
        levels.add_row(name.replace("_", " "), f"{value:.3f}")
    console.print(levels)
    for title, scores in _tables(fitted):
        console.print()
        console.print(_scores(title, scores))
    if fitted.refused:
        console.print()
        told = "; ".join(f"{reason} ({count})" for reason, count in list(fitted.refused.items())[:LINES])
        console.print(f"Not fitted to: {escape(told)}", style="dim", highlight=False)


def _moved(moved: Moved) -> list[str]:
    return [moved.name, f"{moved.value:.4g}", f"{moved.expected:.4g}", f"{moved.deviations:+.1f}", escape(moved.unit)]


def _tables(fitted: Refit) -> list[tuple[str, Sequence[Score]]]:
    found: list[tuple[str, Sequence[Score]]] = [("Runs the fit has seen", fitted.seen)]
    for out in (fitted.publisher, fitted.model):
        found.append((f"Each {out.by} left out in turn", _kinds(out)))
        found.append((f"By {out.by} left out", out.each))
    return found


def _kinds(out: LeftOut) -> list[Score]:
    """The pooled lines and, under another name, the medians of each one's."""
    middles = [s.model_copy(update={"name": f"{s.name}, median {out.by}"}) for s in out.median_of_medians]
    return [*out.kinds, *middles]


def markdown_tables(fitted: Refit) -> str:
    """The tables of `lindos plan fit` as Markdown: errors seen and unseen, then the constants."""
    parts: list[str] = []
    for title, scores in _tables(fitted):
        if scores:
            rows = [(score.name, *_figures(score)) for score in scores]
            parts.append(f"{title}:\n\n" + _markdown(("", "groups", "median", "p90", "bias", "held"), rows))
    rows = [(*_moved(moved), moved.meaning) for moved in fitted.moved]
    parts.append("Constants:\n\n" + _markdown(("", "value", "expected", "deviations", "unit", "meaning"), rows))
    levels = [(name.replace("_", " "), f"{value:.3f}") for name, value in fitted.levels.items()]
    parts.append("Publishers' levels:\n\n" + _markdown(("", "time over the average publisher's"), levels))
    return "\n\n".join(parts) + "\n"


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells cannot break it."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    marks = ["---" if column in ("", "unit", "meaning") else "---:" for column in columns]
    return "\n".join([line(columns), "| " + " | ".join(marks) + " |", *map(line, rows)])

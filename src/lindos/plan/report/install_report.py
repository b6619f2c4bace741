"""`lindos plan install` in a terminal: tables that shed or stack columns until they fit, and never a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from lindos.plan.install.decode import Decode
from lindos.plan.install.install import Figure, Installed, InstallPlan, Speed, Way
from lindos.specs import Precision

SHOWN = 12
"""Rows per precision; the rest is counted."""
HUGE = 1e15
"""From here on numbers are written with powers of ten."""
PIPED = 120
"""Columns, at least, of output that goes to no terminal."""


class Column(NamedTuple):
    """One column of a table: its heading and what stands in it."""

    heading: str
    cell: Callable[[Any], str]
    right: bool = False


def wide_console(highlight: bool = True) -> Console:
    """Standard output, as wide as the terminal, or wide enough for all columns where there is none."""
    console = Console(highlight=highlight)
    if not console.is_terminal:
        console.width = max(console.width, PIPED)
    return console


def print_rows(
    console: Console, title: str, rows: Sequence[Any], layouts: Sequence[Sequence[Column]],
    like: Sequence[Any] = (), style: Callable[[Any], str] = lambda _: "",
) -> None:  # fmt: skip
    """A table in the first layout that is no wider than the console; else a few lines for each row.

    The layout is chosen for the rows of `like` too, so that tables under each other look alike. The first column is
    never broken.
    """
    for columns in layouts:
        if _width(console, _table("", columns, [*rows, *like], style)) <= console.width:
            console.print(_table(title, columns, rows, style))
            return
    if title:
        console.print(title)
    first, *others = layouts[-1]
    for row in rows:
        console.print(first.cell(row), soft_wrap=True, highlight=False)
        told = "; ".join(f"{' '.join(column.heading.split())}: {column.cell(row)}" for column in others)
        console.print(Padding(told, (0, 0, 0, 2), expand=False), highlight=False)


def _width(console: Console, table: Table) -> int:
    """Columns the table wants when nothing limits it."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _table(title: str, columns: Sequence[Column], rows: Sequence[Any], style: Callable[[Any], str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns), style=style(row))
    return table


def print_install(plan: InstallPlan, console: Console, shown: int = SHOWN) -> None:
    """Everything of a plan that a person reads first; the rest is in JSON and on the page."""
    console.print(f"[bold]{plan.model}[/bold]  {escape(plan.title)}")
    weights = ", ".join(f"{p.value} {size_text(size)}" for p, size in plan.weight_bytes.items())
    console.print(f"{parameters_text(plan)}; weights: {weights}; context {plan.context:,}\n")
    if plan.ways:
        print_rows(console, "Cheapest ways", plan.ways, _WAYS)
    fitting = {p: [row for row in plan.rows if row.precision is p and row.fits] for p in plan.weight_bytes}
    listed = [row for rows in fitting.values() for row in rows[:shown]]
    for precision, rows in fitting.items():
        console.print()
        _print_precision(plan, precision, rows, console, shown, listed)
    if plan.here:
        _print_here(plan, console)
    for line in plan.assumptions:
        console.print(escape(line), style="dim")


def parameters_text(plan: InstallPlan) -> str:
    """How large the model is: `315.7B parameters, 83.8B for a token`."""
    return f"{count_text(plan.parameters)} parameters, {count_text(plan.active_parameters)} for a token"


def count_text(count: float) -> str:
    """A number of parameters in the unit that suits: `19.8M`."""
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= scale:
            return f"{count / scale:.{1 if count >= 10 * scale else 2}f}{unit}"
    return f"{count:,.0f}"


def size_text(size: float) -> str:
    """Bytes in the unit that suits: `178 GB`."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:,.0f} B"


def number(value: float, digits: int = 2) -> str:
    """Two digits, as many as a prediction deserves, or as many as asked; a dash for nothing."""
    if not value:
        return "-"
    if value < 0.01:
        return _tiny(value)
    if value >= HUGE:
        return f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.0f}" if value >= 10 else f"{value:.{digits}g}"


def _tiny(value: float) -> str:
    """One digit, written out as far as anyone reads zeros: `0.0004`."""
    places = -math.floor(math.log10(value))
    return f"{value:.{places}f}".rstrip("0") if places <= 9 else f"{value:.0e}"


def interval_text(figure: Figure) -> str:
    """`5.4 (3.6-8.1)`; a dash for nothing."""
    if not figure.value:
        return "-"
    return f"{number(figure.value)} ({number(figure.low)}-{number(figure.high)})"


def dollars(value: float) -> str:
    """Money as it is quoted: cents below ten dollars, whole dollars above, one digit of less than a cent.

    A dash for an unknown price.
    """
    if not value:
        return "-"
    if value < 0.01 or value >= HUGE:
        return f"${number(value)}"
    return f"${value:,.2f}" if value < 10 else f"${value:,.0f}"


def where_text(step: Decode) -> str:
    """Where the weights lie, by size: `GPU 95 GB, RAM 83 GB`."""
    if not step.fits:
        return f"{size_text(step.missing_bytes)} short"
    return ", ".join(f"{name} {size_text(size)}" for name, size in _places(step) if size)


def _gigabytes(step: Decode) -> str:
    return ", ".join(f"{name} {number(size / 1e9, 3)}" for name, size in _places(step) if size)


def _places(step: Decode) -> list[tuple[str, float]]:
    parts = [part for part in step.parts if part.name != "kv"]
    places = (("GPU", "accelerator"), ("RAM", "host"), ("disk", "disk"))
    return [(name, sum(getattr(part, place) for part in parts)) for name, place in places]


def price_text(row: Installed) -> str:
    """To buy, or by the hour where it is rented."""
    return dollars(row.price) if row.price else (f"{dollars(row.hour.rented)}/h" if row.hour.rented else "-")


def _print_precision(
    plan: InstallPlan, precision: Precision, fitting: Sequence[Installed], console: Console, shown: int,
    listed: Sequence[Installed],
) -> None:  # fmt: skip
    """The machines of one precision, in the layout that suits all that are `listed`."""
    rows = [row for row in plan.rows if row.precision is precision]
    if not fitting:
        least = min(rows, key=lambda row: row.alone.missing_bytes, default=None)
        text = f"; the nearest is {least.machine}: {least.alone.reason}" if least else " in the catalogue and budget"
        console.print(f"{precision.value}: no machine holds it{text}", highlight=False)
        return
    title = f"{precision.value}: {len(fitting)} of {len(rows)} machines hold it"
    print_rows(console, title, fitting[:shown], _MACHINES, listed, lambda row: "" if row.interactive else "dim")
    if len(fitting) > shown:
        console.print(f"  and {len(fitting) - shown} more; --all lists them", style="dim")


def _best(speed: Speed) -> str:
    return f"{number(speed.tokens_per_second.value)} @{speed.taken}" if speed.taken else "-"


def _print_here(plan: InstallPlan, console: Console) -> None:
    probe = plan.probe
    console.print()
    if probe is not None:
        disk = f"{probe.disk_bandwidth / 1e9:.1f} GB/s" if probe.disk_bandwidth else probe.disk_note
        console.print(
            f"[bold]This machine[/bold]: {escape(probe.processor)}, {probe.cores} cores; memory "
            f"{size_text(probe.memory_available)} free, {probe.memory_bandwidth / 1e9:.0f} GB/s; matrices "
            f"{probe.matrix_flops / 1e9:,.0f} GFLOP/s in fp32; disk {escape(disk)}",
            highlight=False,
        )
    for row in plan.here:
        console.print(_here_line(row), highlight=False)
    console.print()


def _here_line(row: Installed) -> str:
    if not row.fits:
        return f"  {row.precision.value}: does not run: {row.alone.reason}"
    speeds: Sequence[Speed] = row.speeds
    many = ", ".join(f"{number(s.tokens_per_second.value)} with {s.offered}" for s in speeds[1:])
    one, prompt = interval_text(row.one), number(row.alone.prefill_tokens_per_second)
    return f"  {row.precision.value}: {one} tokens/s for one user; together {many}; reads prompts at {prompt}"


def _way_price(way: Way) -> str:
    """Short: `$9,499`, `$11/h`, `$0.29/Mtok`."""
    return dollars(way.dollars) + {"an hour": "/h", "per million tokens": "/Mtok"}.get(way.unit, "")


_WAY = (
    Column("weights", lambda way: way.precision.value),
    Column("for", lambda way: way.purpose),
    Column("machine", lambda way: way.machine),
)
_WAYS = (
    (
        *_WAY,
        Column("price", lambda way: f"{dollars(way.dollars)} {way.unit}"),
        Column("tok/s, one user", lambda way: interval_text(way.one)),
    ),
    (*_WAY, Column("price", _way_price), Column("tok/s,\none user", lambda way: number(way.one.value), right=True)),
    (
        Column("machine", lambda way: way.machine),
        Column("weights", lambda way: way.precision.value),
        Column("for", lambda way: way.purpose),
        Column("price", _way_price),
        Column("tok/s, one user", lambda way: number(way.one.value)),
    ),
)
_NAME = Column("machine", lambda row: row.machine)
_WEIGHTS = Column("weights in, GB", lambda row: _gigabytes(row.alone))
_STACKED = Column("machine,\n  weights in, GB", lambda row: f"{row.machine}\n  {_gigabytes(row.alone)}")
_ONE = Column("tok/s, one user", lambda row: interval_text(row.one))
_BARE = Column("tok/s,\none user", lambda row: number(row.one.value), right=True)
_BEST = Column("tok/s, best", lambda row: _best(row.best), right=True)
_PRICE = Column("price", price_text, right=True)
_HOUR = Column("$/hour", lambda row: dollars(row.hour.lowest), right=True)
_TOKENS = Column("$/Mtok", lambda row: number(row.best.dollars_per_million.value), right=True)
_MACHINES = (
    (_NAME, _WEIGHTS, _ONE, _BEST, _PRICE, _HOUR, _TOKENS),
    (_NAME, _WEIGHTS, _ONE, _BEST, _PRICE, _TOKENS),
    (_STACKED, _ONE, _BEST, _PRICE, _TOKENS),
    (_STACKED, _BARE, _BEST, _PRICE, _TOKENS),
)
"""From wide to narrow; where not even the last fits, it is told in lines."""

"""`lindos plan train` on a terminal: the answer first, then where time and memory go, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lindos.plan.explain import Term
from lindos.plan.memory import GIB
from lindos.plan.training import Option, Range, TrainPlan
from lindos.specs import Layout

DEGREES = ("tensor", "pipeline", "virtual_stages", "context", "expert", "micro_batch")


def print_train(plan: TrainPlan, console: Console) -> None:
    """The whole answer."""
    best = plan.options[0]
    console.print(f"[bold]{escape(plan.model.title or plan.model.name)}[/bold]")
    console.print(
        f"{amount(plan.tokens)} tokens on {escape(plan.cluster.name)} ({plan.cluster.devices:,} accelerators): "
        f"{escape(plan.cluster.title)}",
        highlight=False,
    )
    console.print()
    console.print(_answer(plan, best))
    console.print(_layouts(plan.options))
    console.print(_parts(plan.options))
    console.print(_memory(plan.options))
    if plan.why:
        console.print(_why(plan))
    _closing(plan, console)


def _answer(plan: TrainPlan, best: Option) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_column(style="dim")
    share = best.goodput
    between = f"a failure every {_hours(share.hours_between)}, {share.restart_s:,.0f} s to training again"
    rows: list[tuple[str, str, str]] = [
        ("step", ranged(best.step_s, "s", 3), f"{plan.batch:,} sequences of {plan.sequence:,} tokens"),
        ("tokens/s", f"{best.tokens_per_s:,.0f}", f"{plan.steps:,} steps"),
        ("MFU", f"{best.mfu:.1%}", "of the 16-bit peak"),
        ("goodput", f"{share.share:.1%}", f"{between}; checkpoints every {share.checkpoint_interval_s:,.0f} s"),
        ("calendar", ranged(best.calendar_days, "days"), f"{best.training_days.value:.3g} days of training"),
        ("energy", ranged(best.energy_mwh, "MWh"), ""),
        (
            "money",
            money(best.dollars),
            "for the accelerators used, not the spares" if best.dollars else "no price is known for this cluster",
        ),
        ("candidates", f"{plan.candidates:,}", f"distinct layouts that divide; {plan.fit:,} fit"),
    ]
    if not best.fits:
        over = (best.memory_total - best.memory_limit) / GIB
        rows.insert(
            0, ("memory", f"[bold red]does not fit: {over:,.1f} GiB too many[/bold red]", "time is what it would be")
        )
    for row in rows:
        table.add_row(*row)
    return table


def _layouts(options: Sequence[Option]) -> Table:
    table = _table("The best layouts" if len(options) > 1 else "The layout", [str(i + 1) for i in range(len(options))])
    layouts = [option.layout for option in options]
    for name in DEGREES:
        table.add_row(name.replace("_", " "), *(str(getattr(layout, name)) for layout in layouts))
    if any(layout.ends_count for layout in layouts):
        table.add_row("ends count", *("yes" if layout.ends_count else "no" for layout in layouts))
    table.add_row("data", *(_data(layout) for layout in layouts))
    for name in ("schedule", "sharding", "recompute", "precision"):
        table.add_row(name, *(str(getattr(layout, name)) for layout in layouts))
    table.add_row("accelerators", *(f"{o.devices:,}" for o in options))
    table.add_row("spares", *(f"{o.spares:,}" for o in options))
    table.add_section()
    table.add_row("step", *(f"{o.step_s.value:.3f} s" for o in options))
    table.add_row("MFU", *(f"{o.mfu:.1%}" for o in options))
    table.add_row("days", *(f"{o.calendar_days.value:.3g}" for o in options))
    table.add_row("money", *(dollars(o.dollars.value) if o.dollars else "-" for o in options))
    return table


def _data(layout: Layout) -> str:
    return f"{layout.replicas} x {layout.shards}" if layout.replicas > 1 else str(layout.shards)


def _parts(options: Sequence[Option]) -> Table:
    table = _table("Where a step goes, seconds", [str(i + 1) for i in range(len(options))])
    names = [n for n in options[0].parts_s if any(o.parts_s[n] > 0.0005 * o.step_s.value for o in options)]
    for name in names:
        table.add_row(name, *(f"{o.parts_s[name]:.3f}  {o.parts_s[name] / o.step_s.value:>4.0%}" for o in options))
    return table


def _memory(options: Sequence[Option]) -> Table:
    table = _table("Memory of the fullest accelerator, GiB", [str(i + 1) for i in range(len(options))])
    for kind in options[0].memory:
        table.add_row(kind, *(f"{o.memory[kind] / GIB:.1f}" for o in options))
    table.add_section()
    table.add_row("together", *(_total(o) for o in options))
    table.add_row("there is", *(f"{o.memory_limit / GIB:.1f}" for o in options))
    return table


def _total(option: Option) -> str:
    text = f"{option.memory_total / GIB:.1f}"
    return text if option.fits else f"[bold red]{text}[/bold red]"


def _why(plan: TrainPlan) -> Table:
    table = Table(box=None, title="Why the first wins", title_justify="left", title_style="bold", padding=(0, 2, 0, 0))
    for name in ("choice", "instead", "slower", "because"):
        table.add_column(name, style="bold" if name == "choice" else "")
    for reason in plan.why:
        slower = "the same" if reason.slower < 0.0005 else f"+{reason.slower:.1%}"
        table.add_row(f"{reason.field} {reason.chosen}", reason.instead, slower, reason.because)
    return table


def _closing(plan: TrainPlan, console: Console) -> None:
    best = plan.options[0]
    console.print()
    if best.nearest:
        console.print(
            "Intervals hold 80% of the nearest replayed runs: " + escape("; ".join(best.nearest[:3])), style="dim"
        )
    given = "given" if plan.batch_given else "chosen from the tokens and the cluster; --batch sets it"
    console.print(
        f"Batch {given}. Software of {plan.software:.1f}, kept and tuned like the average publisher's.", style="dim"
    )
    for note in plan.notes:
        console.print(escape(note), style="dim")


def print_terms(terms: Iterable[Term], console: Console) -> None:
    """Each term with its formula and inputs."""
    console.print()
    console.print("[bold]Every term of the first layout[/bold]")
    for term in terms:
        console.print(f"[bold]{escape(term.name)}[/bold] = {term.value:.5g} {escape(term.unit)}", highlight=False)
        console.print(f"  {escape(term.formula)}", style="dim", highlight=False)
        if term.inputs:
            inputs = ", ".join(f"{name} = {value:.6g}" for name, value in term.inputs.items())
            console.print(f"  with {escape(inputs)}", style="dim", highlight=False)
        if term.source:
            console.print(f"  {escape(term.source)}", style="dim", highlight=False)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", style="dim")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def ranged(figure: Range, unit: str, digits: int = 3) -> str:
    """`21.3 days (18.9 to 25.0)`."""
    return f"{_short(figure.value, digits)} {unit} ({_short(figure.low, digits)} to {_short(figure.high, digits)})"


def _short(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"


def money(figure: Range | None) -> str:
    """An amount with its interval, or a dash."""
    if figure is None:
        return "-"
    return f"{dollars(figure.value)} ({dollars(figure.low)} to {dollars(figure.high)})"


def dollars(value: float) -> str:
    """`$312M`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"${value / size:.3g}{letter}"
    return f"${value:.0f}"


def amount(value: float) -> str:
    """`6T`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _hours(hours: float) -> str:
    if not hours:
        return "never"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.0f} days"

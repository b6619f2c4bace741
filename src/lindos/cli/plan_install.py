"""`lindos plan install` and `lindos plan machines`: what a model would take, and the machines that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from lindos.cli.files import write_whole
from lindos.specs import (
    Accelerator,
    Cluster,
    Fabric,
    Machine,
    Precision,
    SpecError,
    catalog_clusters,
    catalog_machines,
    load_machine,
    load_model_spec,
    nearest,
    nearest_few,
)

PRECISIONS = (Precision.INT8, Precision.INT4)


def install(
    model: Annotated[str, typer.Argument(help="A catalogue name (`lindos models`), or a TOML or JSON file.")],
    here: Annotated[
        bool, typer.Option("--here", help="Measure this machine too (a few seconds) and predict Lindos's engine on it.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="Dollars: to buy a machine, or for one month of renting it.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Weights: bf16, fp8, int8 or int4; may be repeated. Default: int8 and int4."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=65536, help="One more number of users beside 1, 8, 32 and 256.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens behind each user. Default: 4096, or the model's longest if shorter.")
    ] = None,
    machine: Annotated[
        list[str] | None, typer.Option("--on", help="Only this machine (a name or a TOML file); may be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List all machines that hold it, not the first dozen.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots to this file.")] = None,
) -> None:
    """What it would take to install a model: which machines hold it, how fast, for what money.

    Speeds are predictions of a bandwidth model with intervals, not measurements. With --here the disk of the current
    folder is measured with a temporary file.
    """
    from lindos.plan.install.install import plan_install
    from lindos.plan.report.install_page import install_page
    from lindos.plan.report.install_report import SHOWN, print_install, wide_console

    spec = load_model_spec(model)
    precisions = _precisions(precision)
    machines = _machines(machine)
    probe = _probe() if here else None
    plan = plan_install(
        spec, precisions=precisions, machines=machines, budget=budget, batch=batch, context=context, probe=probe
    )
    if html is not None:
        write_whole(html, install_page(plan))
    if as_json:
        typer.echo(plan.model_dump_json(indent=1))
        return
    print_install(plan, wide_console(highlight=False), shown=len(plan.rows) if every else SHOWN)
    if html is not None:
        typer.echo(f"{html}: the same with plots")


def machines(
    name: Annotated[str | None, typer.Argument(help="A machine or cluster of the catalogue.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the machines and clusters that are known, or explain one, with its sources."""
    known: dict[str, Machine | Cluster] = {**catalog_machines(), **catalog_clusters()}
    if name is not None:
        known = {name: _known(name, known)}
    if as_json:
        typer.echo(json.dumps({key: entry.model_dump(mode="json") for key, entry in known.items()}, indent=1))
    elif name is not None:
        _explain(known[name])
    else:
        _list(known)


def _machines(names: list[str] | None) -> list[Machine]:
    """The machines named, each once; without a name all of the catalogue."""
    if not names:
        return list(catalog_machines().values())
    found: list[Machine] = []
    for name in names:
        machine = load_machine(name)
        if machine not in found:
            found.append(machine)
    return found


def _precisions(names: list[str] | None) -> tuple[Precision, ...]:
    """The precisions named, also several in one word with commas."""
    words = [word.strip().lower() for name in names or [] for word in name.split(",")]
    known = [p.value for p in Precision]
    for word in words:
        if word not in known:
            near = ", ".join(nearest_few(word, known))
            raise SpecError(f"unknown precision '{word}' (nearest: {near})")
    return tuple(Precision(word) for word in words) or PRECISIONS


def _probe() -> Any:
    from lindos.kernels import probe

    console = Console(stderr=True)
    with console.status("measuring memory, matrices and disk"):
        return probe(Path.cwd())


def _list(known: dict[str, Machine | Cluster]) -> None:
    """Machines, then clusters; narrow terminals get fewer columns, never a cut name."""
    from lindos.plan.report.install_report import Column, print_rows, wide_console

    console = wide_console()
    name = Column("machine", lambda entry: entry.name)
    carried = Column("accelerators", _carried)
    theirs = Column("their memory", lambda entry: _gigabytes(_accelerator_memory(entry)), right=True)
    memory = Column("memory", lambda entry: _gigabytes(entry.host_memory_bytes), right=True)
    speed = Column("GB/s", lambda entry: f"{entry.host_bandwidth / 1e9:,.0f}" if entry.host_bandwidth else "-", True)
    price = Column("price", _price, right=True)
    layouts = [[name, carried, theirs, memory, speed, price], [name, carried, memory, price], [name, carried, price]]
    print_rows(console, "", [entry for entry in known.values() if isinstance(entry, Machine)], layouts)
    console.print()
    cluster = Column("cluster", lambda entry: entry.name)
    nodes = Column("nodes", lambda entry: f"{entry.nodes:,}", right=True)
    devices = Column("devices", lambda entry: f"{entry.devices:,}", right=True)
    machine = Column("machine", lambda entry: entry.machine.name)
    fabric = Column("fabric", lambda entry: entry.fabric.name)
    layouts = [[cluster, nodes, devices, machine, fabric], [cluster, devices, machine]]
    print_rows(console, "", [entry for entry in known.values() if isinstance(entry, Cluster)], layouts)


def _known(name: str, known: dict[str, Machine | Cluster]) -> Machine | Cluster:
    if name in known:
        return known[name]
    close = nearest(name, known)
    hint = f"; did you mean '{close}'?" if close else ""
    near = ", ".join(nearest_few(name, known))
    raise SpecError(f"unknown machine or cluster '{name}'{hint} (nearest: {near}; without a name all are listed)")


def _carried(entry: Machine) -> str:
    return f"{entry.accelerators} x {entry.accelerator.name}" if entry.accelerator else "-"


def _accelerator_memory(entry: Machine) -> float:
    return entry.accelerators * entry.accelerator.memory_bytes if entry.accelerator else 0.0


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size else "-"


def _price(entry: Machine) -> str:
    if entry.price:
        return f"${entry.price:,.0f}"
    return f"${entry.rent:,.2f}/h" if entry.rent else "-"


def _explain(entry: Machine | Cluster | Accelerator | Fabric) -> None:
    """Every field that says something, one a line; what an entry is made of below it."""
    from lindos.plan.report.install_report import wide_console

    console = wide_console(highlight=False)
    console.print(f"[bold]{entry.name}[/bold]  {escape(entry.title)}")
    parts: list[tuple[str, Any]] = []
    for field in type(entry).model_fields:
        value = getattr(entry, field)
        if field in {"name", "title"} or value in (None, "", 0, {}):
            continue
        if isinstance(value, Machine | Accelerator | Fabric):
            parts.append((field, value))
            console.print(f"  {field}: {value.name}")
        else:
            console.print(f"  {field}: {escape(_plain(value))}")
    for field, value in parts:
        console.print(f"\n{field}:")
        _explain(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{getattr(key, 'value', key)} {_plain(number)}" for key, number in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.4g}"
    return str(value)

"""`lindos plan`: what it takes to train a model or to install it, and how far to trust the answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from lindos.cli.files import write_whole
from lindos.cli.plan_install import install, machines
from lindos.cli.plan_validate import fit, validate
from lindos.specs import LindosError, SpecError, load_cluster, load_model_spec

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What it takes to train a model or to install it: layouts, time, memory, energy, money, with intervals. "
    "A model of the machine, held against hundreds of published runs (`lindos plan validate`); nothing is run.",
)
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def amount(text: str) -> float:
    """`6T`, `300B` or `1.5e12` as a number. Raises SpecError."""
    unit = UNITS.get(text.strip()[-1:].lower(), 1.0)
    text = text.strip()
    try:
        if "_" in text:
            raise ValueError
        return float(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise SpecError(f"'{text}' is no amount; write it like 6T, 300B or 1.5e12") from None


def train(
    model: Annotated[str, typer.Argument(help="A catalogue name (`lindos models`), or a TOML or JSON file.")],
    on: Annotated[str, typer.Option("--on", help="A cluster (`lindos plan machines`), or a TOML or JSON file.")],
    tokens: Annotated[str, typer.Option(help="Tokens to train on: 6T, 300B, 1.5e12.")],
    sequence: Annotated[int | None, typer.Option(help="Tokens in a sequence; the model's, at most 8192.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences in a step; chosen from tokens and cluster.")] = None,
    devices: Annotated[int | None, typer.Option(help="Use only so many accelerators of the cluster.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="bf16, fp8, fp4 (may be given again); all but fp4 the accelerator has.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Evaluate this layout only: tensor=8,pipeline=4,... or a TOML or JSON file. Fields: tensor, pipeline, "
            "virtual_stages, schedule (1f1b, interleaved, zero-bubble), ends_count, context, expert, shards (by "
            "default all that is left), replicas, sharding (none, optimizer, gradients, weights), micro_batch, "
            "recompute (none, selective, full), precision."
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print each term with its formula and inputs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page with plots.")] = None,
) -> None:
    """The best layouts of a cluster for training, and what the run takes: time, memory, energy, money."""
    from lindos.plan.constants import shipped_constants
    from lindos.plan.training import plan_train

    spec, cluster, count = load_model_spec(model), load_cluster(on), amount(tokens)
    if devices is not None:
        cluster = _part(cluster, devices)
    if explain and as_json:
        raise SpecError("--explain prints on the terminal; --json holds the plan alone: give one of the two")
    if layout is not None and precision:
        raise SpecError("--precision belongs into --layout (precision=fp8) where that is given")
    chosen = _layout(layout, spec, cluster, sequence, batch, count) if layout is not None else None
    console = Console(highlight=False)
    with Console(stderr=True).status("Scoring layouts ...") if not as_json else _nothing():
        plan = plan_train(
            spec, cluster, tokens=count, sequence=sequence, batch=batch, layout=chosen,
            precision=_precisions(precision), picture=as_json or html is not None,
        )  # fmt: skip
    if html is not None:
        from lindos.plan.report.training_page import training_page

        write_whole(html, training_page(plan))
    if as_json:
        typer.echo(plan.model_dump_json(indent=1))
        return
    from lindos.plan.explain import explain as explained
    from lindos.plan.report.training_report import print_terms, print_train

    print_train(plan, console)
    if explain:
        print_terms(explained(plan, 0, shipped_constants()), console)
    if html is not None:
        console.print(f"Page: {escape(str(html))}")


def _part(cluster: Any, devices: int) -> Any:
    each = cluster.machine.devices
    if devices < 1 or devices > cluster.devices:
        raise SpecError(f"--devices {devices:,}: '{cluster.name}' has {cluster.devices:,} accelerators")
    if devices % each:
        raise SpecError(f"--devices {devices:,}: '{cluster.name}' is made of machines of {each}")
    return cluster.model_copy(update={"nodes": devices // each})


def _precisions(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in ("bf16", "fp16", "fp8", "fp4"):
            raise SpecError(f"--precision '{name}': choose from fp16, bf16, fp8, fp4")
    return names


def _layout(text: str, spec: Any, cluster: Any, sequence: int | None, batch: int | None, tokens: float) -> Any:
    from lindos.plan.choices import check_amounts
    from lindos.plan.training import layout_for, read_layout, usual_batch, usual_sequence
    from lindos.specs import read_table

    length = usual_sequence(spec) if sequence is None else sequence
    check_amounts(tokens=tokens, sequence=length, batch=1 if batch is None else batch)
    fields = read_table(Path(text)) if Path(text).suffix in {".toml", ".json"} else read_layout(text)
    return layout_for(fields, cluster, batch or usual_batch(tokens, length, cluster.devices))


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def one_line(command: Callable[..., None]) -> Callable[..., None]:
    """Bad input ends a planning command with one clear line and exit status 2."""

    @functools.wraps(command)
    def checked(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except (LindosError, ValidationError) as error:
            text = "; ".join(line.strip() for line in str(error).splitlines())
            if isinstance(error, ValidationError):
                text = f"the figures given lead to a result that is no number ({error.errors()[0]['loc'][-1]})"
            Console(stderr=True).print(f"[bold red]lindos:[/bold red] {escape(text)}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None

    return checked


for verb in (train, install, validate, fit, machines):
    app.command()(one_line(verb))

"""`lindos models`: the catalogue, and one model explained."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lindos.specs import ModelSpec, Precision, catalog_models, load_model_spec


def command(
    name: Annotated[str | None, typer.Argument(help="A catalogue name, or a TOML or JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the known models, or explain one: its shape, exact counts, and what it takes to hold it."""
    if name is None:
        models = catalog_models()
        if as_json:
            typer.echo(json.dumps({key: facts(spec) for key, spec in models.items()}, indent=1))
        else:
            Console().print(_list(models))
        return
    spec = load_model_spec(name)
    if as_json:
        typer.echo(json.dumps(facts(spec), indent=1))
    else:
        _explain(spec)


def facts(spec: ModelSpec) -> dict[str, Any]:
    """The spec's fields and everything that follows from them; counts exact, sizes in bytes."""
    return {
        **spec.model_dump(),
        "parameters": spec.parameters,
        "active_parameters": spec.active_parameters,
        "layer_parameters": spec.layer_parameters,
        "dense_layer_parameters": spec.dense_layer_parameters,
        "expert_parameters": spec.expert_parameters,
        "kv_bytes_per_token": spec.kv_bytes_per_token(),
        "weight_bytes": {p.value: spec.weight_bytes(p) for p in (Precision.BF16, Precision.INT8, Precision.INT4)},
        "forward_flops_per_token": spec.forward_flops_per_token(spec.sequence // 2),
        "training_flops_per_token": spec.training_flops_per_token(spec.sequence),
    }


def _list(models: dict[str, ModelSpec]) -> Table:
    table = Table(box=None, header_style="bold")
    for column, justify in (("model", "left"), ("parameters", "right"), ("active", "right"), ("what it is", "left")):
        # Names are what people copy, so they are never broken; titles may be.
        table.add_column(column, justify=justify, no_wrap=column != "what it is")  # type: ignore[arg-type]
    for spec in models.values():
        active = _count(spec.active_parameters) if spec.mixture_layers else "all"
        table.add_row(spec.name, _count(spec.parameters), active, escape(spec.title))
    return table


def _explain(spec: ModelSpec) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{spec.name}[/bold]  {escape(spec.title)}")
    for label, text in (("source", spec.source), ("licence", spec.licence)):
        if text:
            console.print(f"  {label}: {escape(text)}", style="dim")
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in _rows(spec):
        table.add_row(*row)
    console.print(table)


def _rows(spec: ModelSpec) -> list[tuple[str, str, str]]:
    return [*_size_rows(spec), *_layer_rows(spec), *_attention_rows(spec), *_cost_rows(spec)]


def _size_rows(spec: ModelSpec) -> list[tuple[str, str, str]]:
    chosen = "every token passes them all"
    if spec.mixture_layers:
        chosen = f"{spec.experts_per_token} of {spec.experts} experts"
    if spec.shared_width:
        chosen += ", and the shared MLP beside them"
    return [
        ("parameters", f"{spec.parameters:,}", "all of them, embedding and norms included"),
        ("active per token", f"{spec.active_parameters:,}", chosen),
    ]


def _layer_rows(spec: ModelSpec) -> list[tuple[str, str, str]]:
    rows = []
    width = f"width {spec.width:,}"
    if spec.mixture_layers:
        gates = "divided by their sum" if spec.renormalise_gates else "as they come out of the softmax"
        which = f"{spec.mixture_layers} of them" + (" with experts" if spec.dense_layers else "")
        rows.append(("one layer", f"{spec.layer_parameters:,}", f"{which}, {width}"))
        rows.append(("one expert", f"{spec.expert_parameters:,}", f"inner width {spec.expert_width:,}; gates {gates}"))
    if spec.shared_width:
        rows.append(("shared MLP", f"{spec.shared_width:,} wide", "every token passes it beside its experts"))
    if spec.dense_layers:
        which = f"{spec.dense_layers} of them" + (" without experts, before the others" if spec.mixture_layers else "")
        inner = f"{which}, {width}, inner width {spec.dense_width:,}"
        label = "one dense layer" if spec.mixture_layers else "one layer"
        rows.append((label, f"{spec.dense_layer_parameters:,}", inner))
    if spec.mtp_layers:
        rows.append(("further tokens", f"{spec.mtp_layers}", "extra layers that predict them, not counted above"))
    return rows


def _attention_rows(spec: ModelSpec) -> list[tuple[str, str, str]]:
    size = f"{spec.heads} / {spec.kv_heads} x {spec.head_size}"
    rows = [("attention", size, "query / key-value heads x head size")]
    if spec.latent is not None:
        size = f"{spec.heads} x ({spec.head_size} + {spec.latent.rope_size})"
        kept = f"{spec.latent.kv_rank} + {spec.latent.rope_size} numbers a token are kept for all of them"
        rows = [("attention", size, f"heads x (without + with position); {kept}")]
    if spec.window and spec.full_layers < spec.layers:
        seen = "the others see everything" if spec.full_layers else "none sees further"
        rows.append(("window", f"{spec.window:,}", f"tokens back in {spec.layers - spec.full_layers} layers; {seen}"))
    return rows


def _cost_rows(spec: ModelSpec) -> list[tuple[str, str, str]]:
    kept = "; layers with a window keep no more than it" if spec.window else ""
    return [
        ("vocabulary", f"{spec.vocabulary:,}", "head tied to the embedding" if spec.tied_head else "head of its own"),
        ("longest sequence", f"{spec.sequence:,}", "tokens"),
        ("KV cache", f"{spec.kv_bytes_per_token():,} B", f"per token in bf16{kept}"),
        ("weights, bf16", _bytes(spec.weight_bytes(Precision.BF16)), ""),
        ("weights, int8", _bytes(spec.weight_bytes(Precision.INT8)), ""),
        ("weights, int4", _bytes(spec.weight_bytes(Precision.INT4)), "groups of 32, scales included"),
        (
            "forward pass",
            f"{spec.forward_flops_per_token(spec.sequence // 2):.3g}",
            "FLOPs a token, half of the longest sequence behind it",
        ),
    ]


def _count(number: int) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.{2 if letter == 'T' else 1}f}{letter}"
    return f"{number:,}"


def _bytes(number: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f} B"

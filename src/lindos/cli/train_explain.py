"""`lindos train --explain`: what a run file means, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lindos.cli.train_dry import GIB, scaled
from lindos.specs import Layout

if TYPE_CHECKING:
    from lindos.train import RunFile
    from lindos.train.dryrun import Holding
    from lindos.train.run_file import CheckpointSection

WITH = {
    "tensor": "divides each product, and the tokens between products",
    "context": "divides every sequence, keys and values going around",
    "expert": "divides the experts of a layer",
    "pipeline": "passes the stream from stage to stage",
    "data": "sees other sequences",
    "copies": "holds the same weights",
    "shards": "holds the other parts of the same weights",
    "expert copies": "holds the same experts",
    "expert shards": "holds the other parts of the same experts",
    "ends": "shares the embedding with the other end",
}


def explain(run: RunFile, world: int | None, console: Console) -> None:
    """Print what would run where, and what each rank would hold."""
    from lindos.train.dryrun import holding
    from lindos.train.run_file import check_layout

    layout, spec = scaled(run.layout, world), run.spec
    check_layout(layout, spec, batch=run.data.batch, sequence=run.data.sequence)
    rounds = run.data.batch // (layout.data * layout.micro_batch)
    console.print(
        f"{run.name}: {spec.name}, {spec.parameters:,} parameters, {spec.active_parameters:,} active per token\n"
        f"a step: {run.data.batch:,} sequences of {run.data.sequence:,} tokens, {run.tokens_per_step:,} in all; "
        f"{run.schedule.steps:,} steps, {run.schedule.steps * run.tokens_per_step:,} tokens\n"
        f"{layout.world:,} {'process' if layout.world == 1 else 'processes'}: {_sentence(layout)}\n"
        f"{_takes(layout)} {rounds:,} {'micro-batch' if rounds == 1 else 'micro-batches'} of "
        f"{layout.micro_batch} a step; a checkpoint every {run.checkpoint.every:,} steps, the newest "
        f"{run.checkpoint.keep} kept",
        highlight=False,
        soft_wrap=True,
    )
    stages = range(layout.pipeline)
    holdings = [holding(spec, layout, run.optimizer, stage * layout.stage_ranks) for stage in stages]
    if run.checkpoint.memory_every:
        most = max(held.masters + held.optimizer for held in holdings)
        console.print(_in_memory(run.checkpoint, most, layout.world), highlight=False, soft_wrap=True)
    console.print(_holdings(layout, holdings))
    if holdings[0].groups:
        console.print(_groups(holdings[0]))


def _in_memory(section: CheckpointSection, most: int, world: int) -> str:
    """`most` are the bytes of the largest rank's part."""
    from lindos.train.peers import KEPT

    copies = (KEPT + 1) * (1 if world == 1 else 2)
    whose = "its own part" if world == 1 else "its own and of another one's part"
    return (
        f"a checkpoint in memory every {section.memory_every:,} steps, in {section.memory_folder} of each machine: "
        f"{copies * most / GIB:,.2f} GiB for each of its ranks (of {whose} the newest {KEPT}, and room for the next)"
    )


def _takes(layout: Layout) -> str:
    return f"each of the {layout.data:,} that see different sequences takes" if layout.data > 1 else "it takes"


def _sentence(layout: Layout) -> str:
    degrees = ("replicas", "shards", "tensor", "pipeline", "context", "expert")
    said = [f"{key} {getattr(layout, key):,}" for key in degrees if getattr(layout, key) > 1]
    if layout.pipeline > 1:
        said.append(f"schedule {layout.schedule}")
    said += [f"sharded {layout.sharding}", f"recompute {layout.recompute}", layout.precision]
    return ", ".join(said) if layout.world > 1 else "the whole model on one"


def _holdings(layout: Layout, holdings: list[Holding]) -> Table:
    table = Table(title="What a rank keeps between steps", title_justify="left")
    for name in ("ranks", "layers"):
        table.add_column(name)
    for name in ("parameters", "masters, GiB", "optimiser, GiB"):
        table.add_column(name, justify="right")
    for number, held in enumerate(holdings):
        first = number * layout.stage_ranks
        ranks = f"{first:,}" if layout.stage_ranks == 1 else f"{first:,} to {first + layout.stage_ranks - 1:,}"
        sizes = (f"{size / GIB:,.2f}" for size in (held.masters, held.optimizer))
        table.add_row(ranks, _ranges(held.layers), f"{held.parameters:,}", *sizes)
    return table


def _groups(held: Holding) -> Table:
    table = Table(title=f"Whom rank {held.rank} works with", title_justify="left")
    for name in ("group", "of", "ranks", "which"):
        table.add_column(name, justify="right" if name == "of" else "left")
    for name, ranks in held.groups.items():
        if name in WITH:
            table.add_row(name, f"{len(ranks):,}", _ranges(ranks), WITH[name])
    return table


def _ranges(numbers: Iterable[int]) -> str:
    """0-7, or 0, 8, 16 ... 120: stretches, or the first few of what lies apart."""
    found = list(numbers)
    stretches: list[list[int]] = []
    for number in found:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    told = [f"{each[0]:,}" if len(each) == 1 else f"{each[0]:,}-{each[-1]:,}" for each in stretches]
    return ", ".join(told) if len(told) <= 4 else f"{', '.join(told[:3])} ... {told[-1]}"

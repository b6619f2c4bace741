"""`lindos train --dry-run`: what one rank of a cluster would do, as a table, JSON or a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lindos.cli.files import check_picture
from lindos.specs import Layout, SpecError

if TYPE_CHECKING:
    from lindos.plan.own_trainer import OwnCounts
    from lindos.train import RunFile
    from lindos.train.dryrun import Rehearsed

GIB = 1 << 30


def scaled(layout: Layout, world: int | None) -> Layout:
    """The layout with as many replicas as fill `world`. Raises SpecError where they do not."""
    if world is None or world == layout.world:
        return layout
    rest = layout.world // layout.replicas
    if world % rest:
        raise SpecError(
            f"--world {world}: is not a multiple of the layout's shards * tensor * pipeline * context = {rest}; "
            "replicas fill up what those leave"
        )
    return layout.model_copy(update={"replicas": world // rest})


def dry_run(run: RunFile, world: int | None, rank: int, as_json: bool, picture: Path | None, console: Console) -> None:
    """Rehearse a step of `run` as one rank, and tell."""
    from lindos.train.dryrun import rehearse

    layout = scaled(run.layout, world)
    check_picture(picture)
    with Console(stderr=True).status("Rehearsing a step ..."):
        seen = rehearse(
            run.spec, layout, batch=run.data.batch, sequence=run.data.sequence, optimizer=run.optimizer, rank=rank
        )
    planned = _planned(run, layout, rank)
    if picture is not None:
        _draw(seen, picture)
    if as_json:
        print(json.dumps(_document(run, layout, seen, planned), indent=1))
        return
    console.print(
        f"{run.name}: {run.spec.parameters:,} parameters; rank {rank:,} of {layout.world:,} "
        f"({', '.join(f'{k} {v}' for k, v in layout.model_dump(exclude_defaults=True).items())})",
        highlight=False,
    )
    if layout.world == 1:
        console.print("one process alone trains by shorter ways; this is how a rank of a cluster would do it")
    gib = {kind: size / GIB for kind, size in seen.memory.items()}
    tera = {kind: count / 1e12 for kind, count in seen.flops.items()}
    console.print(_sizes("Memory at its peak", "GiB", gib, 2), _sizes("Products in a step", "TFLOP", tera, 3))
    if seen.moved:
        console.print(_exchange_table(seen))
    console.print(_beside(seen, planned) if planned else "the planner has no formulas for this run to compare with")
    if picture is not None:
        console.print(f"memory over the step: {picture}", highlight=False, markup=False)


def _planned(run: RunFile, layout: Layout, rank: int) -> OwnCounts | None:
    """What `lindos plan` counts for the same rank. It knows AdamW alone."""
    from lindos.plan.own_trainer import own_counts

    if run.optimizer.kind != "adamw":
        return None
    return own_counts(run.spec, layout, batch=run.data.batch, sequence=run.data.sequence, rank=rank)


def _beside(seen: Rehearsed, planned: OwnCounts) -> Table:
    table = Table("", title="Beside the planner's formulas", title_justify="left")
    for name in ("dry run", "plan", "difference"):
        table.add_column(name, justify="right")
    rows = (
        ("memory, GiB", GIB, seen.peak, planned.memory),
        ("products, TFLOP", 1e12, seen.total_flops, planned.flops),
        ("exchanged, GB", 1e9, sum(seen.moved.values()), planned.moved),
    )
    for name, unit, one, other in rows:
        apart = f"{other / one - 1:+.1%}" if one else "-"
        table.add_row(name, f"{one / unit:,.3f}", f"{other / unit:,.3f}", apart)
    return table


def _document(run: RunFile, layout: Layout, seen: Rehearsed, planned: OwnCounts | None) -> dict[str, object]:
    return {
        "plan": planned and {"memory_bytes": planned.memory, "flops": planned.flops, "exchanged_bytes": planned.moved},
        "run": run.name,
        "model": run.spec.name,
        "layout": layout.model_dump(mode="json"),
        "rank": seen.rank,
        "memory_bytes": {**seen.memory, "peak": seen.peak},
        "flops": {**seen.flops, "total": seen.total_flops},
        "exchanges": [
            {"operation": operation, "group": group, "count": seen.counts[operation, group], "bytes": moved}
            for (operation, group), moved in seen.moved.items()
        ],
    }


def _sizes(title: str, unit: str, values: Mapping[str, float], digits: int) -> Table:
    """A column of numbers and their sum."""
    table = Table("kind", title=title, title_justify="left")
    table.add_column(unit, justify="right")
    for kind, value in values.items():
        table.add_row(kind, f"{value:,.{digits}f}")
    table.add_section()
    table.add_row("all", f"{sum(values.values()):,.{digits}f}")
    return table


def _exchange_table(seen: Rehearsed) -> Table:
    table = Table(title="Exchanges in a step, bytes through this rank's link", title_justify="left")
    for name, justify in (("operation", "left"), ("group", "left"), ("times", "right"), ("MB", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for (operation, group), moved in seen.moved.items():
        table.add_row(operation, group, f"{seen.counts[operation, group]:,.0f}", f"{moved / 1e6:,.1f}")
    return table


def _draw(seen: Rehearsed, path: Path) -> None:
    """Memory by kind over the events of the largest rehearsal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = list(seen.memory)
    figure, axes = pyplot.subplots(figsize=(10, 4.5))
    steps = range(len(seen.timeline))
    axes.stackplot(steps, [[held[kind] / GIB for held in seen.timeline] for kind in kinds], labels=kinds)
    axes.set(xlabel="events of a step with a few layers", ylabel="GiB", title=f"Memory of rank {seen.rank:,}")
    axes.legend(loc="upper left", ncols=len(kinds), fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)

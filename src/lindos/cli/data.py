"""`lindos data`: make data sets for training, and look into them."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lindos.data import TokenDataset

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Prepare text and conversations for training, and look at them."
)


@app.command()
def prepare(
    mix: Annotated[Path, typer.Argument(metavar="MIX.toml", help="The mix: sources, readers, epochs, tokenizer.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the data set goes; an older one is replaced.")],
    root: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="What the mix's paths are relative to.  [default: LINDOS_SHARED/data]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that clean text.  [default: one a core, at most 8]")
    ] = None,
) -> None:
    """Make a data set: documents are read, cleaned, checked against evaluations, tokenized and written as shards.

    DIR appears only when everything went well. The same mix and sources give the same data set, byte for byte.
    """
    from lindos.data import TokenDataset, load_mix
    from lindos.data import prepare as make
    from lindos.data.prepare import data_root

    console = Console()
    count = workers or min(os.cpu_count() or 1, 8)
    make(load_mix(mix), out, data_root(root), workers=count, base=mix.parent, console=console)
    _tell(console, out, TokenDataset.open(out))


@app.command()
def conversations(
    config: Annotated[Path, typer.Argument(metavar="CHATS.toml", help="Kinds of conversations, sources and counts.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the data set goes; an older one is replaced.")],
    tokenizer: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder with the tokenizer.json of the model to be tuned.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="What the sources' paths are relative to.  [default: LINDOS_SHARED/data]"),
    ] = None,
) -> None:
    """Make a data set of conversations to tune a model on; the loss counts the assistant's words only."""
    from lindos.data import TokenDataset
    from lindos.data.conversations import prepare_conversations
    from lindos.data.prepare import data_root

    console = Console()
    prepare_conversations(config, out, tokenizer, data_root(root), console=console)
    _tell(console, out, TokenDataset.open(out))


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A prepared data set.")],
    part: Annotated[str | None, typer.Option(help="Show a sample of this source only.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many documents to show of each source.")] = 1,
    characters: Annotated[int, typer.Option(min=1, help="How much of each document to show.")] = 400,
    seed: Annotated[int, typer.Option(help="Which documents are shown.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Check every file against its checksum first.")] = False,
) -> None:
    """Show what a data set holds: tokens by source, what was dropped, and a few documents as text."""
    from lindos.data import TokenDataset

    console = Console()
    dataset = TokenDataset.open(directory, verify=verify)
    console.print(_contents(dataset))
    report = dataset.report()
    _print_drops(console, report)
    choose = random.Random(seed)
    for shown in [dataset.part(part)] if part else dataset.parts:
        for _ in range(samples):
            number = choose.randrange(shown.documents)
            text = dataset.tokenizer.decode(shown.document(number).tolist())
            console.rule(f"{shown.name}, document {number}")
            console.print(Text(text[:characters] + (" ..." if len(text) > characters else "")))


def _tell(console: Console, out: Path, dataset: TokenDataset) -> None:
    console.print(_contents(dataset))
    _print_drops(console, dataset.report())
    console.print(f"{out}: fingerprint {dataset.fingerprint[:16]}", highlight=False)


def _contents(dataset: TokenDataset) -> Table:
    table = Table(title=f"{dataset.meta.name}: {dataset.tokens:,} tokens, vocabulary {dataset.vocabulary:,}")
    for name in ("source", "group", "split"):
        table.add_column(name)
    for name in ("tokens", "documents", "bytes/token", "epochs", "share"):
        table.add_column(name, justify="right")
    whole = sum(part.tokens * part.epochs for part in dataset.parts)
    for part in dataset.meta.parts:
        trained = part.split == "train"
        table.add_row(
            part.name,
            part.group,
            part.split,
            f"{part.tokens:,}",
            f"{part.documents:,}",
            f"{part.text_bytes / part.tokens:.2f}",
            f"{part.epochs:g}" if trained else "",
            f"{part.tokens * part.epochs / whole:.1%}" if trained else "",
        )
    return table


def _print_drops(console: Console, report: dict[str, Any]) -> None:
    for title, counts in (
        ("Dropped (documents or parts of them)", report.get("dropped", {})),
        ("Documents dropped for sharing text with an evaluation", report.get("overlaps", {})),
    ):
        if counts:
            table = Table(title=title)
            table.add_column("")
            table.add_column("count", justify="right")
            for name, count in sorted(counts.items(), key=lambda item: -item[1]):
                table.add_row(name, f"{count:,}")
            console.print(table)

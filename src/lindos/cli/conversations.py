"""`lindos data conversations`: make the fine-tuning conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def command(
    config: Annotated[Path, typer.Argument(metavar="CHAT.toml", help="The kinds and sources of conversations.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the data set goes; an older one is replaced.")],
    tokenizer: Annotated[
        Path, typer.Option(metavar="DIR", help="A tokenizer, or a data set or model directory that holds one.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="What the file's paths are relative to.  [default: LINDOS_SHARED/data]"),
    ] = None,
) -> None:
    """Make conversations: own templates in the voice of the product, and what people wrote, shortened and cleaned.

    The loss counts the assistant's words only. The same file, sources and tokenizer give the same data set.
    """
    from lindos.data import TokenDataset
    from lindos.data.conversations import prepare_conversations
    from lindos.data.prepare import data_root

    meta = prepare_conversations(config, out, tokenizer, data_root(root), console=Console(stderr=True))
    report = TokenDataset.open(out).report()
    table = Table(title=f"{meta.name}: {sum(part.tokens for part in meta.parts):,} tokens")
    table.add_column("source")
    for name in ("conversations", "held out", "tokens", "dropped"):
        table.add_column(name, justify="right")
    for row in report["sources"]:
        counts = (row["documents"], row["heldout_documents"], row["tokens"], sum(row["dropped"].values()))
        table.add_row(row["source"], *(f"{count:,}" for count in counts))
    console = Console()
    console.print(table)
    console.print(f"{out}: fingerprint {meta.fingerprint[:16]}", highlight=False)

"""`lindos logits`: what a model directory says about given tokens, so that anyone can verify a conversion."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lindos.specs import LindosError

if TYPE_CHECKING:
    import torch

    from lindos.model import Transformer
    from lindos.model.formats.source import TensorSource


class Dtype(StrEnum):
    """What the network computes in."""

    FP32 = "fp32"
    BF16 = "bf16"


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model directory of any format.")],
    tokens: Annotated[str, typer.Option(metavar="IDS", help="Token ids with commas between: 5,17,9")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="Where the float32 array [tokens, vocabulary] goes.")],
    dtype: Annotated[Dtype, typer.Option(help="What the network computes in; the file is float32.")] = Dtype.FP32,
    spec: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A description instead of the one beside the tensors; as for convert."),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--in-memory",
            help="Read the weights matrix by matrix instead of holding the model in memory.",
            show_default="as memory allows",
        ),
    ] = None,
    bf16_constants: Annotated[
        bool,
        typer.Option(
            "--bf16-constants", help="Round the multipliers of embedding and logits to bf16, as Grok-1's release does."
        ),
    ] = False,
) -> None:
    """Write the logits of every position of a sequence of tokens.

    A model that does not fit in memory is read matrix by matrix, so that a conversion of Grok-1 itself can be verified
    on an ordinary computer: with a few gigabytes of memory, in the time its disk takes to read it once.
    """
    ids = _token_ids(tokens)
    _check_place(out)
    import torch

    from lindos.model.formats.opening import open_source

    source = open_source(model, spec)
    for token in ids:
        if token >= source.spec.vocabulary:
            raise typer.BadParameter(f"token {token} lies outside the vocabulary of {source.spec.vocabulary}")
    if len(ids) > source.spec.sequence:
        typer.echo(f"note: {len(ids)} tokens, but the model is meant for {source.spec.sequence} at most", err=True)
    number_format = torch.float32 if dtype is Dtype.FP32 else torch.bfloat16
    with _progress() as bar, torch.inference_mode():
        network = _network(source, number_format, stream, bf16_constants, bar)
        logits = network(torch.tensor([ids]))[0].float().numpy()
    _save(out, logits)
    typer.echo(f"{out}: float32 [{logits.shape[0]}, {logits.shape[1]}]")


def _network(
    source: TensorSource, dtype: torch.dtype, stream: bool | None, bf16_constants: bool, bar: Progress
) -> Transformer:
    """The model in memory, or over its files where it does not fit."""
    from lindos.kernels import available_memory
    from lindos.model.formats import FormatError
    from lindos.model.formats.own import fill
    from lindos.model.formats.streamed import StreamedTransformer, streamed_bytes

    memory = available_memory()
    if stream is None:
        stream = 1.25 * source.spec.parameters * dtype.itemsize + (256 << 20) > memory
    if not stream:
        return fill(source, dtype=dtype, bf16_constants=bf16_constants)
    if (need := streamed_bytes(source, dtype)) > memory:
        raise FormatError(
            f"{source.directory}: even matrix by matrix it takes about {need / 1e9:.1f} GB of memory, and "
            f"{memory / 1e9:.1f} GB are free"
        )
    task = bar.add_task("layers", total=source.spec.layers)

    def show(done: int, _total: int) -> None:
        bar.update(task, completed=done)

    return StreamedTransformer(source, dtype=dtype, bf16_constants=bf16_constants, progress=show)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _token_ids(text: str) -> list[int]:
    parts = text.replace(",", " ").split()
    if not parts:
        raise typer.BadParameter("no tokens given; write ids with commas between, such as 5,17,9")
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            raise typer.BadParameter(f"'{part}' is not a token id; write ids with commas between, such as 5,17,9")
    return [int(part) for part in parts]


def _check_place(path: Path) -> None:
    """What cannot be written is better found out before a model is read."""
    if path.is_dir():
        raise LindosError(f"{path}: is a directory; name the file the logits go into")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise LindosError(f"{path}: cannot be written: {path.parent} is no directory that can be written into")


def _save(path: Path, array: object) -> None:
    """The whole file or none."""
    import numpy as np

    from lindos.model.formats import FormatError

    draft = path.with_name(path.name + ".tmp")
    try:
        with draft.open("wb") as file:
            np.save(file, array)  # type: ignore[arg-type]
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FormatError(f"{path}: cannot be written: {error.strerror or error}") from None

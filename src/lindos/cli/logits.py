"""`lindos logits`: what a model directory says about given tokens, so that anyone can verify a conversion."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
) -> None:
    """Write the logits of every position of a sequence of tokens."""
    ids = _token_ids(tokens)
    import torch

    from lindos.model.formats.opening import open_source
    from lindos.model.formats.own import fill

    source = open_source(model, spec)
    for token in ids:
        if token >= source.spec.vocabulary:
            raise typer.BadParameter(f"token {token} lies outside the vocabulary of {source.spec.vocabulary}")
    if len(ids) > source.spec.sequence:
        typer.echo(f"note: {len(ids)} tokens, but the model is meant for {source.spec.sequence} at most", err=True)
    network = fill(source, dtype=torch.float32 if dtype is Dtype.FP32 else torch.bfloat16)
    with torch.inference_mode():
        logits = network(torch.tensor([ids]))[0].float().numpy()
    _save(out, logits)
    typer.echo(f"{out}: float32 [{logits.shape[0]}, {logits.shape[1]}]")


def _token_ids(text: str) -> list[int]:
    parts = text.replace(",", " ").split()
    if not parts:
        raise typer.BadParameter("no tokens given; write ids with commas between, such as 5,17,9")
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            raise typer.BadParameter(f"'{part}' is not a token id; write ids with commas between, such as 5,17,9")
    return [int(part) for part in parts]


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

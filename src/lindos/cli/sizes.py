"""Sizes in bytes on the command line."""

from __future__ import annotations

import re
from typing import Annotated

import typer

_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([KMGT]?)(|B|iB)", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """A size such as 8GiB, 512 MB or 1.5G: GB is a power of 1000, G and GiB of 1024. Raises typer.BadParameter."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3].lower() == "ib" and not found[2]):
        raise typer.BadParameter(f"{text!r} is not a size; write 8GiB, 512MB or a number of bytes")
    power = "KMGT".index(found[2].upper()) + 1 if found[2] else 0
    size = int(float(found[1]) * (1000 if found[3].lower() == "b" else 1024) ** power)
    if size < 1:
        raise typer.BadParameter(f"{text!r} is less than a byte")
    return size


Memory = Annotated[
    int | None,
    typer.Option(
        parser=bytes_of,
        metavar="SIZE",
        help="Memory to stay within, e.g. 8GiB: experts of a quantised model that do not fit stay on the disk.",
        show_default="what the model needs, if it is free",
    ),
]

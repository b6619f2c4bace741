"""Files that commands write for people: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from lindos.specs import SpecError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that nobody ever sees half of it. Raises SpecError where the place cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SpecError(f"{path}: cannot be written: {error.strerror}") from None


def check_picture(path: Path | None) -> None:
    """Raise SpecError for a picture that could not be drawn, before the work for it is done."""
    if path is not None and (path.suffix not in (".svg", ".png", ".pdf") or not path.parent.is_dir()):
        raise SpecError(f"--picture {path}: name a .svg, .png or .pdf file in a folder that is there")

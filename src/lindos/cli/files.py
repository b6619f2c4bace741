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

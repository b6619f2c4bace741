"""The catalogue: TOML files that ship with the package, and a person's own beside them.

Own entries are looked for in the folders named by `LINDOS_CATALOG` (separated like PATH) and in
`~/.config/lindos/catalog`; an own entry with the name of a shipped one takes its place.
"""

from __future__ import annotations

import json
import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from lindos.specs.base import SpecError, nearest
from lindos.specs.model import ModelSpec

LARGEST_TABLE = 64 << 20
"""Bytes; the index of a sharded checkpoint, which lists every tensor, stays far below."""


def catalog_folders() -> list[Path]:
    """Where entries are looked for, the first taking precedence."""
    own = [Path(part) for part in os.environ.get("LINDOS_CATALOG", "").split(os.pathsep) if part]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "lindos" / "catalog"
    shipped = Path(str(resources.files("lindos.specs"))) / "catalog"
    return [*own, home, shipped]


def read_table(path: Path) -> dict[str, Any]:
    """The table of a JSON file (`.json`) or a TOML file (any other name), however damaged or hostile.

    Raises SpecError naming the file and what is wrong in it.
    """
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise SpecError(f"{path}: larger than {LARGEST_TABLE >> 20} MiB; this is no description")
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:  # decoding, JSON and TOML errors are ValueErrors, and so is SpecError
        raise error if isinstance(error, SpecError) else SpecError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: cannot be read: nested too deeply") from None
    if not isinstance(table, dict):
        raise SpecError(f"{path}: expected a table of fields, found {type(table).__name__}")
    return table


def catalog_models() -> dict[str, ModelSpec]:
    """Every model of the catalogue by name, sorted by size."""
    found: dict[str, ModelSpec] = {}
    for folder in catalog_folders():
        for path in sorted(folder.glob("*.toml")):
            spec = ModelSpec.parse(read_table(path), where=str(path))
            found.setdefault(spec.name, spec)
    return dict(sorted(found.items(), key=lambda item: item[1].parameters))


def load_model_spec(name: str | Path) -> ModelSpec:
    """A model by its catalogue name or by the path of a TOML or JSON file. Raises SpecError."""
    path = Path(name)
    if path.suffix in {".toml", ".json"}:
        return ModelSpec.parse(read_table(path), where=str(path))
    models = catalog_models()
    if str(name) not in models:
        close = nearest(str(name), models)
        hint = f"; did you mean '{close}'?" if close else ""
        raise SpecError(f"unknown model '{name}'{hint} (known: {', '.join(models)}; or give a .toml file)")
    return models[str(name)]

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


def catalog_folders() -> list[Path]:
    """Where entries are looked for, the first taking precedence."""
    own = [Path(part) for part in os.environ.get("LINDOS_CATALOG", "").split(os.pathsep) if part]
    home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "lindos" / "catalog"
    shipped = Path(str(resources.files("lindos.specs"))) / "catalog"
    return [*own, home, shipped]


def read_table(path: Path) -> dict[str, Any]:
    """The table of a TOML or JSON file. Raises SpecError naming the file and what is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
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

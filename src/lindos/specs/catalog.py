"""The catalogue: TOML files that ship with the package, and a person's own beside them.

A folder of the catalogue holds one file a model, and under `accelerators/`, `machines/`, `fabrics/` and `clusters/`
files of many entries, a table each; an entry names another by its name (`accelerator = "h100-sxm"`). Own entries are
looked for in the folders named by `LINDOS_CATALOG` (separated like PATH) and in `~/.config/lindos/catalog`; an own
entry with the name of a shipped one takes its place.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from lindos.specs.base import Spec, SpecError, nearest, nearest_few
from lindos.specs.machine import Accelerator, Cluster, Fabric, Machine
from lindos.specs.model import ModelSpec

LARGEST_TABLE = 64 << 20
"""Bytes; the index of a sharded checkpoint, which lists every tensor, stays far below."""

Entry = TypeVar("Entry", bound=Spec)


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


def catalog_accelerators() -> dict[str, Accelerator]:
    """Every accelerator by name."""
    return {name: Accelerator.parse(entry, where=where) for name, (entry, where) in _entries("accelerators").items()}


def catalog_fabrics() -> dict[str, Fabric]:
    """Every network by name."""
    return {name: Fabric.parse(entry, where=where) for name, (entry, where) in _entries("fabrics").items()}


def catalog_machines() -> dict[str, Machine]:
    """Every machine by name, its accelerator looked up."""
    accelerators = catalog_accelerators()
    machines = {}
    for name, (entry, where) in _entries("machines").items():
        machines[name] = Machine.parse(_joined(entry, "accelerator", accelerators, where), where=where)
    return machines


def catalog_clusters() -> dict[str, Cluster]:
    """Every cluster by name, its machine and fabric looked up."""
    machines, fabrics = catalog_machines(), catalog_fabrics()
    clusters = {}
    for name, (entry, where) in _entries("clusters").items():
        whole = _joined(_joined(entry, "machine", machines, where), "fabric", fabrics, where)
        clusters[name] = Cluster.parse(whole, where=where)
    return clusters


def load_model_spec(name: str | Path) -> ModelSpec:
    """A model by its catalogue name or by the path of a TOML or JSON file. Raises SpecError."""
    path = Path(name)
    if path.suffix in {".toml", ".json"}:
        return ModelSpec.parse(read_table(path), where=str(path))
    return choose("model", str(name), catalog_models, "a .toml file")


def load_machine(name: str | Path) -> Machine:
    """A machine by its catalogue name or the path of a TOML or JSON file. Raises SpecError."""
    path = Path(name)
    if path.suffix in {".toml", ".json"}:
        entry = _joined(read_table(path), "accelerator", catalog_accelerators(), str(path))
        return Machine.parse({"name": path.stem, **entry}, where=str(path))
    return choose("machine", str(name), catalog_machines, "a .toml file")


def load_cluster(name: str | Path) -> Cluster:
    """A cluster by its catalogue name or the path of a TOML or JSON file. Raises SpecError."""
    path = Path(name)
    if path.suffix in {".toml", ".json"}:
        entry = _joined(read_table(path), "machine", catalog_machines(), str(path))
        entry = _joined(entry, "fabric", catalog_fabrics(), str(path))
        return Cluster.parse({"name": path.stem, **entry}, where=str(path))
    return choose("cluster", str(name), catalog_clusters, "a .toml file")


def choose(what: str, name: str, catalog: Callable[[], dict[str, Entry]], otherwise: str) -> Entry:
    """The entry called `name`; raises SpecError that says what else is known."""
    known = catalog()
    if name in known:
        return known[name]
    close = nearest(name, known)
    hint = f"; did you mean '{close}'?" if close else ""
    raise SpecError(f"unknown {what} '{name}'{hint} (nearest: {_list(name, known)}; or give {otherwise})")


def _list(name: str, known: Iterable[str]) -> str:
    return ", ".join(nearest_few(name, known))


def _entries(kind: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Every table of the files under `kind`, with its name put in and where it stands."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for folder in catalog_folders():
        for path in sorted((folder / kind).glob("*.toml")):
            for name, entry in read_table(path).items():
                if not isinstance(entry, dict):
                    raise SpecError(f"{path}: expected tables of fields, found '{name}' = {entry!r:.40}")
                found.setdefault(name, ({"name": name, **entry}, f"{path}: {name}"))
    return found


def _joined(entry: dict[str, Any], field: str, known: dict[str, Any], where: str) -> dict[str, Any]:
    """The entry with the name in `field` replaced by what it names."""
    named = entry.get(field)
    if not isinstance(named, str):
        return entry
    if named not in known:
        raise SpecError(f"{where}: unknown {field} '{named}' (nearest: {_list(named, known)})")
    return {**entry, field: known[named].model_dump()}

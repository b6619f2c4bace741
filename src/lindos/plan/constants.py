"""The constants of the planner: few, named, in physical units, in one file beside this one (`constants.toml`).

Those with a `factor` are fitted by `lindos plan fit`: `expected` is what sources or engineering lead one to expect, and
a value `factor` times larger or smaller lies one standard deviation away from it. The others are measured or taken
from a source and stay. Entries named `level_...` are no part of the step model: each says how one publisher's runs
compare in time with the average publisher's, and only predictions of that publisher's own rows are multiplied by it.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Annotated

from pydantic import Field

from lindos.specs import Spec, SpecError

FILE = "constants.toml"
LEVEL_PREFIX = "level_"


class Constant(Spec):
    """One number, what it is, and how far it may move in a fit."""

    value: Annotated[float, Field(ge=0)]
    unit: str
    meaning: str
    expected: float | None = None
    factor: Annotated[float | None, Field(gt=1)] = None
    """One standard deviation of the prior, as a ratio; none: the constant is not fitted."""
    source: str = ""


class Constants(Mapping[str, float]):
    """Values by name; a misspelt name raises SpecError."""

    def __init__(self, entries: Mapping[str, Constant]):
        self.entries = dict(entries)

    def __getitem__(self, name: str) -> float:
        try:
            return self.entries[name].value
        except KeyError:
            raise SpecError(f"the planner's constants have no '{name}'") from None

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fitted(self) -> list[str]:
        """Names of the constants a fit moves."""
        return [name for name, entry in self.entries.items() if entry.factor is not None]

    def changed(self, values: Mapping[str, float]) -> Constants:
        """A copy with other values. Raises SpecError for a name there is no constant of."""
        entries = dict(self.entries)
        for name, value in values.items():
            if name not in entries:
                raise SpecError(f"the planner's constants have no '{name}'")
            entries[name] = entries[name].model_copy(update={"value": float(value)})
        return Constants(entries)

    def prior(self) -> Constants:
        """A copy with the fitted ones at what sources lead one to expect, and no publisher's level."""
        expected = {name: entry.expected for name, entry in self.entries.items() if entry.factor is not None}
        return self.changed({name: value for name, value in expected.items() if value is not None}).with_levels({})

    def with_levels(self, levels: Mapping[str, float]) -> Constants:
        """A copy whose publishers' levels are these, as ratios by publisher, and no others."""
        entries = {name: entry for name, entry in self.entries.items() if not name.startswith(LEVEL_PREFIX)}
        for publisher, ratio in levels.items():
            meaning = f"how {publisher}'s runs compare in time with the average publisher's"
            entries[level_name(publisher)] = Constant(value=ratio, unit="ratio", meaning=meaning)
        return Constants(entries)


def level_name(publisher: str) -> str:
    """The name of the entry that holds a publisher's level."""
    return LEVEL_PREFIX + re.sub(r"[^a-z0-9]+", "_", publisher.lower()).strip("_")


def parse_constants(text: str) -> Constants:
    """Constants from TOML; raises SpecError."""
    tables = tomllib.loads(text)
    return Constants({name: Constant.parse(table, where=f"{FILE}: {name}") for name, table in tables.items()})


@functools.cache
def shipped_constants() -> Constants:
    """The constants that ship with the planner."""
    return parse_constants((resources.files("lindos.plan") / FILE).read_text(encoding="utf-8"))


def write_constants(constants: Constants) -> str:
    """The constants as TOML, values to four significant digits."""
    lines: list[str] = []
    for name, entry in constants.entries.items():
        lines += [f"[{_key(name)}]", f"value = {float(f'{entry.value:.4g}')!r}", f"unit = {_string(entry.unit)}"]
        lines.append(f"meaning = {_string(entry.meaning)}")
        if entry.expected is not None:
            lines.append(f"expected = {entry.expected!r}")
        if entry.factor is not None:
            lines.append(f"factor = {entry.factor!r}")
        if entry.source:
            lines.append(f"source = {_string(entry.source)}")
        lines.append("")
    return "\n".join(lines)


def _string(text: str) -> str:
    """A basic string of TOML: JSON's, but for the one control character that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)

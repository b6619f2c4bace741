"""The base of every noun: a frozen pydantic model that refuses unknown fields and names the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class LindosError(Exception):
    """The base of every error meant for a person: its text says what was wrong, with what, and what to do."""


class SpecError(LindosError, ValueError):
    """A description (of a model, machine, layout, run, ...) that cannot be used; the text says what to change."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when nothing is close enough to suggest.

    Of equally close ones the first by the alphabet: of grok-1 and grok-2, the one that came first.
    """
    names = list(known)
    found = difflib.get_close_matches(name, names, n=len(names) or 1, cutoff=0.5)
    if found:
        return min(found, key=lambda k: (-difflib.SequenceMatcher(None, k, name).ratio(), k))
    # A short name inside a longer one ("head" in "heads", "expert" in "experts_per_token") is worth suggesting too.
    inside = [k for k in names if name and (name in k or k in name)]
    return min(inside, key=len) if inside else None


def nearest_few(name: str, known: Iterable[str], count: int = 4) -> list[str]:
    """Up to `count` known names, the closest first; never empty while anything is known."""
    names = list(known)
    alike = {k: difflib.SequenceMatcher(None, name, k).ratio() + (0.5 if name and name in k else 0.0) for k in names}
    return sorted(names, key=lambda k: (-alike[k], k))[:count]


class Spec(BaseModel):
    """Frozen, strict about its fields, and readable when it refuses.

    `parse` is the way in for foreign data (TOML, JSON): it raises `SpecError` with one line per mistake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def parse(cls, data: Any, *, where: str = "") -> Self:
        """Validate `data`; `where` (a file, a table name) opens the error text. Raises SpecError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(explain(error, cls, where)) from None


def explain(error: ValidationError, cls: type[BaseModel], where: str = "") -> str:
    """Pydantic's findings as plain lines; an unknown field is answered with the nearest known one."""
    lines = []
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(_unknown_field(path, item["loc"], cls))
        elif item["type"] == "missing":
            lines.append(f"{path}: this field is required")
        elif item["type"] == "value_error":
            lines.append((f"{path}: " if path else "") + str(item.get("ctx", {}).get("error", item["msg"])))
        else:
            lines.append(f"{path}: {item['msg'][:1].lower()}{item['msg'][1:]} (got {_short(item['input'])})")
    head = f"{where}: " if where else ""
    return "\n".join(head + line for line in lines)


def _unknown_field(path: str, loc: tuple[int | str, ...], cls: type[BaseModel]) -> str:
    owner: Any = cls
    for part in loc[:-1]:
        owner = _inner_model(owner, part) or owner
    close = nearest(str(loc[-1]), owner.model_fields)
    return f"{path}: unknown field" + (f"; did you mean '{close}'?" if close else "")


def _inner_model(owner: Any, part: int | str) -> Any:
    field = owner.model_fields.get(part) if isinstance(part, str) else None
    if field is None:
        return None
    return _model_in(field.annotation)


def _model_in(kind: Any) -> Any:
    """The model that a type is, or holds (in a list, a table of lists, ...)."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in getattr(kind, "__args__", ()) if (found := _model_in(inner))), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

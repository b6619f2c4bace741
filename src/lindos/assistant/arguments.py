"""Whether a JSON value fits a JSON schema (https://json-schema.org/draft/2020-12), as far as calls are held to one.

For checking a call after it was made; what a grammar can hold to while it is written knows more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lindos.assistant.model import RequestError

_CHECKED = {
    *("type", "enum", "const", "anyOf", "allOf", "oneOf", "$ref"),
    *("properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems"),
    *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_WORDS = {
    *("title", "description", "default", "examples", "format", "deprecated", "readOnly", "writeOnly"),
    *("$comment", "$schema", "$id"),
}
"""What says something to people only; `format` too is a note by the standard."""
_DEFINITIONS = ("$defs", "definitions")
_KINDS = ("null", "boolean", "object", "array", "number", "string", "integer")
DEEPEST = 64

Schema = Mapping[str, Any] | bool


def check_schema(schema: Mapping[str, Any], param: str) -> None:
    """Raises RequestError, naming `param`, unless every part of `schema` is one that `misfit` can check."""
    _check(schema, schema, param, 0)


def misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Where and how `value` does not fit a schema that `check_schema` has passed; None: it fits.

    Raises RecursionError for values nested deeper than Python's stack.
    """
    return _misfit(value, schema, schema, "")


def _check(schema: Any, root: Mapping[str, Any], param: str, depth: int) -> None:
    def refuse(why: str) -> RequestError:
        return RequestError(f"a strict function's schema {why}: change it, or leave 'strict' out", param=param)

    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise refuse(f"has {schema!r:.60} where a schema belongs")
    if depth > DEEPEST:
        raise refuse(f"is nested deeper than {DEEPEST} levels")
    for name, part in schema.items():
        if name not in _CHECKED and name not in _WORDS and name not in _DEFINITIONS:
            raise refuse(f"has '{name}', which arguments cannot be held to after a call")
        if not _well_formed(name, part, root):
            raise refuse(f"has a '{name}' that cannot be used ({part!r:.60})")
    for part in _parts(schema):
        _check(part, root, param, depth + 1)
    if "$ref" in schema and _circle(schema, root):
        raise refuse(f"has a $ref that only leads back to itself ({schema['$ref']})")


def _well_formed(name: str, part: Any, root: Mapping[str, Any]) -> bool:
    match name:
        case "type":
            return all(kind in _KINDS for kind in _listed(part))
        case "enum" | "prefixItems":
            return isinstance(part, list)
        case "anyOf" | "allOf" | "oneOf":
            return isinstance(part, list) and bool(part)
        case "required":
            return isinstance(part, list) and all(isinstance(one, str) for one in part)
        case "properties" | "$defs" | "definitions":
            return isinstance(part, Mapping)
        case "minItems" | "maxItems" | "minLength" | "maxLength":
            return _is_number(part) and part >= 0
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return _is_number(part)
        case "multipleOf":
            return _is_number(part) and part > 0
        case "$ref":
            return isinstance(part, str) and _target(part, root) is not None
    return True


def _parts(schema: Mapping[str, Any]) -> list[Any]:
    """The schemas inside a schema."""
    named = [part for name in ("properties", *_DEFINITIONS) for part in schema.get(name, {}).values()]
    listed = [part for name in ("anyOf", "allOf", "oneOf", "prefixItems") for part in schema.get(name, [])]
    single = [schema[name] for name in ("items", "additionalProperties") if name in schema]
    return named + listed + single


def _target(reference: str, root: Mapping[str, Any]) -> Schema | None:
    """What a reference means: the whole schema, or one of its definitions, which are all checked."""
    if reference == "#":
        return root
    _, _, place = reference.partition("#/")
    holder, _, name = place.partition("/")
    found = root.get(holder, {}) if holder in _DEFINITIONS else {}
    return found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None


def _circle(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether following references and alternatives from here comes back here before any part of a value is used up."""
    seen: list[Any] = []
    todo: list[Any] = [schema]
    while todo:
        now = todo.pop()
        if not isinstance(now, Mapping):
            continue
        ahead = [part for name in ("anyOf", "allOf", "oneOf") for part in now.get(name, [])]
        if "$ref" in now:
            ahead.append(_target(now["$ref"], root))
        if any(part is schema for part in ahead):
            return True
        todo += [part for part in ahead if not any(part is one for one in seen)]
        seen += ahead
    return False


def _misfit(value: Any, schema: Schema, root: Mapping[str, Any], where: str) -> str | None:
    if isinstance(schema, bool):
        return None if schema else f"{where or 'the value'} is not allowed"
    place = where or "the value"
    if "$ref" in schema:
        target = _target(schema["$ref"], root)
        fault = None if target is None else _misfit(value, target, root, where)
        if fault:
            return fault
    if "type" in schema and not any(_is(value, kind) for kind in _listed(schema["type"])):
        return f"{place} is no {' or '.join(_listed(schema['type']))}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{place} is not {schema['const']!r:.60}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{place} is none of the values it may have"
    return (
        _of_alternatives(value, schema, root, where)
        or _of_size(value, schema, place)
        or _of_parts(value, schema, root, where)
    )


def _of_alternatives(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str) -> str | None:
    for part in schema.get("allOf", ()):
        fault = _misfit(value, part, root, where)
        if fault:
            return fault
    for name in ("anyOf", "oneOf"):
        if name in schema:
            fitting = sum(_misfit(value, part, root, where) is None for part in schema[name])
            if not fitting or (name == "oneOf" and fitting > 1):
                return f"{where or 'the value'} fits {fitting or 'none'} of the alternatives"
    return None


def _of_size(value: Any, schema: Mapping[str, Any], place: str) -> str | None:
    if _is_number(value):
        if value < schema.get("minimum", -math.inf) or value > schema.get("maximum", math.inf):
            return f"{place} is out of range"
        if value <= schema.get("exclusiveMinimum", -math.inf) or value >= schema.get("exclusiveMaximum", math.inf):
            return f"{place} is out of range"
        if "multipleOf" in schema and not _multiple(value, schema["multipleOf"]):
            return f"{place} is no multiple of {schema['multipleOf']}"
    for kind, least, most in ((str, "minLength", "maxLength"), (list, "minItems", "maxItems")):
        if isinstance(value, kind) and not schema.get(least, 0) <= len(value) <= schema.get(most, math.inf):
            return f"{place} is too short or too long"
    return None


def _of_parts(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str) -> str | None:
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return f"{where or 'the value'} lacks '{missing[0]}'"
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        parts = [(f"{where}.{name}", part, known.get(name, others)) for name, part in value.items()]
    elif isinstance(value, list):
        first, others = schema.get("prefixItems", []), schema.get("items", True)
        parts = [(f"{where}[{n}]", part, first[n] if n < len(first) else others) for n, part in enumerate(value)]
    else:
        return None
    faults = (_misfit(part, one, root, path.lstrip(".")) for path, part, one in parts)
    return next((fault for fault in faults if fault), None)


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "number":
            return _is_number(value)
        case "integer":
            return _is_number(value) and value == math.floor(value)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isinf(value)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON has it: true is not 1, but 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _multiple(value: float, of: float) -> bool:
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    ratio = value / of
    return math.isfinite(ratio) and ratio == round(ratio)


def _listed(kinds: Any) -> list[Any]:
    return kinds if isinstance(kinds, list) else [kinds]

"""How descriptions in others' words say what is done to rotary positions: plain, or stretched by YaRN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec

FLAT = frozenset((
    "rope_type", "scaling_factor", "original_max_position_embeddings", "extrapolation_factor", "attn_factor",
    "beta_fast", "beta_slow",
))  # fmt: skip
"""Keys of Grok-2's description that lie beside all others."""
NESTED = ("rope_parameters", "rope_scaling")
"""Where transformers 5 and 4 keep theirs."""


def said_positions(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields `rope_base` and `rope_scaling` as far as those keys tell. Raises FormatError for other stretchings."""
    found: dict[str, Any] = {}
    for key in NESTED:
        inner = table.get(key)
        if inner is None:
            continue
        if not isinstance(inner, dict) or any(isinstance(value, dict) for value in inner.values()):
            raise FormatError(f"{where}: {key} = {inner!r:.80} is not one table of settings for all layers")
        if "original_sequence" in inner:  # Lindos's own
            return {"rope_scaling": inner}
        if inner.get("rope_theta") is not None:
            found["rope_base"] = inner["rope_theta"]
        if (scaling := _nested(inner, f"{where}: {key}")) is not None:
            found["rope_scaling"] = scaling
    if (scaling := _flat(table, where)) is not None:
        found["rope_scaling"] = scaling
    return found


def _nested(inner: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    kind = inner.get("rope_type", inner.get("type", "default"))
    if kind not in ("default", "yarn"):
        raise FormatError(f"{where}: rope_type {kind!r} is not computed; Lindos knows 'default' and 'yarn'")
    allowed = {"rope_type": kind, "type": kind, "partial_rotary_factor": 1.0, "truncate": True}
    free = {"rope_theta", "finetuned"}
    if kind == "yarn":
        free |= {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"}
    for key, value in inner.items():
        if key not in free and value is not None and (key not in allowed or value != allowed[key]):
            raise FormatError(f"{where}: {key} = {value!r} is not computed with rope_type {kind!r}")
    if kind == "default":
        return None
    for key in ("factor", "original_max_position_embeddings"):
        if inner.get(key) is None:
            raise FormatError(f"{where}: rope_type 'yarn' wants {key}")
    return _scaling(inner, inner["factor"], inner.get("attention_factor"))


def _flat(table: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """SGLang's models/grok.py: "original" is plain, and its YaRN does not scale what it turns."""
    kind = table.get("rope_type")
    if kind in (None, "default", "original"):
        return None
    if kind not in ("yarn", "yarn_linear") or table.get("extrapolation_factor", 1.0) != 1.0:
        detail = f" with extrapolation_factor {table['extrapolation_factor']!r}" if str(kind).startswith("yarn") else ""
        raise FormatError(f"{where}: rope_type {kind!r}{detail} is not computed; Lindos knows 'original' and 'yarn'")
    for key in ("scaling_factor", "original_max_position_embeddings"):
        if table.get(key) is None:
            raise FormatError(f"{where}: rope_type {kind!r} wants {key}")
    return _scaling(table, table["scaling_factor"], 1.0)


def _scaling(table: Mapping[str, Any], factor: Any, attention_factor: Any) -> dict[str, Any]:
    scaling = {"factor": factor, "original_sequence": table["original_max_position_embeddings"]}
    given = {"beta_fast": table.get("beta_fast"), "beta_slow": table.get("beta_slow")}
    given["attention_factor"] = attention_factor
    return scaling | {key: value for key, value in given.items() if value is not None}


def flat_positions(spec: ModelSpec) -> dict[str, Any]:
    """The settings beside all others that `said_positions` reads back. Raises FormatError where none of them fits."""
    scaling = spec.rope_scaling
    if scaling is None:
        return {}
    if scaling.attention_factor != 1.0:
        raise FormatError(f"{spec.name}: SGLang's YaRN has an attention_factor of 1, this model's is another")
    return {
        "rope_type": "yarn",
        "scaling_factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_sequence,
        "extrapolation_factor": 1.0,
        "attn_factor": 1.0,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
    }


def nested_positions(spec: ModelSpec) -> dict[str, Any] | None:
    """The `rope_scaling` that transformers reads, and `said_positions` back."""
    scaling = spec.rope_scaling
    if scaling is None:
        return None
    return {
        "rope_type": "yarn",
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_sequence,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "attention_factor": scaling.attention_factor or None,
    }

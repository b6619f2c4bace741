"""What a GGUF file's keys say of the network: to fields of `ModelSpec`, and back.

Keys are those of llama.cpp (src/llama-arch.cpp). What none of them can say lies under `lindos.spec`, a JSON table that
others pass over; there numbers are exact, which GGUF keeps in fp32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lindos.model.formats.gguf.architectures import ARCHITECTURES, GROK, Architecture
from lindos.model.formats.gguf.header import Header, ListRef
from lindos.model.formats.sizes import plain_name
from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec

OWN_KEY = "lindos.spec"
TEMPLATE_KEY = "tokenizer.chat_template"
_FIELDS = {
    "block_count": "layers",
    "embedding_length": "width",
    "context_length": "sequence",
    "attention.head_count": "heads",
    "attention.head_count_kv": "kv_heads",
    "attention.key_length": "head_size",
    "attention.layer_norm_rms_epsilon": "norm_eps",
    "expert_count": "experts",
    "expert_used_count": "experts_per_token",
    "rope.freq_base": "rope_base",
}
_GROK_FIELDS = {
    "embedding_scale": "embedding_multiplier",
    "logit_scale": "logit_multiplier",
    "attention.output_scale": "attention_multiplier",
    "attn_logit_softcapping": "attention_softcap",
    "router_logit_softcapping": "router_softcap",
    "final_logit_softcapping": "logit_softcap",
    "attention.temperature_length": "attention_temperature_length",
}
_SPLIT = "feed_forward_length", "expert_feed_forward_length"
_SCALING = "rope.scaling."
_SCALING_READ = frozenset((
    "type", "factor", "original_context_length", "attn_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow",
))  # fmt: skip
_INERT: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "attention.sliding_window": (0,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "expert_gating_func": (0, 1),
    "expert_group_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_shared_feed_forward_length": (0,),
    "expert_weights_norm": (True,),
    "expert_weights_scale": (0.0, 1.0),
    "leading_dense_block_count": (0,),
    "nextn_predict_layers": (0,),
    "rope.scale_linear": (0.0, 1.0),
    "rope.scaling.yarn_ext_factor": (-1.0, 1.0),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "use_parallel_residual": (False,),
}
"""Keys of relatives and the values at which they change nothing."""
_OWN_ALONE = frozenset({"name", "title", "kind", "router_softcap", "renormalise_gates", "rope_scaling"})
"""Fields that keys say loosely or not at all."""
_SILENT = frozenset({"tensor_data_layout", "vocab_size", "rope.scaling.finetuned"})


def architecture_of(header: Header) -> Architecture:
    """Raises FormatError for a file of another architecture, or of dense layers only."""
    name = header.metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise FormatError(
            f"{header.path}: general.architecture = {name!r:.60} is not one that Lindos computes "
            f"({', '.join(ARCHITECTURES)})"
        )
    if not header.metadata.get(f"{name}.expert_count"):
        raise FormatError(
            f"{header.path}: {name}.expert_count is missing or 0; Lindos computes layers with experts only"
        )
    return ARCHITECTURES[name]


def fields_of(header: Header, architecture: Architecture) -> dict[str, Any]:
    """The fields of `ModelSpec` that the header gives. Raises FormatError for what Lindos does not compute."""
    prefix = f"{architecture.name}."
    said = {key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)}
    _check_known(said, architecture, header)
    shared = "blk.0.ffn_up.weight" in header.tensors
    fields: dict[str, Any] = {**architecture.defaults, **architecture.fixed}
    names = _FIELDS | (_GROK_FIELDS if architecture is GROK else {})
    for key, name in names.items():
        if key in said:
            fields[name] = _plain(said[key], f"{header.path}: {prefix}{key}")
            if name.endswith("_softcap"):
                fields[name] = fields[name] or None
    if architecture is GROK and not shared:
        fields["router_softcap"] = None  # converters of Grok-1 write 30, which it has not and no reader applies
    fields |= _widths(said, shared, header, architecture) | _head_size(said, fields, header)
    if (scaling := _scaling(said, fields, header, architecture)) is not None:
        fields["rope_scaling"] = scaling
    if header.metadata.get(TEMPLATE_KEY):
        fields["kind"] = "chat"
    if isinstance(name := header.metadata.get("general.name"), str) and name:
        fields["name"], fields["title"] = plain_name(name), name[:200]
    return _with_own(fields, header)


def _check_known(said: Mapping[str, Any], architecture: Architecture, header: Header) -> None:
    """Raise FormatError for the first key that may describe another network."""
    known = {*_FIELDS, *_SPLIT, *_SILENT, "attention.value_length", "rope.dimension_count"}
    known |= {f"{_SCALING}{key}" for key in _SCALING_READ} | (set(_GROK_FIELDS) if architecture is GROK else set())
    for key, value in said.items():
        if key in known or (key in _INERT and value in _INERT[key]):
            continue
        longest = said.get("context_length")
        if (
            key == "attention.sliding_window"
            and isinstance(value, int)
            and isinstance(longest, int)
            and value >= longest
        ):
            continue
        shown = f"a list of {value.count}" if isinstance(value, ListRef) else f"{value!r:.60}"
        raise FormatError(
            f"{header.path}: {architecture.name}.{key} = {shown} describes a network that Lindos does not compute"
        )


def _plain(value: Any, where: str) -> Any:
    """A number as it was meant: the shortest decimal of an fp32. Raises FormatError for lists and texts."""
    if isinstance(value, float) and math.isfinite(value):
        return float(str(np.float32(value)))
    if isinstance(value, bool | str | ListRef) or not isinstance(value, int):
        raise FormatError(f"{where}: is not one number for all layers")
    return value


def _widths(said: Mapping[str, Any], shared: bool, header: Header, architecture: Architecture) -> dict[str, Any]:
    """Of experts and of what stands beside them; the first where there is only one."""
    whole, expert = (said.get(key) for key in _SPLIT)
    where = f"{header.path}: {architecture.name}.{_SPLIT[0]}"
    found = {"expert_width": expert or whole, "shared_width": whole if shared else 0}
    found = {name: _plain(value, where) for name, value in found.items() if value is not None}
    if shared:
        found["shared_multiplier"] = 0.7071067811865476
    return found


def _head_size(said: Mapping[str, Any], fields: Mapping[str, Any], header: Header) -> dict[str, Any]:
    sizes = {
        said[key] for key in ("attention.key_length", "attention.value_length", "rope.dimension_count") if key in said
    }
    width, heads = fields.get("width"), fields.get("heads")
    if not sizes and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        sizes = {width // heads}
    if len(sizes) != 1 or not isinstance(size := sizes.pop(), int) or size < 1:
        raise FormatError(f"{header.path}: keys, values and what is turned of them must be of one size, the head's")
    found: dict[str, Any] = {"head_size": size}
    scale = fields.get("attention_multiplier")
    if scale is not None and np.float32(scale) == np.float32(size**-0.5):
        found["attention_multiplier"] = size**-0.5
    return found


def _scaling(
    said: Mapping[str, Any], fields: Mapping[str, Any], header: Header, architecture: Architecture
) -> dict[str, Any] | None:
    """YaRN's settings, or None for plain rotary positions. Raises FormatError for other stretchings."""
    given = {key: said[_SCALING + key] for key in _SCALING_READ if _SCALING + key in said}
    kind, factor = given.get("type", "linear"), given.get("factor", 0.0)
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return None
    if kind != "yarn":
        raise FormatError(
            f"{header.path}: {architecture.name}.{_SCALING}type {kind!r:.60} is not computed; Lindos knows 'yarn'"
        )
    where = f"{header.path}: {architecture.name}.{_SCALING}"
    numbers = {key: _plain(value, where + key) for key, value in given.items() if key != "type"}
    if not numbers.get("factor"):
        raise FormatError(f"{where}factor is missing")
    scaling = {
        "factor": numbers["factor"],
        "original_sequence": numbers.get("original_context_length") or fields.get("sequence"),
        "beta_fast": numbers.get("yarn_beta_fast", 8.0 if architecture is GROK else 32.0),
        "beta_slow": numbers.get("yarn_beta_slow", 1.0),
    }
    if "yarn_attn_factor" in numbers:
        scaling["attention_factor"] = numbers["yarn_attn_factor"]
    elif "attn_factor" in numbers:  # beside what YaRN's own is
        scaling["attention_factor"] = numbers["attn_factor"] * (0.1 * math.log(max(1.0, numbers["factor"])) + 1)
    return scaling


def _with_own(fields: dict[str, Any], header: Header) -> dict[str, Any]:
    """With what Lindos wrote beside the keys; where both say something, the keys must bear it out to fp32."""
    text = header.metadata.get(OWN_KEY)
    if text is None:
        return fields
    where = f"{header.path}: {OWN_KEY}"
    try:
        own = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise FormatError(f"{where} is no JSON table") from None
    if not isinstance(own, dict):
        raise FormatError(f"{where} is no JSON table")
    own = {key: value for key, value in own.items() if key in ModelSpec.model_fields}
    for key in sorted(own.keys() & fields.keys() - _OWN_ALONE):
        exact = own[key]
        if key == "attention_multiplier" and not exact:
            exact = fields["head_size"] ** -0.5
        if not _same(exact, fields[key]):
            raise FormatError(f"{where} has {key} = {own[key]!r:.60}, and the key for it says {fields[key]!r:.60}")
    return fields | own


def _same(exact: Any, stored: Any) -> bool:
    if isinstance(exact, float | int) and isinstance(stored, float | int) and abs(exact) < 1e30 and abs(stored) < 1e30:
        return bool(np.isclose(exact, stored, rtol=1e-6, atol=0.0))
    return exact == stored


def keys_of(spec: ModelSpec, architecture: Architecture) -> dict[str, Any]:
    """The keys that `fields_of` reads back to an equal spec. Floats are to be written as fp32."""
    own = json.loads(spec.model_dump_json())
    found: dict[str, Any] = {"general.architecture": architecture.name, "general.type": "model"}
    found |= {"general.name": spec.title or spec.name}
    if spec.licence:
        found["general.license"] = spec.licence
    prefix = f"{architecture.name}."
    found |= {prefix + key: value for key, value in _sizes(spec, architecture)}
    found[OWN_KEY] = json.dumps(own)
    return found


def _sizes(spec: ModelSpec, architecture: Architecture) -> Iterator[tuple[str, Any]]:
    for key, name in _FIELDS.items():
        yield key, getattr(spec, name)
    yield "attention.value_length", spec.head_size
    yield "rope.dimension_count", spec.head_size
    yield "vocab_size", spec.vocabulary
    yield "feed_forward_length", spec.shared_width or spec.expert_width
    yield "expert_feed_forward_length", spec.expert_width
    if architecture is GROK:
        scales = {"attention.output_scale": spec.score_scale}
        for key, name in _GROK_FIELDS.items():
            if key == "attention.temperature_length":
                if spec.attention_temperature_length:
                    yield key, spec.attention_temperature_length
            else:
                yield key, float(scales.get(key, getattr(spec, name) or 0.0))
    yield from _yarn(spec)


def _yarn(spec: ModelSpec) -> Iterator[tuple[str, Any]]:
    scaling = spec.rope_scaling
    if scaling is None:
        return
    yield f"{_SCALING}type", "yarn"
    yield f"{_SCALING}factor", scaling.factor
    yield f"{_SCALING}original_context_length", scaling.original_sequence
    yield f"{_SCALING}yarn_ext_factor", 1.0
    yield f"{_SCALING}yarn_beta_fast", scaling.beta_fast
    yield f"{_SCALING}yarn_beta_slow", scaling.beta_slow
    if scaling.attention_factor:
        yield f"{_SCALING}yarn_attn_factor", scaling.attention_factor
        yield f"{_SCALING}attn_factor", scaling.attention_factor / (0.1 * math.log(scaling.factor) + 1)

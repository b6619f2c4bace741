"""What the descriptions of each family leave to its code, and what they call otherwise than its relatives.

A `config.json` of Hugging Face's says which family it describes; the rest of what makes the network stands in the
family's code. Here that is written down once: Grok-1's release, Grok-2 as SGLang serves it, and Mixtral and Qwen3-MoE
as transformers computes them (models/mixtral, models/qwen3_moe).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lindos.model.formats.source import FormatError

RELEASE = {"attention_softcap": 30.0, "rope_base": 10000.0, "norm_eps": 1e-5, "pad_token": 0}
"""What Grok-1's release fixes in its code; descriptions in its names and Hugging Face's may leave it out."""

_GENERAL = frozenset((
    "chunk_size_feed_forward", "id2label", "is_encoder_decoder", "label2id", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict",
))  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How one family's descriptions are read. Fields are Lindos's, keys are those of its `config.json`."""

    title: str
    defaults: Mapping[str, Any]
    """Fields where the description says nothing."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields no description of the family can change."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Keys that mean another field than elsewhere."""
    silent: frozenset[str] = frozenset()
    """Keys that say nothing about the arithmetic here, though elsewhere they may."""
    activations: Mapping[str, str] = field(default_factory=dict)
    """Names of activations that mean something else than elsewhere; `hidden_act` may then have only these values."""
    head_from_width: bool = False
    """Whether heads of no given size share the width among them."""


GROK_1 = Family("Grok-1", defaults={**RELEASE, "norms_per_layer": 4})
GROK_2 = Family(
    "Grok-2",
    # SGLang's models/grok.py: the MLP beside the experts and they are added and divided by sqrt(2); no key is masked.
    defaults={"attention_softcap": 30.0, "router_softcap": 30.0, "norm_eps": 1e-5, "kind": "chat"},
    fixed={"shared_multiplier": 0.7071067811865476, "norms_per_layer": 4, "query_key_norms": False},
    aliases={"intermediate_size": "shared_width", "moe_intermediate_size": "expert_width"},
    silent=frozenset({"residual_moe", "pad_token_id"}),
)
_ALIKE = {
    "norms_per_layer": 2,
    "embedding_multiplier": 1.0,
    "logit_multiplier": 1.0,
    "attention_softcap": None,
    "router_softcap": None,
    "logit_softcap": None,
}
_ACTIVATIONS = {
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}  # "gelu" is the other one there, by the error function
MIXTRAL = Family(
    "Mixtral",
    defaults={"activation": "silu", "rope_base": 1e6, "norm_eps": 1e-5, "tied_head": False},
    fixed={**_ALIKE, "query_key_norms": False, "renormalise_gates": True},
    silent=_GENERAL | {"pad_token_id", "router_jitter_noise"},
    activations=_ACTIVATIONS,
    head_from_width=True,
)
QWEN3_MOE = Family(
    "Qwen3-MoE",
    defaults={"activation": "silu", "rope_base": 1e4, "norm_eps": 1e-6, "tied_head": False, "renormalise_gates": False},
    fixed={**_ALIKE, "query_key_norms": True},
    # intermediate_size is of layers without experts, of which there are none where the next two keys are inert.
    silent=_GENERAL | {"pad_token_id", "intermediate_size", "max_window_layers"},
    activations=_ACTIVATIONS,
    head_from_width=True,
)
_TRANSFORMERS = {"mixtral": MIXTRAL, "qwen3_moe": QWEN3_MOE}
_ARCHITECTURES = {"MixtralForCausalLM": MIXTRAL, "Qwen3MoeForCausalLM": QWEN3_MOE}


def family_of(table: Mapping[str, Any], where: str) -> Family:
    """Which family a description is of; Grok-1 where it names none. Raises FormatError for another than these."""
    if isinstance(kind := table.get("model_type"), str) and kind in _TRANSFORMERS:
        return _TRANSFORMERS[kind]
    named = table.get("architectures")
    for name in map(str, named if isinstance(named, list) else []):
        if name in _ARCHITECTURES:
            return _ARCHITECTURES[name]
        if not name.startswith("Grok"):
            known = ", ".join(["Grok1ForCausalLM", *_ARCHITECTURES])
            raise FormatError(f"{where}: architectures = ['{name:.60}'] is not one that Lindos computes ({known})")
    return GROK_2 if table.get("residual_moe") is True else GROK_1


def complete(fields: dict[str, Any], family: Family, where: str) -> dict[str, Any]:
    """`fields` with what the family's code fixes or defaults to. Raises FormatError where they contradict it."""
    for name, value in family.fixed.items():
        if name in fields and fields[name] != value:
            raise FormatError(f"{where}: {name} = {fields[name]!r}, but {family.title} has {value!r}")
    if family is GROK_2 and not fields.get("shared_width"):
        raise FormatError(
            f"{where}: residual_moe = True wants intermediate_size, the width of the MLP beside the experts"
        )
    whole = {**family.defaults, **family.fixed, **fields}
    if not family.head_from_width:
        return whole
    if whole.get("kv_heads") is None and "heads" in whole:
        whole["kv_heads"] = whole["heads"]
    width, heads = whole.get("width"), whole.get("heads")
    if whole.get("head_size") is None and isinstance(width, int) and isinstance(heads, int) and heads > 0:
        whole["head_size"] = width // heads
    return whole


WINDOWS = ("layer_types", "sliding_window")
"""Keys that `check_windows` judges."""


def check_windows(table: Mapping[str, Any], family: Family, where: str) -> None:
    """Raise FormatError where a description asks for a sliding window that some sequence would notice."""
    window = table.get("sliding_window")
    if family is QWEN3_MOE and not table.get("use_sliding_window"):
        window = None
    kinds = table.get("layer_types") or []
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        other = next((kind for kind in kinds if kind != "full_attention"), kinds)
        raise FormatError(f"{where}: layer_types has {other!r}, and Lindos computes layers of full_attention only")
    longest = table.get("max_position_embeddings")
    if window is None or (isinstance(window, int) and isinstance(longest, int) and window >= longest):
        return
    raise FormatError(
        f"{where}: sliding_window = {window!r} is in use, and Lindos computes attention to all tokens only"
    )

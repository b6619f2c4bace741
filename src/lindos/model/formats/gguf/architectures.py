"""The three architectures of GGUF that Lindos's network covers: what each calls its tensors and takes as given.

As llama.cpp loads and computes them (src/models/{grok,llama,qwen3moe}.cpp of https://github.com/ggml-org/llama.cpp).
Matrices are [out, in] and experts stacked; `llama` keeps the rows of queries and keys in the order of its rotary turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec

ROWS_FIRST = frozenset({"embedding", "head"})
"""Lindos has these [out, in], too."""
OUTER = {"embedding": "token_embd", "final_norm": "output_norm", "head": "output"}
_LAYER = {
    "norm_attention_in": "attn_norm",
    "norm_experts_in": "ffn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "experts.router": "ffn_gate_inp",
    "experts.gate": "ffn_gate_exps",
    "experts.up": "ffn_up_exps",
    "experts.down": "ffn_down_exps",
}
_GROK = {
    "norm_attention_out": "attn_output_norm",
    "norm_experts_out": "layer_output_norm",
    "shared.gate": "ffn_gate",
    "shared.up": "ffn_up",
    "shared.down": "ffn_down",
}
_QWEN3 = {"attention.query_norm": "attn_q_norm", "attention.key_norm": "attn_k_norm"}


@dataclass(frozen=True)
class Architecture:
    """One of them. Fields are those of `ModelSpec`."""

    name: str
    layer: Mapping[str, str]
    fixed: Mapping[str, Any]
    """Fields that its readers do not read but have built in."""
    defaults: Mapping[str, Any]
    """Fields where a file says nothing."""
    turned: frozenset[str] = frozenset()
    """Tensors whose rows stand in pairs that are turned together, not in halves."""
    spelled_otherwise: Mapping[str, str] = field(default_factory=dict)

    def tensor(self, name: str) -> str:
        """Its name of one of Lindos's tensors."""
        if name in OUTER:
            return f"{OUTER[name]}.weight"
        _, layer, part = name.split(".", 2)
        return f"blk.{layer}.{self.layer[part]}.weight"

    def parse(self, name: str) -> str | None:
        """Lindos's name of one of its tensors; None for a name that it does not have."""
        stem = name.removesuffix(".weight")
        outer = {theirs: ours for ours, theirs in OUTER.items()}
        if not name.endswith(".weight") or stem in outer:
            return outer.get(stem) if name.endswith(".weight") else None
        found = re.fullmatch(r"blk\.(\d{1,6})\.(\w+)", stem)
        parts = {theirs: ours for ours, theirs in self.layer.items()} | dict(self.spelled_otherwise)
        return f"layers.{int(found[1])}.{parts[found[2]]}" if found and found[2] in parts else None


_PLAIN: dict[str, Any] = {
    "norms_per_layer": 2,
    "shared_width": 0,
    "embedding_multiplier": 1.0,
    "logit_multiplier": 1.0,
    "attention_softcap": None,
    "router_softcap": None,
    "logit_softcap": None,
    "attention_temperature_length": 0,
    "activation": "silu",
    "renormalise_gates": True,
}
GROK = Architecture(
    "grok",
    layer=_LAYER | _GROK,
    fixed={"norms_per_layer": 4, "query_key_norms": False, "activation": "gelu_tanh"},
    # What files from before these keys leave out is Grok-1's. Nothing in a file says that gates stay as they are.
    defaults={
        "embedding_multiplier": 78.38367176906169,
        "logit_multiplier": 0.5773502691896257,
        "attention_softcap": 30.0,
    },
    spelled_otherwise={"post_ffw_norm": "norm_experts_out"},
)
LLAMA = Architecture(
    "llama",
    layer=_LAYER,
    fixed={**_PLAIN, "query_key_norms": False},
    defaults={},
    turned=frozenset({"attention.query", "attention.key"}),
)
QWEN3_MOE = Architecture("qwen3moe", layer=_LAYER | _QWEN3, fixed={**_PLAIN, "query_key_norms": True}, defaults={})
ARCHITECTURES = {one.name: one for one in (GROK, LLAMA, QWEN3_MOE)}


def architecture_for(spec: ModelSpec) -> Architecture:
    """Which of them can say what this model is. Raises FormatError, in one line, for the first field none can say."""
    plain = QWEN3_MOE if spec.query_key_norms else LLAMA
    found = GROK if spec.norms_per_layer == 4 else plain
    wanted = dict(found.fixed)
    if found is GROK:
        wanted["shared_multiplier"] = 0.7071067811865476 if spec.shared_width else 1.0
    elif spec.score_scale == spec.head_size**-0.5:
        wanted["attention_multiplier"] = spec.attention_multiplier
    else:
        wanted["attention_multiplier"] = spec.head_size**-0.5
    for name, value in wanted.items():
        if (said := getattr(spec, name)) != value:
            raise FormatError(
                f"{spec.name}: {name} = {said!r} cannot be said in GGUF, whose readers take {value!r} as given for "
                f"architecture {found.name}; the own format holds every model"
            )
    if found is GROK:
        _check_grok(spec)
    return found


def _check_grok(spec: ModelSpec) -> None:
    if spec.attention_softcap is None:
        raise FormatError(f"{spec.name}: architecture grok of GGUF has an attention_softcap, this model has none")
    if spec.heads * spec.head_size != spec.width:
        raise FormatError(
            f"{spec.name}: {spec.heads} heads of {spec.head_size} make {spec.heads * spec.head_size}; readers of "
            f"architecture grok of GGUF want the width ({spec.width})"
        )


Rows = TypeVar("Rows", Tensor, np.ndarray)


def in_halves(rows: Rows, heads: int) -> Rows:
    """Rows [heads * C, ...] of queries or keys as they stand where the first half of a head turns with the second,
    from an order in which neighbours do."""
    return _swapped(rows, heads, 2)


def in_pairs(rows: Rows, heads: int) -> Rows:
    """The inverse of `in_halves`."""
    return _swapped(rows, heads, len(rows) // heads // 2)


def _swapped(rows: Rows, heads: int, inner: int) -> Rows:
    apart = rows.reshape(heads, -1, inner, *rows.shape[1:])
    return apart.swapaxes(1, 2).reshape(rows.shape)

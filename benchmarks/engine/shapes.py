"""The models that are measured: Grok-1's architecture, in sizes that one machine computes."""

from __future__ import annotations

from typing import Any

from lindos.specs import ModelSpec


def _grok(name: str, **sizes: Any) -> ModelSpec:
    """Grok-1's switches and its proportions: six heads share a key-value head, two of eight experts are chosen."""
    return ModelSpec(
        name=name,
        sequence=8192,
        experts=8,
        experts_per_token=2,
        embedding_multiplier=sizes["width"] ** 0.5,
        logit_multiplier=3**-0.5,
        attention_softcap=30.0,
        pad_token=0,
        **sizes,
    )


SHAPES = {
    "tiny": _grok(
        "tiny", layers=2, width=96, vocabulary=500, heads=6, kv_heads=1, head_size=16, expert_width=160
    ),
    "408m": _grok(
        "grok-408m", layers=8, width=768, vocabulary=25000, heads=12, kv_heads=2, head_size=64, expert_width=2560
    ),
    "10b": _grok(
        "grok-10b", layers=16, width=3072, vocabulary=49152, heads=24, kv_heads=4, head_size=128, expert_width=8192
    ),
}  # fmt: skip
"""By the name that `--sizes` takes; `tiny` is for `--quick`."""


def described(spec: ModelSpec) -> str:
    """One line for people."""
    return (
        f"{spec.name}: {spec.parameters / 1e6:,.0f}M parameters, {spec.active_parameters / 1e6:,.0f}M active; "
        f"{spec.layers} layers, width {spec.width}, {spec.heads} heads and {spec.kv_heads} for keys and values of "
        f"{spec.head_size}, {spec.experts_per_token} of {spec.experts} experts of width {spec.expert_width}, "
        f"vocabulary {spec.vocabulary:,}"
    )

"""Which of the networks a ModelSpec can describe the Transformer here computes: Grok-1's kind and its neighbours.

The catalogue knows many more, for planning. A checkpoint or a run that asks for one of those is told so by the name
of the first field that stands in the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lindos.specs import ModelSpec, SpecError

COMPUTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "dense_layers": ((0,), "every layer has experts"),
    "latent": ((None,), "keys and values are kept whole"),
    "gated": ((True,), "experts have a gate"),
    "activation": (("gelu_tanh", "silu"), "these two activations"),
    "mtp_layers": ((0,), "only the next token is predicted"),
    "routed_nodes": ((0,), "experts are chosen among all, not by groups"),
    "window": ((0,), "every layer sees all tokens before"),
    "attention_sinks": ((False,), "attention goes to tokens only"),
    "learned_positions": ((False,), "positions are rotary"),
    "alibi": ((False,), "positions are rotary"),
    "biases": (("none",), "products add no bias"),
    "router_bias": ((False,), "routers add no bias"),
    "norms_per_layer": ((2, 4), "norms stand before, or before and after, attention and experts"),
    "norm_bias": ((False,), "norms have a scale only"),
    "embedding_norm": ((False,), "embeddings are not normed"),
}
"""The values of each field that the Transformer computes, and what they mean; fields not named here are free."""


def check_computable(spec: ModelSpec, *, where: str = "") -> None:
    """Raise SpecError, in one line, for the first field whose value the Transformer cannot compute.

    `where` says which file the spec came from.
    """
    check_fields({field: getattr(spec, field) for field in COMPUTED}, where=where or spec.name)


def check_trainable(spec: ModelSpec, *, where: str = "") -> None:
    """The same for training and measuring, which also compute dense layers."""
    fields = {field: getattr(spec, field) for field in COMPUTED if field != "dense_layers"}
    check_fields(fields, where=where or spec.name)


def check_fields(fields: Mapping[str, Any], *, where: str) -> None:
    """The same of a description that may lack fields, before anything else is made of it."""
    for field, (allowed, meaning) in COMPUTED.items():
        if field in fields and fields[field] not in allowed:
            expected = " or ".join(_written(one) for one in allowed)
            raise SpecError(
                f"{where}: {field} = {_written(fields[field])} describes a network that Lindos can plan for but "
                f"not compute; its own have {field} = {expected} ({meaning})"
            )


def _written(value: Any) -> str:
    """As TOML writes it, where that is short."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, str | int | float) else "{ ... }"

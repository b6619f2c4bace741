"""`config.json` in Hugging Face's names, as it is written beside tensors in foreign names, and what each can say.

`lindos_fields` reads every one of them back to an equal spec.
"""

from __future__ import annotations

from typing import Any

from lindos.model.formats.names import KEYFAN, MIXTRAL, QWEN3_MOE, Naming
from lindos.model.formats.positions import flat_positions, nested_positions
from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec

_PLAIN: dict[str, Any] = {
    "norms_per_layer": 2,
    "shared_width": 0,
    "embedding_multiplier": 1.0,
    "logit_multiplier": 1.0,
    "attention_multiplier": 0.0,
    "attention_softcap": None,
    "router_softcap": None,
    "logit_softcap": None,
    "attention_temperature_length": 0,
}
_GROK_1: dict[str, Any] = {"norms_per_layer": 4, "query_key_norms": False}
_WANTED: dict[str, dict[str, Any]] = {
    "sglang": _GROK_1,
    "keyfan": {**_GROK_1, "shared_width": 0, "attention_temperature_length": 0, "rope_scaling": None},
    "mixtral": {**_PLAIN, "query_key_norms": False, "renormalise_gates": True},
    "qwen3-moe": {**_PLAIN, "query_key_norms": True},
}
"""The values of fields that a format's readers take for granted."""


def check_writable(naming: Naming, spec: ModelSpec) -> None:
    """Raise FormatError, in one line, for the first field that readers of this format would take for another value."""
    wanted = dict(_WANTED[naming.format])
    if naming.format == "sglang":
        wanted["shared_multiplier"] = 0.7071067811865476 if spec.shared_width else 1.0
    for field, value in wanted.items():
        found = getattr(spec, field)
        if field == "attention_multiplier" and found == spec.head_size**-0.5:
            continue
        if found != value:
            raise FormatError(
                f"{spec.name}: {field} = {found!r} cannot be said in the {naming.format} format, "
                f"whose models have {value!r}; the own format holds every model"
            )


def foreign_config(naming: Naming, spec: ModelSpec, torch_dtype: str) -> dict[str, Any]:
    """The `config.json` beside tensors in these names. Raises FormatError where it cannot say what the model is."""
    check_writable(naming, spec)
    table = _transformers(naming, spec) if naming in (MIXTRAL, QWEN3_MOE) else _grok(naming, spec)
    return {**table, "torch_dtype": torch_dtype, "lindos": _own(naming, spec)}


def _sizes(spec: ModelSpec) -> dict[str, Any]:
    return {
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_size,
        "num_local_experts": spec.experts,
        "num_experts": spec.experts,
        "num_experts_per_tok": spec.experts_per_token,
        "max_position_embeddings": spec.sequence,
        "rope_theta": spec.rope_base,
        "rms_norm_eps": spec.norm_eps,
        "tie_word_embeddings": spec.tied_head,
    }


def _grok(naming: Naming, spec: ModelSpec) -> dict[str, Any]:
    widths: dict[str, Any] = {"intermediate_size": spec.expert_width}
    if spec.shared_width:
        widths = {
            "residual_moe": True,
            "intermediate_size": spec.shared_width,
            "moe_intermediate_size": spec.expert_width,
        }
    if spec.attention_temperature_length:
        widths["attn_temperature_len"] = spec.attention_temperature_length
    return {
        "architectures": ["Grok1ForCausalLM"],
        "model_type": "grok-1",
        **_sizes(spec),
        **widths,
        **({} if naming is KEYFAN else flat_positions(spec)),
        "embedding_multiplier_scale": spec.embedding_multiplier,
        "output_multiplier_scale": spec.logit_multiplier,
        "attn_output_multiplier": spec.score_scale,
        "attn_logit_softcapping": spec.attention_softcap or 0.0,
        "max_attn_value": spec.attention_softcap or 0.0,
        "router_logit_softcapping": spec.router_softcap or 0.0,
        "final_logit_softcapping": spec.logit_softcap or 0.0,
        "hidden_act": "silu" if spec.activation == "silu" else "gelu",
        "norm_topk_prob": spec.renormalise_gates,
        "pad_token_id": spec.pad_token,
    }


def _transformers(naming: Naming, spec: ModelSpec) -> dict[str, Any]:
    mixtral = naming is MIXTRAL
    widths: dict[str, Any] = {"intermediate_size": spec.expert_width}
    if not mixtral:
        widths |= {"moe_intermediate_size": spec.expert_width, "norm_topk_prob": spec.renormalise_gates}
    return {
        "architectures": ["MixtralForCausalLM" if mixtral else "Qwen3MoeForCausalLM"],
        "model_type": "mixtral" if mixtral else "qwen3_moe",
        **_sizes(spec),
        **widths,
        "hidden_act": "silu" if spec.activation == "silu" else "gelu_pytorch_tanh",
        "rope_scaling": nested_positions(spec),
        "pad_token_id": spec.pad_token,
    }


def _own(naming: Naming, spec: ModelSpec) -> dict[str, Any]:
    """What Lindos adds to Hugging Face's fields."""
    own: dict[str, Any] = {key: getattr(spec, key) for key in ("name", "title", "source", "licence", "kind")}
    if spec.pad_token is not None and (naming in (MIXTRAL, QWEN3_MOE) or spec.shared_width):
        own["pad_token"] = spec.pad_token  # others mask no key by its id, so their pad_token_id does not say it
    return own

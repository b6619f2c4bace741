"""Descriptions of a model in other people's words: the release's names, Hugging Face's, or Lindos's own.

A table is translated field by field; what Lindos does not know is refused with the nearest known name, and a switch
that would change the network in a way Lindos does not do is refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lindos.model.formats.families import WINDOWS, check_windows, complete, family_of
from lindos.model.formats.positions import FLAT, NESTED, said_positions
from lindos.model.formats.source import FormatError
from lindos.specs import ModelSpec, SpecError, catalog_models, nearest
from lindos.specs import read_table as read_spec_table

LARGEST_NUMBER = 1 << 53

ALIASES = {
    "emb_size": "width",
    "hidden_size": "width",
    "num_layers": "layers",
    "num_hidden_layers": "layers",
    "vocab_size": "vocabulary",
    "sequence_len": "sequence",
    "max_sequence_len": "sequence",
    "max_position_embeddings": "sequence",
    "num_q_heads": "heads",
    "num_attention_heads": "heads",
    "num_kv_heads": "kv_heads",
    "num_key_value_heads": "kv_heads",
    "key_size": "head_size",
    "head_dim": "head_size",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "num_selected_experts": "experts_per_token",
    "num_experts_per_tok": "experts_per_token",
    "ffn_size": "expert_width",
    "intermediate_size": "expert_width",
    "moe_intermediate_size": "expert_width",
    "embedding_multiplier_scale": "embedding_multiplier",
    "output_multiplier_scale": "logit_multiplier",
    "attn_output_multiplier": "attention_multiplier",
    "attn_softcap": "attention_softcap",
    "attn_logit_softcapping": "attention_softcap",
    "attn_temperature_len": "attention_temperature_length",
    "max_attn_value": "attention_softcap",
    "router_logit_softcapping": "router_softcap",
    "final_logit_softcapping": "logit_softcap",
    "rope_theta": "rope_base",
    "rms_eps": "norm_eps",
    "rms_norm_eps": "norm_eps",
    "hidden_act": "activation",
    "norm_topk_prob": "renormalise_gates",
    "tie_word_embeddings": "tied_head",
    "pad_token_id": "pad_token",
}
ACTIVATIONS = {"gelu": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_tanh": "gelu_tanh", "silu": "silu"}

# fmt: off
SILENT = frozenset((
    "_name_or_path", "architectures", "attention_dropout", "auto_map", "bos_token_id",
    "dtype", "eos_token", "eos_token_id", "flat_order", "initializer_range", "load_presharded_attn",
    "load_presharded_embedding", "load_presharded_mlp", "load_presharded_moe", "model_type", "notes",
    "output_router_logits", "replicate_embedding", "replicate_lm_head", "router_aux_loss_coef", "seed", "shapes",
    "tokenizer_class", "torch_dtype", "transformers_version", "use_cache",
))
# fmt: on
"""Says nothing about the network's arithmetic."""

INERT: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "attn_logit_softcapping_method": ("tanh", None),
    "decoder_sparse_step": (1,),
    "global_attn_every_n": (1, None),
    "mlp_only_layers": ([], None),
    "quantization_config": (None,),
    "residual_moe": (False, None),
    "rope_rotate_half_dims": (False, None),
    "sliding_window_size": (-1, None),
    "use_sliding_window": (False, None),
}
"""Switches of relatives of Grok-1 and the settings at which they change nothing."""


def read_table(path: Path) -> dict[str, Any]:
    """The table of a JSON or TOML file, however damaged or hostile. Raises FormatError."""
    try:
        return read_spec_table(path)
    except SpecError as error:
        raise FormatError(str(error)) from None


def spec_beside(folders: list[Path]) -> Path | None:
    """The description lying in the first of these folders that has one."""
    for folder in folders:
        for name in ("config.json", "index.json"):
            if (folder / name).is_file():
                return folder / name
    return None


def read_fields(description: Path | str) -> tuple[dict[str, Any], str]:
    """(fields in Lindos's names, what to call it in errors) of a file, or of a model of the catalogue by its name."""
    path = Path(description)
    if not path.is_file() and str(description) in (models := catalog_models()):
        return models[str(description)].model_dump(), f"catalogue model '{description}'"
    if not path.is_file():
        known = ", ".join(catalog_models())
        raise FormatError(f"{description}: no such spec file, and no model of the catalogue (known: {known})")
    table = read_table(path)
    for wrapper in ("spec", "config"):  # Lindos's own config.json; index.json beside official pickles
        if isinstance(table.get(wrapper), dict):
            table = table[wrapper]
            break
    return lindos_fields(table, str(path)), str(path)


def lindos_fields(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The table in Lindos's names, `widening_factor` kept. Raises FormatError for unknown and contradictory fields."""
    family = family_of(table, where)
    check_windows(table, family, where)
    inner = table.get("lindos")  # what Lindos adds to Hugging Face's fields when it writes them
    own = inner if isinstance(inner, dict) else {}
    passed = {*SILENT, *family.silent, *FLAT, *NESTED, *WINDOWS, *(["lindos"] if own else [])}
    fields = said_positions(table, where)
    said = dict.fromkeys(fields, "rope_parameters")
    for key, value in [*table.items(), *own.items()]:
        if key in passed:
            continue
        if key in INERT:
            _refuse_unless_inert(key, value, where)
            continue
        name = family.aliases.get(key) or ALIASES.get(key, key)
        if name not in ModelSpec.model_fields and name != "widening_factor":
            raise FormatError(f"{where}: unknown field '{key}'" + _suggest(key))
        value = _value(name, key, value, family.activations or ACTIVATIONS, where)
        if name in said and fields[name] != value:
            raise FormatError(f"{where}: '{said[name]}' says {fields[name]!r} and '{key}' says {value!r}; keep one")
        fields[name], said[name] = value, key
    if any(key in ALIASES for key in table):
        return complete(fields, family, where)
    return fields


def _refuse_unless_inert(key: str, value: Any, where: str) -> None:
    if not any(value is allowed or value == allowed for allowed in INERT[key]):
        raise FormatError(f"{where}: {key} = {value!r} describes a network that Lindos does not compute")


def _suggest(key: str) -> str:
    close = nearest(key, [*ModelSpec.model_fields, *ALIASES])
    return f"; did you mean '{close}'?" if close else ""


def _value(name: str, key: str, value: Any, activations: Mapping[str, str], where: str) -> Any:
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise FormatError(f"{where}: {key} is out of all proportion (more than {LARGEST_NUMBER})")
    if name.endswith("_softcap") and isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        return None  # how others write "no cap"
    if key == "attn_temperature_len" and value in (None, -1):
        return 0
    if key == "hidden_act":
        if not isinstance(value, str) or value not in activations:
            raise FormatError(f"{where}: hidden_act = {value!r} is not one of {', '.join(activations)}")
        return activations[value]
    return value

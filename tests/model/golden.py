"""The release's own outputs at small sizes, and a Transformer with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from lindos.model import Transformer
from lindos.specs import ModelSpec

HERE = Path(__file__).parent.parent / "golden"
ATTENTION = {"query": "query", "key": "key", "value": "value", "linear": "output"}
EXPERTS = {"linear": "gate", "linear_v": "up", "linear_1": "down"}
NORMS = {
    "rms_norm": "norm_attention_in",
    "rms_norm_1": "norm_attention_out",
    "rms_norm_2": "norm_experts_in",
    "rms_norm_3": "norm_experts_out",
}


def golden_spec(config: dict) -> ModelSpec:
    return ModelSpec(
        name="golden",
        layers=config["num_layers"],
        width=config["emb_size"],
        vocabulary=config["vocab_size"],
        sequence=config["sequence_len"],
        heads=config["num_q_heads"],
        kv_heads=config["num_kv_heads"],
        head_size=config["key_size"],
        experts=config["num_experts"],
        experts_per_token=config["num_selected_experts"],
        expert_width=config["ffn_size"],
        embedding_multiplier=config["embedding_multiplier_scale"],
        logit_multiplier=config["output_multiplier_scale"],
        attention_multiplier=config["attn_output_multiplier"],
        attention_softcap=config["attn_softcap"],
        norm_eps=config["rms_eps"],
        rope_base=config["rope_base"],
        pad_token=config["pad_token"],
    )


def own_name(release: str) -> str:
    parts = release.split("/")
    if parts[-2] == "in_out_embed":
        return "embedding"
    if parts[0] == "language_model":
        return "final_norm"
    layer = "layers." + parts[1].removeprefix("decoder_layer_")
    match parts[2]:
        case "moe":
            return f"{layer}.experts.{EXPERTS[parts[3]]}"
        case "multi_head_attention":
            return f"{layer}.attention.{ATTENTION[parts[3]]}"
        case "router":
            return f"{layer}.experts.router"
        case norm:
            return f"{layer}.{NORMS[norm]}"


def load_golden(folder: Path, name: str) -> tuple[Transformer, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(model, outputs, intermediates of row 0)."""
    config = json.loads((folder / f"{name}.json").read_text())
    arrays = dict(np.load(folder / f"{name}.npz"))
    model = Transformer(golden_spec(config))
    weights = {
        own_name(key.removeprefix("param:")): torch.from_numpy(value)
        for key, value in arrays.items()
        if key.startswith("param:")
    }
    model.load_state_dict(weights)
    return model.eval(), arrays, dict(np.load(folder / f"{name}_intermediates.npz"))

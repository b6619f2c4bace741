"""Mixtral and Qwen3-MoE of small random sizes, made and saved by transformers: the peers other code is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

SIZES: dict[str, Any] = {
    "vocab_size": 67, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "num_experts_per_tok": 2,
}  # fmt: skip
MIXTRAL: dict[str, dict[str, Any]] = {
    "large and few": {"num_local_experts": 4, "intermediate_size": 96, "rope_theta": 1e6},
    "one key-value head, own head size": {
        "num_local_experts": 5, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 12, "rope_theta": 1e4,
    },
    "no groups, all experts": {
        "num_local_experts": 3, "num_experts_per_tok": 3, "intermediate_size": 16, "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
QWEN3: dict[str, dict[str, Any]] = {
    "small and many": {
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 4, "head_dim": 16,
        "norm_topk_prob": True, "rope_theta": 1e6,
    },
    "gates as they are": {
        "num_experts": 8, "moe_intermediate_size": 24, "head_dim": 6, "norm_topk_prob": False, "rms_norm_eps": 1e-5,
    },
    "stretched": {
        "num_experts": 6, "moe_intermediate_size": 16, "head_dim": 32, "norm_topk_prob": True,
        "rope_scaling": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32},
    },
}  # fmt: skip


def shaken(model: Any, seed: int) -> Any:
    """Weights as large as trained ones, norms that are not all one, and routers that choose."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(noise * (1.0 if "embed" in name else parameter.shape[-1] ** -0.5))
    return model.eval()


def mixtral(folder: Path, seed: int = 0, **changes: Any) -> MixtralForCausalLM:
    """A random Mixtral, which is also saved in `folder`."""
    return _saved(MixtralForCausalLM(MixtralConfig(**(SIZES | changes))), folder, seed)


def qwen3(folder: Path, seed: int = 0, **changes: Any) -> Qwen3MoeForCausalLM:
    """A random Qwen3-MoE, which is also saved in `folder`."""
    return _saved(Qwen3MoeForCausalLM(Qwen3MoeConfig(**(SIZES | changes))), folder, seed)


def _saved(model: Any, folder: Path, seed: int) -> Any:
    shaken(model, seed).save_pretrained(folder)
    return model


def tokens(batch: int = 2, length: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, SIZES["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

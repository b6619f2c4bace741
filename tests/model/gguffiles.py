"""Small models that GGUF can hold, one of each architecture, with real tokenizers trained on a few sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

from lindos.model import Transformer
from lindos.model.formats import save_model
from lindos.model.formats.gguf.tokenizers import PATTERNS
from lindos.specs import ModelSpec, RopeScaling
from lindos.text import train_tokenizer
from tests.model.checkpoints import random_model, tiny_spec
from tests.model.grok2 import grok2_spec
from tests.text.conftest import sentences
from tests.text.families import sentencepiece_model

VOCABULARY = 408
"""A few more than the tokenizers have."""
_SIZES: dict[str, Any] = {
    "width": 64, "expert_width": 96, "head_size": 16, "heads": 4, "kv_heads": 2, "vocabulary": VOCABULARY,
    "sequence": 64, "layers": 2,
}  # fmt: skip
_PLAIN: dict[str, Any] = {
    "norms_per_layer": 2, "attention_softcap": None, "embedding_multiplier": 1.0, "logit_multiplier": 1.0,
    "attention_multiplier": 0.0, "activation": "silu", "tied_head": False, "renormalise_gates": True,
    "pad_token": None,
}  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "grok": tiny_spec(**_SIZES, name="grok"),
    "grok-2": grok2_spec(
        name="grok-2", width=64, head_size=16, expert_width=96, shared_width=128, vocabulary=VOCABULARY,
    ),
    "llama": tiny_spec(**_SIZES, **_PLAIN, name="llama", rope_base=1e6),
    "qwen3moe": tiny_spec(
        **(_SIZES | {"heads": 6}), **_PLAIN, name="qwen3moe", query_key_norms=True, norm_eps=1e-6, kind="chat",
        rope_scaling=RopeScaling(factor=4.0, original_sequence=16),
    ),
}  # fmt: skip


def tokenizer_in(folder: Path, kind: str) -> Path:
    """A directory with a tokenizer of 400 tokens: SentencePiece's for grok and llama, else byte-level; for qwen3moe
    it cuts text as Qwen's."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("grok", "llama"):
        own = {"user_defined_symbols": ["\n", "  ", "1", "2", "<|mark|>"]} if kind == "grok" else {}
        (folder / "tokenizer.model").write_bytes(sentencepiece_model(**own))
    else:
        table = json.loads(train_tokenizer(sentences(400), 400).source)
        if kind == "qwen3moe":
            table["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": PATTERNS["qwen2"]}
        (folder / "tokenizer.json").write_text(json.dumps(table))
    return folder


def lively(spec: ModelSpec, seed: int = 0) -> Transformer:
    """Random weights, large enough that a mistake is seen, and routers that choose."""
    model = random_model(spec, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20 if name.endswith("router") else 3)
    return model


def saved(folder: Path, kind: str, seed: int = 0, **changes: Any) -> Path:
    """A model of one architecture in Lindos's own format, its tokenizer beside it."""
    model = lively(SPECS[kind].model_copy(update=changes), seed)
    save_model(model, folder / kind, tokenizer=tokenizer_in(folder / f"{kind}-tokenizer", kind))
    return folder / kind


def rewritten(source: Path, target: Path, keys: dict[str, Any] | None = None, drop: tuple[str, ...] = ()) -> Path:
    """A GGUF file read and written again by the gguf package, with other keys and without some keys or tensors."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in (*drop, *(keys or {})):
            continue
        inner = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    for key, value in (keys or {}).items():
        kinds = {str: GGUFValueType.STRING, float: GGUFValueType.FLOAT32, int: GGUFValueType.UINT32}
        kinds |= {bool: GGUFValueType.BOOL, list: GGUFValueType.ARRAY}
        inner = kinds[type(value[0])] if isinstance(value, list) else None
        writer.add_key_value(key, value, kinds[type(value)], inner)
    for tensor in reader.tensors:
        if tensor.name not in drop:
            plain = tensor.tensor_type in (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=None if plain else tensor.tensor_type)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return target


def without_whole(source: Path, target: Path) -> Path:
    """As other converters write it: no tokenizer.json, and nothing of Lindos's own."""
    return rewritten(source, target, drop=("tokenizer.huggingface.json", "lindos.spec"))


def by_library(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file, widened by the gguf package."""
    tensors = GGUFReader(path).tensors
    return {tensor.name: quants.dequantize(np.array(tensor.data), tensor.tensor_type) for tensor in tensors}

"""GGUF files written here, loaded and computed by llama.cpp (package llama-cpp-python), which has the last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lindos.model.formats import convert, load_model
from lindos.text import load_tokenizer
from tests.model.gguffiles import SPECS, saved, without_whole

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
pytestmark = pytest.mark.peers

KINDS = ("grok", "llama", "qwen3moe")
TEXT = "The old river walked under a  café 12 times.\nsometimes 東京"


def opened(path: Path) -> Any:
    return llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)


def their_logits(model: Any, tokens: list[int]) -> np.ndarray:
    model.reset()
    model.eval(tokens)
    return np.array(model.scores[: len(tokens)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "apart"), [("fp32", 2e-3), ("f16", 5e-3), ("bf16", 0.03), ("q8_0", 0.1), ("q4_0", 0.1)]
)
def test_the_same_logits(tmp_path: Path, kind: str, dtype: Any, apart: float):
    """llama.cpp rounds activations as it does weights, so that near ties of a router fall otherwise: then all experts
    are used. Of a grok they always are: llama.cpp divides its gates by their sum, which then is 1."""
    all_experts = {"experts_per_token": 3} if kind == "grok" or dtype != "fp32" else {}
    folder = saved(tmp_path, kind, **all_experts)
    convert(folder, tmp_path / "it.gguf", to="gguf", dtype=dtype)
    tokens = [int(token) for token in np.random.default_rng(0).integers(1, 400, 40)]
    theirs = their_logits(opened(tmp_path / "it.gguf"), tokens)
    with torch.inference_mode():
        ours = load_model(tmp_path / "it.gguf", dtype=torch.float32)(torch.tensor([tokens]))[0].numpy()
    assert theirs.shape == ours.shape
    assert np.abs(ours - theirs).mean() < apart * ours.std()
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > (0.99 if dtype == "fp32" else 0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokens(tmp_path: Path, kind: str):
    folder = saved(tmp_path, kind)
    convert(folder, tmp_path / "it.gguf", to="gguf", dtype="f16")
    model, tokenizer = opened(tmp_path / "it.gguf"), load_tokenizer(folder)
    tokens = tokenizer.encode(TEXT)
    assert model.tokenize(TEXT.encode(), add_bos=False) == tokens
    assert model.detokenize(tokens).decode().lstrip() == TEXT
    assert (model.token_bos(), model.token_eos()) == (tokenizer.bos, tokenizer.eos)
    assert model.n_vocab() == SPECS[kind].vocabulary
    assert model.detokenize([tokenizer.bos]) == b""


def test_grok_2_as_far_as_llama_cpp_computes_it(tmp_path: Path):
    """It leaves out the cap on routers and the temperature of attention."""
    changes = {"experts_per_token": 4, "router_softcap": None, "attention_temperature_length": 0}
    folder = saved(tmp_path, "grok-2", **changes)
    convert(folder, tmp_path / "it.gguf", to="gguf", dtype="fp32")
    tokens = [int(token) for token in np.random.default_rng(0).integers(1, 400, 40)]
    theirs = their_logits(opened(tmp_path / "it.gguf"), tokens)
    with torch.inference_mode():
        ours = load_model(folder, dtype=torch.float32)(torch.tensor([tokens]))[0].numpy()
    assert np.abs(ours - theirs).mean() < 3e-3 * ours.std()


def test_a_tokenizer_rebuilt_of_keys_alone(tmp_path: Path):
    """What is read of their keys alone cuts text as they do."""
    folder = saved(tmp_path, "qwen3moe")
    convert(folder, tmp_path / "it.gguf", to="gguf", dtype="bf16")
    without_whole(tmp_path / "it.gguf", tmp_path / "bare.gguf")
    convert(tmp_path / "bare.gguf", tmp_path / "back")
    assert opened(tmp_path / "bare.gguf").tokenize(TEXT.encode(), add_bos=False) == load_tokenizer(
        tmp_path / "back"
    ).encode(TEXT)

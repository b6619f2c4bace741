"""Mixtral and Qwen3-MoE: the Transformer's logits and gradients equal those of transformers at small sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lindos.model import KVCache, Transformer
from lindos.model.formats import detect, load_model
from tests.model import neighbours
from tests.model.neighbours import MIXTRAL, QWEN3

MAKERS = {"mixtral": neighbours.mixtral, "qwen3-moe": neighbours.qwen3}
CASES = [("mixtral", name) for name in MIXTRAL] + [("qwen3-moe", name) for name in QWEN3]


def made(kind: str, name: str, folder: Path, seed: int = 0):
    changes = (MIXTRAL if kind == "mixtral" else QWEN3)[name]
    return MAKERS[kind](folder, seed, **changes)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_logits_equal_those_of_transformers(kind, name, seed, tmp_path):
    peer = made(kind, name, tmp_path / "it", seed)
    assert detect(tmp_path / "it") == kind
    model = load_model(tmp_path / "it", dtype=torch.float32)
    tokens = neighbours.tokens(length=100, seed=seed)
    with torch.inference_mode():
        found, expected = model(tokens), peer(tokens).logits
    assert float(expected.abs().max()) > 1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_parameters_are_counted_exactly(kind, name, tmp_path):
    peer = made(kind, name, tmp_path / "it")
    spec = load_model(tmp_path / "it", dtype=torch.float32).spec
    assert spec.parameters == sum(parameter.numel() for parameter in peer.parameters())


@pytest.mark.parametrize(("kind", "name"), CASES)
@torch.inference_mode()
def test_token_by_token_equals_one_pass(kind, name, tmp_path):
    made(kind, name, tmp_path / "it")
    model = load_model(tmp_path / "it", dtype=torch.float32)
    tokens = neighbours.tokens(length=50)
    cache = KVCache(model.spec, *tokens.shape)
    parts = [model(tokens[:, :30], cache=cache)]
    parts += [model(tokens[:, t : t + 1], cache=cache) for t in range(30, 50)]
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_equal_those_of_transformers(kind, name, tmp_path):
    """Through the hand-written backward passes here, by autograd there."""
    peer = made(kind, name, tmp_path / "it")
    model = load_model(tmp_path / "it", dtype=torch.float32).train()
    tokens = neighbours.tokens(length=30)
    weight = torch.randn(2, 30, 67, generator=torch.Generator().manual_seed(1))
    (model(tokens) * weight).mean().backward()
    (peer(tokens).logits * weight).mean().backward()
    with torch.no_grad():
        for parameter in peer.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    peer.save_pretrained(tmp_path / "gradients")  # their names, and the way back from them, are tested above
    expected = load_model(tmp_path / "gradients", dtype=torch.float32)
    assert set(dict(model.named_parameters())) == set(dict(expected.named_parameters()))
    _close_gradients(model, expected)


def _close_gradients(model: Transformer, expected: Transformer) -> None:
    wanted = expected.state_dict()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        scale = float(wanted[name].abs().max())
        assert float((parameter.grad - wanted[name]).abs().max()) < 1e-4 * scale + 1e-8, name


@pytest.mark.parametrize(("kind", "name"), [CASES[0], CASES[3]])
def test_all_experts_in_one_tensor_are_read_as_well(kind, name, tmp_path):
    """As transformers holds them in memory, and writes them when it is told to."""
    peer = made(kind, name, tmp_path / "apart")
    peer.save_pretrained(tmp_path / "fused", save_original_format=False)
    names = load_file(tmp_path / "fused" / "model.safetensors").keys()
    assert "model.layers.0.mlp.experts.gate_up_proj" in names
    assert detect(tmp_path / "fused") == kind
    one, other = (load_model(tmp_path / way, dtype=torch.float32).state_dict() for way in ("apart", "fused"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_in_many_files_with_an_index(tmp_path):
    peer = neighbours.qwen3(tmp_path / "one", 0, **QWEN3["small and many"])
    peer.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert len(list((tmp_path / "many").glob("model-*-of-*.safetensors"))) > 2
    one, other = (load_model(tmp_path / way, dtype=torch.float32).state_dict() for way in ("one", "many"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())

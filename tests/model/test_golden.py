"""The Transformer against the outputs of the public release (run at small sizes)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lindos.model import KVCache, Transformer
from tests.model.golden import HERE, load_golden


@pytest.fixture(params=["mini", "a", "b"])
def golden(request):
    if request.param == "mini":
        return load_golden(HERE, "mini")
    return load_golden(request.getfixturevalue("shared") / "golden", request.param)


@torch.inference_mode()
def test_full_forward_equals_the_release(golden):
    model, arrays, _ = golden
    logits = model(torch.from_numpy(arrays["tokens"]).long()).numpy()
    visible = arrays["tokens"] != 0
    assert np.abs(logits - arrays["logits"])[visible].max() < 1e-4


@torch.inference_mode()
def test_incremental_forward_equals_the_release_and_fills_the_same_cache(golden):
    model, arrays, _ = golden
    tokens = torch.from_numpy(arrays["tokens"]).long()
    start = int(arrays["inc_start"])
    cache = KVCache(model.spec, tokens.shape[0], tokens.shape[1])
    steps = [model(tokens[:, : start + 1], cache=cache)[:, -1]]
    steps += [model(tokens[:, t : t + 1], cache=cache)[:, -1] for t in range(start + 1, tokens.shape[1])]
    steps = steps[: arrays["inc_logits"].shape[1]]
    got = torch.stack(steps, 1).numpy()
    visible = arrays["tokens"][:, start : start + got.shape[1]] != 0
    assert np.abs(got - arrays["inc_logits"])[visible].max() < 1e-4
    visible = arrays["tokens"] != 0
    assert np.abs(cache.keys.numpy() - arrays["kv_k"])[:, visible].max() < 1e-4
    assert np.abs(cache.values.numpy() - arrays["kv_v"])[:, visible].max() < 1e-4


@torch.inference_mode()
def test_intermediates_of_the_whole_forward_equal_the_release(golden):
    """Logits hide a wrong gate (the norm after the experts nearly cancels it); the intermediates do not."""
    model, arrays, inside = golden
    traces: list[dict] = []
    model(torch.from_numpy(arrays["tokens"][:1]).long(), traces=traces)
    names = {
        "router/probs": "router_probs",
        "router/logits": "router_logits",
        "moe/in": "moe_in",
        "moe/out": "moe_out",
        "multi_head_attention/in": "attn_in",
        "multi_head_attention/out": "attn_out",
        "out": "layer_out",
    }
    visible = arrays["tokens"][0] != 0
    for key, expected in inside.items():
        _, layer, *rest = key.split("/")
        name = names["/".join(rest)]
        got = traces[int(layer.removeprefix("decoder_layer_"))][name].numpy().reshape(len(visible), -1)
        tolerance = 1e-5 if name == "router_probs" else 1e-4 * max(1.0, float(np.abs(expected).max()))
        assert np.abs(got - expected.reshape(got.shape))[visible].max() < tolerance, key
    assert len(inside) == 7 * model.spec.layers


@torch.inference_mode()
def test_each_router_and_mixture_equals_the_release_on_its_own_input(golden):
    model, _, inside = golden
    for index, block in enumerate(model.layers):
        layer = f"transformer/decoder_layer_{index}"
        x = torch.from_numpy(inside[f"{layer}/moe/in"][0])
        routing = block.experts.route(x)
        mixed = block.experts(x, routing)
        assert np.abs(routing.probabilities.numpy() - inside[f"{layer}/router/probs"][0]).max() < 1e-5
        assert np.abs(mixed.numpy() - inside[f"{layer}/moe/out"][0]).max() < 1e-5


def in_bf16(model: Transformer, *, bf16_constants: bool) -> Transformer:
    """The same weights with matrices in bf16."""
    other = Transformer(model.spec, dtype=torch.bfloat16, bf16_constants=bf16_constants)
    other.load_state_dict(model.state_dict())
    return other.eval()


@torch.inference_mode()
def test_bf16_stays_near_the_release_in_bf16_and_nearer_with_its_constants(golden):
    model, arrays, _ = golden
    tokens, visible = torch.from_numpy(arrays["tokens"]).long(), arrays["tokens"] != 0
    apart = [
        float(np.abs(in_bf16(model, bf16_constants=rounded)(tokens).numpy() - arrays["logits_bf16"])[visible].mean())
        for rounded in (False, True)
    ]
    noise = float(np.abs(arrays["logits"] - arrays["logits_bf16"])[visible].mean())  # of the release itself
    assert apart[1] < apart[0] < 3 * noise


def test_the_copied_golden_file_is_the_original(shared):
    for name in ("mini.json", "mini.npz", "mini_intermediates.npz"):
        assert (HERE / name).read_bytes() == (shared / "golden" / name).read_bytes()

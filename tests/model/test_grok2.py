"""Grok-2: equal to its published formulas, read as it was published, and every new part differentiated rightly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lindos.model import Transformer, document_starts
from lindos.model import attention as attend
from lindos.model.attention import QUERY_BLOCK, attention_temperature
from lindos.model.formats import FormatError, convert, detect, load_model, open_source, save_model
from lindos.model.mlp import gated_mlp
from lindos.model.rope import rotary_phase, rotate
from lindos.model.transformer import Block
from lindos.specs import RopeScaling, load_model_spec
from tests.model.checkpoints import same_weights
from tests.model.grok2 import grok2_model, grok2_spec, reference_logits


def some_tokens(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 61, (1, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_logits_equal_the_published_formulas(seed):
    model = grok2_model(seed)
    tokens = some_tokens(40, seed)
    with torch.inference_mode():
        expected = reference_logits(model.state_dict(), model.spec, tokens[0])
        torch.testing.assert_close(model(tokens)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_temperature_length": 0}, {"attention_softcap": 30.0}, {"router_softcap": 30.0},
        {"logit_softcap": 50.0}, {"renormalise_gates": True}, {"activation": "silu"},
        {"rope_base": 1e4}, {"rope_scaling": RopeScaling(factor=16.0, original_sequence=8, beta_fast=8.0)},
    ],
)  # fmt: skip
def test_each_of_its_fields_matters(change):
    """The comparison above would notice any of them left out or mistaken."""
    model = grok2_model()
    other = Transformer(grok2_spec(**change))
    other.load_state_dict(model.state_dict())
    tokens = some_tokens(40)
    with torch.inference_mode():
        assert float((model(tokens) - other(tokens)).abs().max()) > 1e-3


def test_the_branches_are_added_and_scaled():
    """The norm that follows cancels the scale in the logits above."""
    block = grok2_model(norms_per_layer=2, shared_multiplier=0.7).layers[0]
    assert isinstance(block, Block)
    h, x, mixed = torch.randn(3, 5, 24).unbind()
    with torch.inference_mode():
        assert block.shared is not None
        torch.testing.assert_close(block.add_mixture(h, x, mixed), h + (mixed + block.shared(x)) * 0.7)


def test_gradients_equal_autograd_over_the_formulas():
    model = grok2_model().train()
    tokens = some_tokens(24)
    weight = torch.randn(24, 61, generator=torch.Generator().manual_seed(1))
    (model(tokens)[0] * weight).sum().backward()
    leaves = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    (reference_logits(leaves, model.spec, tokens[0]) * weight).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        wanted = leaves[name].grad
        assert wanted is not None
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0, msg=name)


def test_documents_packed_apart_have_the_temperature_of_their_own_positions():
    model = grok2_model()
    documents = [torch.cat([torch.tensor([1]), some_tokens(n, n)[0].clamp(min=2)]) for n in (30, 14, 25)]
    packed = torch.cat(documents)[None]
    with torch.inference_mode():
        together, _ = model.hidden(packed, first_key_BT=document_starts(packed, 1))
        alone = torch.cat([model.hidden(document[None])[0] for document in documents], 1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


# The new parts by themselves


def test_temperature_begins_after_its_length():
    assert attention_temperature(torch.arange(1025), 1024) is None
    assert attention_temperature(torch.arange(5000), 0) is None
    found = attention_temperature(torch.tensor([0, 1024, 1025, 131071]), 1024)
    assert found is not None
    assert found.tolist() == pytest.approx([1, 1, math.log2(1025) / 10, math.log2(131071) / 10])


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_attention_with_a_temperature_by_finite_differences(softcap):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 5, heads, 4, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    temperature = torch.tensor([[1.0, 1.0, 1.3, 1.6, 2.0]])

    def f(q, k, v):
        return attend(q, k, v, multiplier=0.5, softcap=softcap, temperature_BT=temperature)

    assert torch.autograd.gradcheck(f, (q, k, v))


def test_temperature_over_several_query_blocks():
    torch.manual_seed(1)
    length = 2 * QUERY_BLOCK + 9
    q, k, v = (torch.randn(2, length, heads, 4, dtype=torch.float64) for heads in (2, 1, 1))
    temperature = attention_temperature(torch.arange(length)[None], 20)
    found = attend(q, k, v, multiplier=0.5, softcap=2.0, temperature_BT=temperature)
    assert temperature is not None
    scores = 2 * torch.tanh(torch.einsum("bthc,bsc->bhts", q, k[:, :, 0]) * 0.25) * temperature[0, :, None]
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu_(1), -1e30)
    torch.testing.assert_close(found, torch.einsum("bhts,bsc->bthc", torch.softmax(scores, -1), v[:, :, 0]))


@pytest.mark.parametrize("activation", ["gelu_tanh", "silu"])
def test_shared_branch_by_finite_differences(activation):
    torch.manual_seed(2)
    tensors = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 4), (4, 3), (4, 3), (3, 4))
    ]
    assert torch.autograd.gradcheck(lambda x, gate, up, down: gated_mlp(x, gate, up, down, activation), tensors)


def test_stretched_positions():
    """Fast pairs as before, slow ones 16 times slower, everything 0.1 ln(16) + 1 times as long."""
    scaling = RopeScaling(factor=16.0, original_sequence=8192)
    positions = torch.tensor([1, 100])
    plain, stretched = rotary_phase(positions, 64, 1e4), rotary_phase(positions, 64, 1e4, scaling)
    length = 0.1 * math.log(16) + 1
    torch.testing.assert_close(stretched[0].square() + stretched[1].square(), torch.full((2, 64), length**2))
    torch.testing.assert_close(stretched[0][:, 0], plain[0][:, 0] * length)
    slow = math.atan2(float(stretched[1][1, 31]), float(stretched[0][1, 31]))
    assert slow == pytest.approx(math.atan2(float(plain[1][1, 31]), float(plain[0][1, 31])) / 16, rel=1e-4)
    x = torch.randn(2, 1, 64, dtype=torch.float64, requires_grad=True)
    phase = (stretched[0].double(), stretched[1].double())
    assert torch.autograd.gradcheck(lambda x: rotate(x, phase), (x,))


# Formats

HUB = {
    "architectures": ["Grok1ForCausalLM"], "embedding_multiplier_scale": 24**0.5, "output_multiplier_scale": 0.5,
    "vocab_size": 61, "hidden_size": 24, "intermediate_size": 36, "moe_intermediate_size": 20,
    "max_position_embeddings": 128, "num_experts_per_tok": 2, "num_local_experts": 4, "residual_moe": True,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "head_dim": 8, "rms_norm_eps": 1e-05,
    "final_logit_softcapping": 3, "attn_logit_softcapping": 2.0, "router_logit_softcapping": 1.5,
    "rope_theta": 208533496, "attn_temperature_len": 9, "sliding_window_size": -1, "global_attn_every_n": 1,
    "model_type": "git", "torch_dtype": "bfloat16", "rope_type": "original", "original_max_position_embeddings": 8192,
    "scaling_factor": 16.0, "extrapolation_factor": 1.0, "attn_factor": 1.0, "beta_fast": 8, "beta_slow": 1,
}  # fmt: skip
"""The published config.json, its sizes made small."""


@pytest.fixture
def published(tmp_path) -> tuple[Transformer, Path]:
    """A model, and its directory as the hub has it: experts in two slices, the rest in common files."""
    model = grok2_model(name="published", attention_multiplier=8**-0.5)
    save_model(model, tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "whole", to="sglang", verify=False)
    tensors = load_file(tmp_path / "whole" / "model.safetensors")
    folder = tmp_path / "published"
    folder.mkdir()
    cut = {name: value for name, value in tensors.items() if ".experts." in name}
    rest = {name: value for name, value in tensors.items() if name not in cut}
    save_file(rest, folder / "pytorch_model-00000-TP-common.safetensors")
    for rank in (0, 1):
        slices = {name: value.chunk(2, 1 if ".w2." in name else 0)[rank].contiguous() for name, value in cut.items()}
        save_file(slices, folder / f"pytorch_model-00001-TP-{rank:03d}.safetensors")
    (folder / "config.json").write_text(json.dumps(HUB))
    return model, folder


def test_the_published_directory_is_read_and_converted(published, tmp_path):
    model, folder = published
    assert detect(folder) == "sglang"
    same_weights(load_model(folder, dtype=torch.float32), model)
    report = convert(folder, tmp_path / "converted")
    assert report.comparison is not None
    assert report.comparison.difference == 0
    same_weights(load_model(tmp_path / "converted", dtype=torch.float32), model)


def test_missing_and_strange_slices_are_named(published):
    _, folder = published
    second = folder / "pytorch_model-00001-TP-001.safetensors"
    slices = load_file(second)
    save_file({name: value for name, value in slices.items() if "1.block_sparse_moe.experts.2.w3" not in name}, second)
    with pytest.raises(FormatError, match=r"layers\.1\.block_sparse_moe\.experts\.2\.w3\.weight' lacks slices: 001"):
        open_source(folder)
    save_file(slices | {"model.norm.weight": torch.ones(24)}, second)
    with pytest.raises(FormatError, match=r"model\.norm\.weight' lacks slices: 000"):
        open_source(folder)
    first = folder / "pytorch_model-00001-TP-000.safetensors"
    save_file(load_file(first) | {"model.layers.0.mlp.extra": torch.ones(2)}, first)
    save_file(slices | {"model.layers.0.mlp.extra": torch.ones(2)}, second)
    with pytest.raises(FormatError, match=r"mlp\.extra' is not one of a sglang checkpoint"):
        open_source(folder)


def test_the_hub_description_gives_the_catalogue_entry():
    """With the published sizes, but for what only the catalogue says."""
    from lindos.model.formats.fields import lindos_fields

    sizes = {
        "vocab_size": 131072, "hidden_size": 8192, "intermediate_size": 32768, "moe_intermediate_size": 16384,
        "max_position_embeddings": 131072, "num_local_experts": 8, "num_attention_heads": 64, "num_key_value_heads": 8,
        "num_hidden_layers": 64, "head_dim": 128, "final_logit_softcapping": 50, "attn_logit_softcapping": 30.0,
        "router_logit_softcapping": 30.0, "attn_temperature_len": 1024, "embedding_multiplier_scale": 90.50966799187809,
    }  # fmt: skip
    fields = lindos_fields(HUB | sizes, "config.json")
    known = load_model_spec("grok-2").model_dump()
    assert {name: known[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_type": "theta_scale"}, "rope_type 'theta_scale' is not computed"),
        ({"rope_type": "yarn", "extrapolation_factor": 0.5}, "extrapolation_factor 0.5"),
        ({"rope_type": "yarn", "scaling_factor": None}, "wants scaling_factor"),
        ({"sliding_window_size": 512}, "sliding_window_size = 512"),
        ({"attn_temperature_len": 1}, "attention_temperature_length must be 0 or at least 2"),
        ({"intermediate_size": None}, "residual_moe = True wants intermediate_size"),
        ({"intermediate_size": 40}, r"layers\.0\.shared\.gate.*expected shape \[24, 40\]"),
        ({"residual_moe": False}, "'intermediate_size' says 36 and 'moe_intermediate_size' says 20"),
    ],
)
def test_descriptions_of_another_network_are_refused_in_one_line(published, change, message):
    _, folder = published
    (folder / "config.json").write_text(json.dumps(HUB | change))
    with pytest.raises(Exception, match=message) as caught:
        open_source(folder)
    assert "\n" not in str(caught.value)


def test_stretched_positions_are_read_from_the_description(published):
    _, folder = published
    (folder / "config.json").write_text(json.dumps(HUB | {"rope_type": "yarn"}))
    scaling = RopeScaling(factor=16.0, original_sequence=8192, beta_fast=8.0, beta_slow=1.0, attention_factor=1.0)
    assert open_source(folder).spec.rope_scaling == scaling

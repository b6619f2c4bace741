"""Directories of Mixtral, Qwen3-MoE and Grok-2: converted there and back, and refused in one line where need be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.model.formats import FormatError, convert, detect, load_model, open_source, save_model
from lindos.specs import ModelSpec, RopeScaling, SpecError, load_model_spec
from tests.model import neighbours
from tests.model.checkpoints import random_model, same_weights, tiny_spec
from tests.model.grok2 import grok2_spec
from tests.model.neighbours import MIXTRAL, QWEN3

PLAIN: dict[str, Any] = {
    "norms_per_layer": 2, "renormalise_gates": True, "activation": "silu", "attention_softcap": None, "pad_token": None,
    "embedding_multiplier": 1.0, "logit_multiplier": 1.0, "tied_head": False,
}  # fmt: skip
STRETCHED = RopeScaling(factor=4.0, original_sequence=8)
SPECS = {
    "mixtral": tiny_spec(**PLAIN, kind="chat"),
    "mixtral, stretched": tiny_spec(**PLAIN, rope_scaling=STRETCHED, title="ünïcode"),
    "mixtral, tied, gelu": tiny_spec(**(PLAIN | {"tied_head": True, "activation": "gelu_tanh", "pad_token": 0})),
    "qwen3-moe": tiny_spec(**(PLAIN | {"query_key_norms": True, "renormalise_gates": False}), rope_base=1e6),
    "sglang": grok2_spec(attention_multiplier=8**-0.5),
    "sglang, stretched": grok2_spec(
        attention_multiplier=8**-0.5, pad_token=3,
        rope_scaling=RopeScaling(factor=16.0, original_sequence=8, beta_fast=8.0, attention_factor=1.0),
    ),
}  # fmt: skip


def plain(spec: ModelSpec) -> ModelSpec:
    """With the multiplier that transformers' families leave unsaid."""
    return spec.model_copy(update={"attention_multiplier": spec.head_size**-0.5})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SPECS)
def test_converted_there_and_back_bit_for_bit(name, dtype, tmp_path):
    to = name.partition(",")[0]
    model = random_model(plain(SPECS[name]), dtype=dtype)
    save_model(model, tmp_path / "own")
    same_weights(load_model(tmp_path / "own", dtype=dtype), model)
    report = convert(tmp_path / "own", tmp_path / "there", to=to, shard_bytes=2000)
    assert report.files > 1
    assert report.comparison is not None
    assert report.comparison.difference == 0
    assert detect(tmp_path / "there") == to
    convert(tmp_path / "there", tmp_path / "back", verify=False)
    same_weights(load_model(tmp_path / "back", dtype=dtype), model)


@pytest.mark.parametrize("name", ["mixtral", "mixtral, stretched", "qwen3-moe"])
def test_what_is_written_is_read_by_transformers(name, tmp_path):
    model = random_model(plain(SPECS[name]))
    save_model(model, tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "there", to=name.partition(",")[0], dtype="fp32", verify=False)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "there")
    tokens = torch.arange(1, 11)[None]
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens), peer(tokens).logits, atol=1e-4, rtol=0)


def test_int8_is_stored_small_in_the_own_format(tmp_path):
    save_model(random_model(grok2_spec()), tmp_path / "own")
    report = convert(tmp_path / "own", tmp_path / "small", dtype="int8")
    assert report.comparison is not None
    assert 0 < report.comparison.rounding < 0.5


@pytest.mark.parametrize(
    ("to", "spec", "message"),
    [
        ("mixtral", grok2_spec(), "norms_per_layer = 4 cannot be said in the mixtral format"),
        ("mixtral", SPECS["qwen3-moe"], "query_key_norms = True"),
        ("qwen3-moe", SPECS["mixtral"], "query_key_norms = False"),
        ("mixtral", tiny_spec(**(PLAIN | {"renormalise_gates": False})), "renormalise_gates = False"),
        ("mixtral", tiny_spec(**PLAIN, attention_multiplier=0.3), "attention_multiplier = 0.3"),
        ("keyfan", grok2_spec(), "shared_width = 36"),
        ("sglang", grok2_spec(shared_multiplier=1.0), "shared_multiplier = 1.0"),
        ("sglang", grok2_spec(rope_scaling=STRETCHED), "attention_factor"),
    ],
)
def test_what_a_format_cannot_say_is_not_written(to, spec, message, tmp_path):
    save_model(random_model(spec), tmp_path / "own")
    with pytest.raises(FormatError, match=message) as caught:
        convert(tmp_path / "own", tmp_path / "there", to=to)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3"])
def test_logits_by_command_in_memory_and_matrix_by_matrix(kind, tmp_path):
    cases, make = {"mixtral": (MIXTRAL, neighbours.mixtral), "qwen3": (QWEN3, neighbours.qwen3)}[kind]
    peer = make(tmp_path / "peer", **next(iter(cases.values())))
    convert(tmp_path / "peer", tmp_path / "own", verify=False)
    save_model(random_model(grok2_spec()), tmp_path / "grok-2")
    with torch.inference_mode():
        expected = peer(torch.tensor([[5, 17, 9]])).logits[0].numpy()
    found = {}
    for folder in ("peer", "own", "grok-2"):
        for way in ("--in-memory", "--stream"):
            out = tmp_path / "logits.npy"
            arguments = ["logits", str(tmp_path / folder), "--tokens", "5,17,9", "--out", str(out), way]
            assert CliRunner().invoke(app, arguments).exit_code == 0
            found[folder, way] = np.load(out)
    for folder in ("peer", "own"):
        for way in ("--in-memory", "--stream"):
            np.testing.assert_allclose(found[folder, way], expected, atol=1e-4)
    np.testing.assert_allclose(found["grok-2", "--stream"], found["grok-2", "--in-memory"], atol=1e-5)


# Descriptions


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("peers")
    neighbours.mixtral(folder / "mixtral", **MIXTRAL["large and few"])
    neighbours.qwen3(folder / "qwen3", **QWEN3["gates as they are"])
    return {"mixtral": folder / "mixtral", "qwen3": folder / "qwen3"}


def described(folder: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    """The same tensors, with another config.json."""
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "model.safetensors").symlink_to(folder / "model.safetensors")
    table = {**json.loads((folder / "config.json").read_text()), **change}
    (tmp_path / "it" / "config.json").write_text(json.dumps(table))
    return tmp_path / "it"


LLAMA3 = {"rope_theta": 1e4, "rope_type": "llama3", "factor": 8.0}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("mixtral", {"sliding_window": 64}, "sliding_window = 64 is in use"),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True}, "sliding_window = 64 is in use"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ("qwen3", {"attention_bias": True}, "attention_bias = True describes a network that Lindos does not compute"),
        ("mixtral", {"rope_parameters": LLAMA3}, "rope_type 'llama3' is not computed"),
        ("mixtral", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type 'linear' is not computed"),
        ("qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "wants original_max_position_embeddings"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "mscale": 0.7}}, "mscale = 0.7 is not computed"),
        ("qwen3", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5 is not computed"),
        ("qwen3", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "is not one table of settings"),
        ("qwen3", {"rope_theta": 5e5}, "'rope_parameters' says 10000.0 and 'rope_theta' says 500000.0"),
        ("qwen3", {"mlp_only_layers": [0]}, r"mlp_only_layers = \[0\] describes a network"),
        ("qwen3", {"decoder_sparse_step": 2}, "decoder_sparse_step = 2 describes a network"),
        ("mixtral", {"hidden_act": "gelu"}, "hidden_act = 'gelu' is not one of silu, gelu_pytorch_tanh"),
        ("mixtral", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config = .* describes a network"),
        ("mixtral", {"norm_topk_prob": False}, "renormalise_gates = False, but Mixtral has True"),
        ("mixtral", {"num_expert": 4}, "unknown field 'num_expert'; did you mean 'num_experts'"),
        ("mixtral", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM'.* is not one"),
        ("mixtral", {"num_attention_heads": 8}, r"attention\.key.*expected shape"),
        ("mixtral", {"intermediate_size": 48}, r"experts\.gate.*expected shape"),
    ],
)  # fmt: skip
def test_settings_that_are_not_computed_are_refused_in_one_line(kind, change, message, folders, tmp_path):
    folder = described(folders[kind], tmp_path, change)
    with pytest.raises((FormatError, SpecError), match=message) as caught:
        open_source(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("mixtral", {"sliding_window": 128}),  # no sequence is longer
        ("mixtral", {"sliding_window": 4096}),
        ("qwen3", {"sliding_window": 64, "max_window_layers": 1, "use_sliding_window": False}),
        ("mixtral", {"rope_parameters": None, "rope_theta": 1e6}),  # as transformers 4 wrote it
        ("mixtral", {"head_dim": 8, "pad_token_id": 0, "router_jitter_noise": 0.1, "torch_dtype": "bfloat16"}),
        ("qwen3", {"num_experts": 8, "intermediate_size": 6144, "layer_types": ["full_attention"] * 2}),
    ],
)  # fmt: skip
def test_settings_that_change_nothing_are_passed_over(kind, change, folders, tmp_path):
    expected = open_source(folders[kind]).spec
    assert open_source(described(folders[kind], tmp_path, change)).spec == expected.model_copy(update={"name": "it"})


def test_a_chat_template_beside_the_tensors_makes_a_chat_model(folders, tmp_path):
    folder = described(folders["mixtral"], tmp_path, {})
    assert open_source(folder).spec.kind == "base"
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert open_source(folder).spec.kind == "chat"
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert open_source(folder).spec.kind == "chat"


def test_the_catalogue_says_what_a_missing_description_would(folders, tmp_path):
    spec = open_source(folders["mixtral"]).spec
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "model.safetensors").symlink_to(folders["mixtral"] / "model.safetensors")
    with pytest.raises(FormatError, match="do not tell"):
        open_source(tmp_path / "it")
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert open_source(tmp_path / "it", tmp_path / "spec.json").spec == spec
    with pytest.raises(FormatError, match="its 32 columns do not divide into heads of 128"):
        open_source(tmp_path / "it", "mixtral-8x7b")


HUB_MIXTRAL = {
    "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.36.0.dev0", "use_cache": True,
    "vocab_size": 32000,
}  # fmt: skip
HUB_QWEN3 = {
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960,
    "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
    "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
    "num_hidden_layers": 48, "num_key_value_heads": 4, "output_router_logits": False, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip


@pytest.mark.parametrize(("name", "table"), [("mixtral-8x7b", HUB_MIXTRAL), ("qwen3-30b-a3b", HUB_QWEN3)])
def test_the_descriptions_on_the_hub_give_the_catalogue_entries(name, table):
    from lindos.model.formats.fields import lindos_fields

    known = {**load_model_spec(name).model_dump(), "sequence": table["max_position_embeddings"]}
    fields = lindos_fields(table, "config.json")
    assert {key: known[key] for key in fields} == fields

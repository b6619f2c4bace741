"""What the Transformer does not compute is refused by the name of the field, before anything is built or read."""

from __future__ import annotations

import json

import pytest
import torch

from lindos.engine import EngineOptions
from lindos.engine.loading import load_engine
from lindos.model import Transformer
from lindos.model.formats import convert, load_model, open_source, save_model
from lindos.model.formats.streamed import StreamedTransformer
from lindos.specs import LatentAttention, ModelSpec, SpecError, load_model_spec
from lindos.specs.computable import COMPUTED, check_computable
from tests.model.checkpoints import random_model, tiny_spec

OTHERWISE = {
    "dense_layers": {"dense_layers": 1, "dense_width": 16},
    "latent": {"latent": LatentAttention(kv_rank=4, rope_size=2, value_size=4)},
    "gated": {"gated": False},
    "activation": {"activation": "relu2"},
    "mtp_layers": {"mtp_layers": 1},
    "routed_nodes": {"routed_nodes": 4},
    "window": {"window": 4, "full_attention_every": 2},
    "attention_sinks": {"attention_sinks": True},
    "learned_positions": {"learned_positions": True},
    "alibi": {"alibi": True},
    "biases": {"biases": "qkv"},
    "router_bias": {"router_bias": True},
    "norms_per_layer": {"norms_per_layer": 1},
    "norm_bias": {"norm_bias": True},
    "embedding_norm": {"embedding_norm": True},
}


def test_every_refused_field_is_tried_here():
    assert OTHERWISE.keys() == COMPUTED.keys()


def test_every_field_that_changes_the_tensors_is_either_built_or_refused():
    """A field that a later spec adds stands here or above, so that none is passed over in silence."""
    free = {
        "name", "title", "source", "licence", "kind", "layers", "width", "vocabulary", "sequence", "heads", "kv_heads",
        "head_size", "experts", "experts_per_token", "expert_width", "tied_head", "pad_token", "renormalise_gates",
        "embedding_multiplier", "logit_multiplier", "attention_multiplier", "attention_softcap", "router_softcap",
        "logit_softcap", "rope_base", "norm_eps", "rope_scaling", "attention_temperature_length", "query_key_norms",
        "shared_width", "shared_multiplier",
        "dense_width", "full_attention_every",  # mean nothing without dense_layers and window
    }  # fmt: skip
    assert ModelSpec.model_fields.keys() == free | COMPUTED.keys()


@pytest.mark.parametrize("field", OTHERWISE)
def test_what_is_not_computed_is_refused_by_name_in_one_line(field):
    spec = tiny_spec(**OTHERWISE[field])
    refusals = [check_computable] if field == "dense_layers" else [check_computable, Transformer]
    for refuse in refusals:
        with pytest.raises(SpecError, match=rf"^tiny: {field} = ") as caught:
            refuse(spec)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("activation", ["gelu_tanh", "silu"])
def test_both_activations_are_computed(activation):
    check_computable(tiny_spec(activation=activation))


NEIGHBOURS = ["grok-2", "mixtral-8x7b", "mixtral-8x22b", "qwen3-30b-a3b", "qwen3-235b-a22b"]


@pytest.mark.parametrize("name", ["grok-1", "pebble", *NEIGHBOURS])
def test_our_own_models_and_their_neighbours_are_computed(name):
    spec = load_model_spec(name)
    check_computable(spec)
    with torch.device("meta"):
        assert sum(p.numel() for p in Transformer(spec).parameters()) == spec.parameters


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-70b"])
def test_dense_models_are_built_for_training(name):
    spec = load_model_spec(name)
    with torch.device("meta"):
        assert sum(p.numel() for p in Transformer(spec).parameters()) == spec.parameters
    with pytest.raises(SpecError, match=r"dense_layers = "):
        check_computable(spec)


def test_a_dense_model_is_kept_and_read_but_not_served_or_converted(tmp_path):
    made = random_model(tiny_spec(dense_layers=1, dense_width=24, layers=2))
    save_model(made, tmp_path / "model")
    read = load_model(tmp_path / "model", dtype=torch.float32)
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(read(tokens), made(tokens))
    source = open_source(tmp_path / "model")
    for refused in (
        lambda: StreamedTransformer(source),
        lambda: convert(tmp_path / "model", tmp_path / "other", to="own"),
        lambda: load_engine(tmp_path / "model", EngineOptions(), lambda *_: None),
    ):
        with pytest.raises(SpecError, match="dense_layers = 1"):
            refused()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["deepseek-v3", "kimi-k2", "qwen2.5-72b", "gpt-oss-20b"])
def test_others_models_are_refused(name):
    with pytest.raises(SpecError, match=f"^{name}: "):
        Transformer(load_model_spec(name))


def test_a_checkpoint_that_asks_for_another_network_is_refused(tmp_path):
    save_model(random_model(tiny_spec()), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    table = json.loads(config.read_text())
    table["spec"] |= {"norms_per_layer": 1}
    config.write_text(json.dumps(table))
    with pytest.raises(SpecError, match=r"config\.json: norms_per_layer = 1"):
        open_source(tmp_path / "model")
    with pytest.raises(SpecError, match=r"catalogue model 'llama-3\.1-8b': dense_layers = 32"):
        open_source(tmp_path / "model", spec="llama-3.1-8b")

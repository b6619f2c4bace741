"""The nouns: exact counts, strict fields, helpful refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lindos.specs import (
    Cluster,
    Conversation,
    Layout,
    ModelSpec,
    Precision,
    SpecError,
    catalog_models,
    load_cluster,
    load_model_spec,
)


def small(**changes) -> dict:
    fields = {
        "name": "t", "layers": 2, "width": 8, "vocabulary": 16, "sequence": 32, "heads": 4, "kv_heads": 2,
        "head_size": 4, "experts": 4, "experts_per_token": 2, "expert_width": 12, "attention_multiplier": 0.5,
    }  # fmt: skip
    return fields | changes


def test_grok_1_counts_are_the_published_ones():
    spec = load_model_spec("grok-1")
    assert spec.parameters == 315_684_820_992
    assert spec.active_parameters == 83_756_587_008
    assert spec.layer_parameters == 4_919_992_320
    assert spec.expert_parameters == 603_979_776
    assert spec.kv_bytes_per_token() == 262_144
    assert round(spec.weight_bytes(Precision.BF16) / 1e9, 1) == 631.4
    assert round(spec.weight_bytes(Precision.INT4) / 1e9, 1) == 178.7


def test_pebble_is_small_and_of_the_same_architecture():
    pebble, grok = load_model_spec("pebble"), load_model_spec("grok-1")
    assert 18e6 < pebble.parameters < 21e6
    assert 6e6 < pebble.active_parameters < 8e6
    for field in ("experts", "experts_per_token", "attention_softcap", "activation", "renormalise_gates", "rope_base"):
        assert getattr(pebble, field) == getattr(grok, field)


@given(
    layers=st.integers(1, 3),
    width=st.integers(1, 9),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    experts=st.integers(1, 5),
    expert_width=st.integers(1, 7),
    tied=st.booleans(),
)
def test_counts_equal_the_tensors_of_the_network(layers, width, kv_heads, group, experts, expert_width, tied):
    import torch

    from lindos.model import Transformer

    spec = ModelSpec.parse(
        small(layers=layers, width=width, kv_heads=kv_heads, heads=kv_heads * group, experts=experts,
              experts_per_token=1, expert_width=expert_width, tied_head=tied)
    )  # fmt: skip
    with torch.device("meta"):
        network = Transformer(spec)
    assert sum(p.numel() for p in network.parameters()) == spec.parameters


def test_training_costs_three_forward_passes():
    spec = load_model_spec("grok-1")
    assert spec.training_flops_per_token(8192) == 3 * spec.forward_flops_per_token(4096)
    # Two per weight that is multiplied, and the attention over 4,096 tokens.
    assert spec.forward_flops_per_token(0) == pytest.approx(2 * 83.76e9, rel=1e-3)
    assert spec.forward_flops_per_token(1) - spec.forward_flops_per_token(0) == 4 * 64 * 48 * 128


def test_unknown_field_names_the_nearest():
    with pytest.raises(SpecError, match="layer: unknown field; did you mean 'layers'"):
        ModelSpec.parse(small(layer=2))
    with pytest.raises(SpecError, match=r"my\.toml: kv_heads_: unknown field; did you mean 'kv_heads'"):
        ModelSpec.parse(small(kv_heads_=2), where="my.toml")


def test_every_mistake_is_listed():
    with pytest.raises(SpecError) as caught:
        ModelSpec.parse(small(layers=0, width="wide", attention_multiplier=float("nan")))
    text = str(caught.value)
    assert "layers" in text
    assert "width" in text
    assert "attention_multiplier" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "multiple of kv_heads"),
        ({"head_size": 3}, "must be even"),
        ({"experts_per_token": 5}, "exceeds experts"),
        ({"pad_token": 16}, "outside the vocabulary"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec.parse(small(**change))


def test_specs_are_frozen():
    spec = ModelSpec.parse(small())
    with pytest.raises(ValidationError):
        spec.layers = 3  # type: ignore[misc]


def test_specs_survive_json():
    for spec in catalog_models().values():
        assert ModelSpec.parse(json.loads(spec.model_dump_json())) == spec


def test_own_catalogue_entries_are_found_and_win(tmp_path, monkeypatch):
    monkeypatch.setenv("LINDOS_CATALOG", str(tmp_path))
    lines = [f"{key} = {json.dumps(value)}" for key, value in small(name="mine", title="My own").items()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    assert load_model_spec("mine").title == "My own"
    assert load_model_spec(tmp_path / "mine.toml").name == "mine"
    (tmp_path / "mine.toml").write_text("\n".join([*lines, "hidden = 3"]))
    with pytest.raises(SpecError, match=r"mine\.toml: hidden: unknown field"):
        load_model_spec("mine")


def test_unknown_and_broken_entries_say_what_to_do(tmp_path):
    with pytest.raises(SpecError, match="did you mean 'grok-1'"):
        load_model_spec("grok1")
    (tmp_path / "bad.toml").write_text("layers = = 2")
    with pytest.raises(SpecError, match=r"bad\.toml: cannot be read"):
        load_model_spec(tmp_path / "bad.toml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_model_spec(tmp_path / "missing.toml")


def test_layouts_name_the_number_that_does_not_divide():
    grok = load_model_spec("grok-1")
    layout = Layout(replicas=2, shards=8, tensor=8, pipeline=4, expert=8, micro_batch=2)
    assert layout.world == 512
    layout.check(grok, batch=64)
    with pytest.raises(SpecError, match="layers = 64 is not a multiple of pipeline"):
        Layout(pipeline=6).check(grok)
    with pytest.raises(SpecError, match="batch of 10 sequences"):
        Layout(shards=4).check(grok, batch=10)


def test_machines_and_clusters_count_devices():
    cluster = load_cluster("colossus")
    assert cluster.devices == 100_000
    assert cluster.machine.devices == 8
    with pytest.raises(SpecError, match=r"machine\.host_memory: unknown field; did you mean 'host_memory_bytes'"):
        Cluster.parse({**cluster.model_dump(), "machine": {"name": "x", "host_memory": 3}})


def test_conversations_grow_by_copies():
    first = Conversation().then("user", "Hello")
    assert [m.role for m in first.then("assistant", "Hi").messages] == ["user", "assistant"]
    assert len(first.messages) == 1


def test_specs_import_nothing_heavy():
    code = "import sys, lindos.specs; print([m for m in ('torch', 'numpy', 'lindos.model') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "text"),
    [("deep.json", "[" * 100_000), ("deep.toml", "a = " + "[" * 100_000), ("bytes.toml", "\x00\xff"),
     ("digits.json", '{"layers": ' + "9" * 10_000 + "}"), ("layers.json", '{"layers": 1' + "0" * 320 + "}")],
)  # fmt: skip
def test_files_that_are_no_description_are_one_clear_error(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(SpecError, match=name):
        load_model_spec(tmp_path / name)

"""Every format reads what was written, bit for bit, and says so when it cannot."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lindos.model.formats import FormatError, convert, detect, load_model, open_source, save_model
from lindos.model.formats.fields import read_fields
from lindos.model.formats.int8 import quantise, widen
from lindos.model.formats.names import release_order
from lindos.model.formats.sinks import Choice
from lindos.specs import SpecError
from tests.model.checkpoints import (
    arrays_of,
    as_release,
    mini,
    pickled,
    random_model,
    same_weights,
    tiny_spec,
    widened,
    write_official,
)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@st.composite
def specs(draw):
    kv_heads, experts = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return tiny_spec(
        layers=draw(st.sampled_from([1, 2, 11])),
        width=draw(st.integers(1, 13)),
        vocabulary=draw(st.integers(1, 17)),
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_size=2 * draw(st.integers(1, 3)),
        experts=experts,
        experts_per_token=draw(st.integers(1, experts)),
        expert_width=draw(st.integers(1, 9)),
        attention_softcap=draw(st.sampled_from([None, 30.0])),
        router_softcap=draw(st.sampled_from([None, 30.0])),
        activation=draw(st.sampled_from(["gelu_tanh", "silu"])),
        renormalise_gates=draw(st.booleans()),
        tied_head=draw(st.booleans()),
        pad_token=draw(st.sampled_from([None, 0])),
        kind=draw(st.sampled_from(["base", "chat"])),
        title="a title with ünïcode",
    )


@settings(max_examples=20, deadline=None)
@given(spec=specs(), kind=st.sampled_from(["fp32", "bf16"]), to=st.sampled_from(["own", "sglang", "keyfan"]))
def test_saved_and_converted_models_come_back_bit_for_bit(spec, kind, to):
    model = random_model(spec, dtype=DTYPES[kind])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(model, folder / "own")
        same_weights(load_model(folder / "own", dtype=DTYPES[kind]), model)
        half = 2 * spec.parameters
        convert(folder / "own", folder / "there", to=to, shard_bytes=half, verify=False)
        assert detect(folder / "there") == to
        convert(folder / "there", folder / "back", verify=False)
        same_weights(load_model(folder / "back", dtype=DTYPES[kind]), model)


@settings(max_examples=10, deadline=None)
@given(spec=specs().filter(lambda spec: spec.tied_head), quantise=st.booleans(), protocol=st.sampled_from([2, 3, 4, 5]))
def test_official_pickles_come_back_as_the_formula_says(spec, quantise, protocol):
    arrays = arrays_of(random_model(spec))
    stored = {name: as_release(name, array) if quantise else array for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = write_official(Path(name) / "it", stored, json.loads(spec.model_dump_json()), protocol)
        if protocol in (2, 5):  # as text in a codec, or out of band: neither is how the release writes
            with pytest.raises(FormatError, match="not on the list"):
                load_model(folder)
            return
        model = load_model(folder, dtype=torch.float32)
        assert model.spec == spec
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), widened(stored[name]), err_msg=name)


def test_mini_in_official_pickles_gives_the_logits_of_the_release(tmp_path):
    arrays, config, tokens, expected = mini()
    folder = write_official(tmp_path / "mini", arrays, config)
    assert detect(folder) == "official"
    for directory in (folder, folder / "ckpt-0"):  # either may be named
        model = load_model(directory, dtype=torch.float32)
        with torch.inference_mode():
            logits = model(torch.from_numpy(tokens).long()).numpy()
        assert np.abs(logits - expected)[tokens != 0].max() < 1e-4


def test_layers_of_the_release_come_in_the_order_of_text():
    order = release_order(12)
    assert [name.split(".")[1] for name in order[2::12]] == ["0", "1", "10", "11", *"23456789"]
    assert order[:2] == ["embedding", "final_norm"]
    assert len(set(order)) == 2 + 12 * 12


def test_the_release_order_equals_the_public_one(shared):
    listed = json.loads((shared / "golden" / "grok1-tensors.json").read_text())
    from tests.model.golden import own_name

    assert release_order(64) == [own_name(entry["name"].removeprefix("params/")) for entry in listed]


def test_the_golden_official_checkpoint(shared, tmp_path):
    folder = shared / "golden" / "official-checkpoint"
    golden = np.load(folder / "logits.npz")
    tokens = torch.from_numpy(golden["tokens"]).long()

    def difference(directory: Path) -> float:
        with torch.inference_mode():
            logits = load_model(directory, dtype=torch.float32)(tokens).numpy()
        return float(np.abs(logits - golden["logits_f32"])[golden["tokens"] != 0].max())

    assert difference(folder) < 1e-4
    assert open_source(folder).spec.layers == 11
    at = folder
    steps: list[tuple[str, Choice]] = [("own", "keep"), ("sglang", "fp32"), ("keyfan", "fp32"), ("own", "fp32")]
    for to, dtype in steps:
        report = convert(at, tmp_path / f"{to}-{dtype}", to=to, dtype=dtype, verify=to == "own")
        at = report.destination
        assert difference(at) < 1e-4
        if report.comparison is not None:
            assert report.comparison.kind == "logits"
            assert report.comparison.rounding == 0


def test_bf16_arrays_fortran_order_and_old_module_names(tmp_path):
    arrays = dict(arrays_of(random_model(tiny_spec())))
    plain = dict(arrays)
    plain["embedding"] = arrays["embedding"].astype(ml_dtypes.bfloat16)
    plain["layers.0.experts.up"] = np.asfortranarray(arrays["layers.0.experts.up"])
    folder = write_official(tmp_path / "it", plain, json.loads(tiny_spec().model_dump_json()))
    first = folder / "ckpt-0" / "tensor00001_000"
    data = first.read_bytes()
    new, old = b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    assert new in data
    frame = int.from_bytes(data[3:11], "little") - 1
    first.write_bytes((data[:3] + frame.to_bytes(8, "little") + data[11:]).replace(new, old))
    state = load_model(folder, dtype=torch.float32).state_dict()
    assert torch.equal(state["embedding"], torch.from_numpy(arrays["embedding"]).bfloat16().float())
    for name in ("layers.0.experts.up", "final_norm", "layers.1.attention.key"):
        np.testing.assert_array_equal(state[name].numpy(), arrays[name])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_int8_is_off_by_half_a_step_at_most_and_settles(stack, rows, columns, by_row, scale, seed):
    weights = torch.randn(stack, rows, columns, generator=torch.Generator().manual_seed(seed)) * scale
    weights[0] = 0
    small, scales = quantise(weights, by_row=by_row)
    wide = widen(small, scales)
    assert bool(((wide - weights).abs() <= scales * 0.5001).all())
    assert torch.equal(widen(*quantise(wide, by_row=by_row)).round(decimals=3), wide.round(decimals=3))


def test_int8_is_stored_small_and_widened_at_load(tmp_path):
    spec = tiny_spec(width=64, expert_width=64, vocabulary=256)
    model = random_model(spec)
    save_model(model, tmp_path / "small", dtype="int8")
    save_model(model, tmp_path / "large")
    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "large")}
    assert size["small"] < 0.35 * size["large"]
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert stored["layers.0.experts.gate"].dtype == np.int8
    assert stored["layers.0.experts.gate.scale"].shape == (3, 1, 64)
    assert stored["embedding.scale"].shape == (256, 1)
    assert stored["layers.0.experts.router"].dtype == np.float32
    loaded = load_model(tmp_path / "small", dtype=torch.float32)
    for name, value in loaded.state_dict().items():
        original = model.state_dict()[name]
        if name.endswith("router") or "norm" in name:
            assert torch.equal(value, original)
        else:
            assert (value - original).abs().max() <= original.abs().max() / 127


def test_saving_does_not_overwrite_unless_told(tmp_path):
    model = random_model(tiny_spec())
    (tmp_path / "tokenizer.json").write_text("{}")
    save_model(model, tmp_path / "it", tokenizer=tmp_path / "tokenizer.json", card="# It\n")
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == [
        "MODEL_CARD.md", "checksums.json", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    with pytest.raises(FormatError, match="exists already"):
        save_model(model, tmp_path / "it")
    other = random_model(tiny_spec(), seed=1)
    save_model(other, tmp_path / "it", replace=True)
    same_weights(load_model(tmp_path / "it", dtype=torch.float32), other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it", "tokenizer.json"]


def test_only_models_are_replaced_and_links_stay(tmp_path):
    model = random_model(tiny_spec())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="is no model that Lindos wrote"):
        save_model(model, tmp_path / "mine", replace=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "disk").mkdir()
    (tmp_path / "it").symlink_to(tmp_path / "disk" / "model")
    for seed in (0, 1):
        save_model(random_model(tiny_spec(), seed=seed), tmp_path / "it", replace=True)
        assert (tmp_path / "it").is_symlink()
        same_weights(load_model(tmp_path / "disk" / "model", dtype=torch.float32), random_model(tiny_spec(), seed=seed))
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["model"]


def test_a_description_beside_foreign_tensors_means_the_same_with_and_without_a_name(tmp_path):
    """What the release fixes in its code holds however much else is said, and multipliers are never guessed."""
    spec = tiny_spec()
    folder = write_official(tmp_path / "it", arrays_of(random_model(spec)))
    said = {
        key: value
        for key, value in json.loads(spec.model_dump_json(exclude_defaults=True)).items()
        if key not in ("attention_softcap", "pad_token")
    }
    for table in (said, {key: value for key, value in said.items() if key != "name"}):
        (tmp_path / "spec.json").write_text(json.dumps(table))
        found = open_source(folder, tmp_path / "spec.json").spec
        assert (found.attention_softcap, found.pad_token) == (30.0, 0)
        (tmp_path / "short.json").write_text(json.dumps({k: v for k, v in table.items() if k != "logit_multiplier"}))
        with pytest.raises(FormatError, match="logit_multiplier"):
            open_source(folder, tmp_path / "short.json")


def test_a_catalogue_name_is_one_even_where_a_folder_has_it(tmp_path, monkeypatch):
    (tmp_path / "grok-1").mkdir()
    monkeypatch.chdir(tmp_path)
    fields, where = read_fields("grok-1")
    assert fields["layers"] == 64
    assert "catalogue" in where


def test_a_description_rescues_a_directory_whose_own_is_damaged(tmp_path):
    model = random_model(tiny_spec())
    for to in ("own", "sglang"):
        save_model(model, tmp_path / "source", replace=True)
        folder = tmp_path / to
        convert(tmp_path / "source", folder, to=to, verify=False)
        (folder / "config.json").write_text("{")
        (tmp_path / "spec.json").write_text(tiny_spec().model_dump_json())
        with pytest.raises(FormatError, match=r"config\.json"):
            open_source(folder)
        same_weights(load_model(folder, dtype=torch.float32, spec=tmp_path / "spec.json"), model)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, tiny_tokenizer_dir):
    save_model(random_model(tiny_spec()), tmp_path / "it")
    with pytest.raises(FormatError, match="the model only 11; it belongs to another model"):
        convert(tmp_path / "it", tmp_path / "out", tokenizer=tiny_tokenizer_dir / "tokenizer.json")
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be_a_destination(tmp_path, monkeypatch):
    save_model(random_model(tiny_spec()), tmp_path / "it")
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "volume")
    (tmp_path / "volume").mkdir()
    with pytest.raises(FormatError, match="mount point"):
        convert(tmp_path / "it", tmp_path / "volume")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    convert(tmp_path / "it", Path("."), verify=False)
    assert (tmp_path / "here" / "config.json").is_file()


def test_directories_of_no_known_format(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        detect(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="is a file"):
        detect(tmp_path / "file")
    with pytest.raises(FormatError, match=r"tensor00000_000.*lindos-1.*embed_tokens.*in_out_embed"):
        detect(tmp_path)
    save_file({"wte.weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="other names"):
        detect(tmp_path)


# Descriptions


def official(tmp_path: Path, config: dict | None) -> Path:
    return write_official(tmp_path / "it", arrays_of(random_model(tiny_spec())), config)


NOT_SHOWN = {"key_size": 4, "num_selected_experts": 2, "sequence_len": 16, "pad_token": 0,
             "embedding_multiplier_scale": 3.0, "output_multiplier_scale": 0.6,
             "attn_output_multiplier": 0.5}  # fmt: skip


def test_sizes_come_from_the_shapes_and_the_rest_from_the_description(tmp_path):
    folder = official(tmp_path, NOT_SHOWN)
    assert open_source(folder).spec == tiny_spec(name="it")
    (folder / "config.json").rename(folder / "index.json")
    (folder / "index.json").write_text(json.dumps({"config": NOT_SHOWN, "index": []}))
    assert open_source(folder).spec == tiny_spec(name="it")
    for fields in ({"heads": 2}, {"num_kv_heads": 1}, {"num_q_heads": 2, "vocab_size": 11}):
        rest = {key: value for key, value in NOT_SHOWN.items() if key != "key_size"}
        (folder / "index.json").write_text(json.dumps(rest | fields))
        assert open_source(folder).spec == tiny_spec(name="it")


def test_a_description_by_option_replaces_the_one_beside(tmp_path):
    folder = official(tmp_path, {"nonsense": 1})
    spec = tmp_path / "spec.toml"
    spec.write_text("\n".join(f"{key} = {value}" for key, value in NOT_SHOWN.items()) + "\nrms_eps = 1e-6\n")
    assert open_source(folder, spec).spec == tiny_spec(name="it", norm_eps=1e-6)
    with pytest.raises(FormatError, match="no such spec file"):
        open_source(folder, tmp_path / "none.toml")
    with pytest.raises(FormatError, match=r"expected .* tensors, found"):
        open_source(folder, "grok-1")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, r"(?s)do not tell.*head_size \(or key_size, head_dim\).*experts_per_token.*--spec"),
        ({"emb_sizes": 8}, r"unknown field 'emb_sizes'; did you mean 'emb_size'"),
        ({"hidden_sizes": 8}, r"unknown field 'hidden_sizes'; did you mean 'hidden_size'"),
        ({"vocab_size": 12}, r"tensor 'embedding' \(.*tensor00000_000\): expected shape \[12, 8\].* found \[11, 8\]"),
        ({"num_layers": 3}, r"3 layers.*expected 38 tensors, found 26"),
        ({"ffn_size": 24}, r"experts.gate'.*tensor00002_000.*expected shape \[3, 8, 24\].*found \[3, 8, 16\]"),
        ({"num_experts": 4}, r"router'.*expected shape \[8, 4\].*found \[8, 3\]"),
        ({"key_size": 3}, r"attention.query'.*: its 8 columns do not divide into heads of 3"),
        ({"num_q_heads": 4}, r"attention.query'.*expected shape \[8, 16\].*found \[8, 8\]"),
        ({"widening_factor": 8}, r"widening_factor 8 makes experts 48 wide; tensor .* has 16"),
        ({"emb_size": 8, "hidden_size": 9}, r"'emb_size' says 8 and 'hidden_size' says 9"),
        ({"residual_moe": True}, r"residual_moe = True wants intermediate_size"),
        ({"num_selected_experts": 9}, r"experts_per_token \(9\) exceeds experts \(3\)"),
        ({"sequence_len": 10**4000}, r"out of all proportion"),
        ({"sequence_len": "long"}, r"sequence"),
        ({"embedding_multiplier_scale": float("nan")}, r"embedding_multiplier"),
        ({"key_size": "four"}, r"head_size"),
    ],
)
def test_descriptions_that_cannot_be_right(tmp_path, config, message):
    folder = official(tmp_path, None if config is None else NOT_SHOWN | config)
    with pytest.raises((FormatError, SpecError), match=message):
        open_source(folder)


def test_shapes_of_a_catalogue_model_are_recognised_when_nothing_describes_them(tmp_path, monkeypatch):
    folder = official(tmp_path, None)
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    table = {k: v for k, v in json.loads(tiny_spec(name="known").model_dump_json()).items() if v is not None}
    (catalog / "known.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items()))
    monkeypatch.setenv("LINDOS_CATALOG", str(catalog))
    with pytest.raises(FormatError, match="sizes of known in the catalogue: --spec known"):
        open_source(folder)
    assert open_source(folder, "known").spec == tiny_spec(name="known")


def test_a_common_description_of_a_safetensors_directory(tmp_path):
    save_model(random_model(tiny_spec()), tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "it", to="sglang", verify=False)
    (tmp_path / "it" / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Grok1ModelForCausalLM"], "model_type": "grok-1", "torch_dtype": "bfloat16",
                "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
                "intermediate_size": 16, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 11,
                "rope_theta": 10000, "rms_norm_eps": 1e-5, "embedding_multiplier_scale": 3.0,
                "output_multiplier_scale": 0.6, "max_position_embeddings": 16, "head_dim": 4, "pad_token_id": 0,
                "tie_word_embeddings": True, "use_cache": True, "attn_logit_softcapping": 30.0,
            }
        )
    )  # fmt: skip
    assert open_source(tmp_path / "it").spec == tiny_spec(name="it")


def test_a_head_that_is_said_to_be_tied_must_be(tmp_path):
    save_model(random_model(tiny_spec()), tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "it", to="sglang", verify=False)
    file, config = tmp_path / "it" / "model.safetensors", tmp_path / "it" / "config.json"
    tensors = load_file(file)
    np.testing.assert_array_equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])
    save_file(tensors | {"lm_head.weight": tensors["lm_head.weight"] + 1}, file)
    with pytest.raises(FormatError, match="said to be tied"):
        open_source(tmp_path / "it")
    fields = json.loads(config.read_text())
    del fields["tie_word_embeddings"]
    config.write_text(json.dumps(fields))
    assert not open_source(tmp_path / "it").spec.tied_head  # nothing said: the tensors tell
    save_file(tensors, file)
    assert open_source(tmp_path / "it").spec.tied_head


# Incomplete and contradictory checkpoints


def test_missing_and_strange_files_of_an_official_checkpoint(tmp_path):
    folder = official(tmp_path, NOT_SHOWN) / "ckpt-0"
    spare = (folder / "tensor00005_000").read_bytes()
    (folder / "tensor00005_000").unlink()
    with pytest.raises(FormatError, match="tensor00005_000 is missing"):
        open_source(folder)
    (folder / "tensor00005_000").write_bytes(pickled(np.zeros((8, 4), np.int8)))
    with pytest.raises(FormatError, match=r"tensor00005_000.*int8 without scales"):
        open_source(folder)
    (folder / "tensor00005_000").write_bytes(pickled(np.zeros((8, 5), np.float32)))
    with pytest.raises(FormatError, match=r"tensor00005_000"):
        open_source(folder)
    (folder / "tensor00005_000").write_bytes(spare)
    (folder / "tensor00005_001").write_bytes(spare)
    with pytest.raises(FormatError, match="cut into several files"):
        open_source(folder)
    (folder / "tensor00005_001").unlink()
    (folder / "tensor00025_000").unlink()
    with pytest.raises(FormatError, match="25 tensors"):
        open_source(folder)


@pytest.mark.parametrize("target", ["own", "sglang", "keyfan"])
def test_missing_shards_tensors_and_strange_indices(tmp_path, target):
    save_model(random_model(tiny_spec()), tmp_path / "own")
    convert(tmp_path / "own", folder := tmp_path / "it", to=target, shard_bytes=2000, verify=False)
    index = folder / "model.safetensors.index.json"
    shard = next(folder.glob("model-00002-of-*.safetensors"))
    original, table = shard.read_bytes(), json.loads(index.read_text())
    shard.unlink()
    with pytest.raises(FormatError, match=r"model-00002-of-.* is missing"):
        open_source(folder)
    shard.write_bytes(original)
    name = next(iter(table["weight_map"]))
    for file, message in (("../own/model.safetensors", "no file beside"), (shard.name, "does not have it"), (7, "7")):
        index.write_text(json.dumps({"weight_map": table["weight_map"] | {name: file}}))
        with pytest.raises(FormatError, match=message):
            open_source(folder)
    left = {key: value for key, value in table["weight_map"].items() if "layers.1.post" not in key}
    left = {
        key: value for key, value in left.items() if "1.rms_norm_1" not in key and "1.norm_attention_out" not in key
    }
    index.write_text(json.dumps({"weight_map": left}))
    with pytest.raises(FormatError, match=r"layers\.1\.norm_attention_out' is missing"):
        open_source(folder)


def test_unknown_tensors_are_named(tmp_path):
    save_model(random_model(tiny_spec()), tmp_path / "own")
    for target, message in (("own", "'layers.7.extra'"), ("sglang", "'layers.7.extra'")):
        if target != "own":
            convert(tmp_path / "own", tmp_path / target, to=target, verify=False)
        file = tmp_path / target / "model.safetensors"
        tensors = load_file(file)
        save_file(tensors | {"layers.7.extra": np.zeros(3, np.float32)}, file)
        with pytest.raises(FormatError, match=message):
            open_source(tmp_path / target)
        save_file(tensors, file)

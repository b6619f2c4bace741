"""GGUF: what is written is what the gguf package reads, what it writes is read, and what Lindos does not compute is
refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants

from lindos.model import Transformer
from lindos.model.formats import FormatError, convert, detect, load_model, open_source, save_model
from lindos.specs import LindosError
from tests.model.checkpoints import random_model, same_weights
from tests.model.gguffiles import SPECS, by_library, lively, rewritten, saved

KINDS = {"fp32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
OUTER = {"embedding": "token_embd", "final_norm": "output_norm", "head": "output"}
LAYER = {
    "norm_attention_in": "attn_norm", "norm_attention_out": "attn_output_norm", "norm_experts_in": "ffn_norm",
    "norm_experts_out": "layer_output_norm", "attention.query": "attn_q", "attention.key": "attn_k",
    "attention.value": "attn_v", "attention.output": "attn_output", "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm", "experts.router": "ffn_gate_inp", "experts.gate": "ffn_gate_exps",
    "experts.up": "ffn_up_exps", "experts.down": "ffn_down_exps", "shared.gate": "ffn_gate", "shared.up": "ffn_up",
    "shared.down": "ffn_down",
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {kind: saved(folder, kind) for kind in SPECS}


@pytest.fixture(scope="module")
def files(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for kind, source in sources.items():
        convert(source, folder / f"{kind}.gguf", to="gguf", dtype="fp32", verify=False)
    return {kind: folder / f"{kind}.gguf" for kind in sources}


def theirs(model: Transformer) -> dict[str, np.ndarray]:
    """A model's weights as GGUF has them, by code of this test alone."""
    architecture = "llama" if model.spec.norms_per_layer == 2 and not model.spec.query_key_norms else "other"
    found = {}
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        if name in OUTER:
            found[f"{OUTER[name]}.weight"] = array
            continue
        _, layer, part = name.split(".", 2)
        array = array.swapaxes(-1, -2) if array.ndim > 1 else array
        if architecture == "llama" and part in ("attention.query", "attention.key"):
            heads = model.spec.heads if part == "attention.query" else model.spec.kv_heads
            size = array.shape[0] // heads
            order = [
                head * size + half * size // 2 + at
                for head in range(heads)
                for at in range(size // 2)
                for half in (0, 1)
            ]
            array = array[order]
        found[f"blk.{layer}.{LAYER[part]}.weight"] = np.ascontiguousarray(array)
    return found


def stays_fp32(name: str) -> bool:
    return "norm" in name or "gate_inp" in name


# Writing, held against the gguf package


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("dtype", KINDS)
def test_the_gguf_package_reads_what_was_written(sources: dict[str, Path], tmp_path: Path, kind: str, dtype: Any):
    report = convert(sources[kind], tmp_path / "it.gguf", to="gguf", dtype=dtype)
    assert report.comparison is not None
    assert (report.comparison.kind, report.comparison.difference) == ("logits", 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["it.gguf"]
    wanted, found = theirs(load_model(sources[kind], dtype=torch.float32)), by_library(tmp_path / "it.gguf")
    stored = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "it.gguf").tensors}
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        type_ = KINDS[dtype]
        if dtype == "q4_0" and name in ("token_embd.weight", "output.weight"):
            type_ = "Q8_0"
        type_ = "F32" if stays_fp32(name) else type_
        assert stored[name] == type_, name
        rounded = quants.quantize(array, GGMLQuantizationType[type_])
        np.testing.assert_array_equal(found[name], quants.dequantize(rounded, GGMLQuantizationType[type_]), name)


@pytest.mark.parametrize("kind", SPECS)
def test_it_comes_back_the_same(sources: dict[str, Path], files: dict[str, Path], tmp_path: Path, kind: str):
    assert detect(files[kind]) == "gguf"
    assert open_source(files[kind]).spec == SPECS[kind]
    convert(files[kind], tmp_path / "own")
    same_weights(load_model(sources[kind], dtype=torch.float32), load_model(tmp_path / "own", dtype=torch.float32))


def test_what_has_no_blocks_of_32_is_f16(tmp_path: Path):
    model = random_model(SPECS["llama"].model_copy(update={"expert_width": 40}))
    save_model(model, tmp_path / "src")
    convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf", dtype="q8_0")
    stored = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "it.gguf").tensors}
    assert stored["blk.0.ffn_down_exps.weight"] == "F16"
    assert stored["blk.0.ffn_up_exps.weight"] == "Q8_0"


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("grok", {"activation": "silu"}, "activation = 'silu'"),
        ("grok", {"attention_softcap": None}, "attention_softcap"),
        ("grok", {"heads": 2}, "2 heads of 16 make 32"),
        ("grok-2", {"shared_multiplier": 1.0}, "shared_multiplier = 1.0"),
        ("llama", {"renormalise_gates": False}, "renormalise_gates = False"),
        ("llama", {"attention_multiplier": 0.5}, "attention_multiplier = 0.5"),
        ("qwen3moe", {"logit_softcap": 9.0}, "logit_softcap = 9.0"),
    ],
)
def test_models_that_its_readers_would_take_for_others_are_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], said: str
):
    save_model(random_model(SPECS[kind].model_copy(update=changes)), tmp_path / "src")
    with pytest.raises(FormatError, match=said) as error:
        convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_choices_and_places_that_do_not_fit_are_refused(sources: dict[str, Path], tmp_path: Path):
    choices: list[tuple[dict[str, Any], str]] = [
        ({"to": "gguf", "dtype": "int8"}, "not for GGUF"),
        ({"to": "own", "dtype": "q8_0"}, "q8_0 is for GGUF"),
        ({"to": "sglang", "dtype": "f16"}, "f16 is for GGUF"),
    ]
    for options, said in choices:
        with pytest.raises(FormatError, match=said):
            convert(sources["grok"], tmp_path / "it.gguf", **options)
    (tmp_path / "busy.gguf").write_bytes(b"mine")
    (tmp_path / "folder.gguf").mkdir()
    for name, said in (("it.bin", "ends in .gguf"), ("busy.gguf", "exists already"), ("folder.gguf", "one file")):
        with pytest.raises(FormatError, match=said):
            convert(sources["grok"], tmp_path / name, to="gguf")
    assert (tmp_path / "busy.gguf").read_bytes() == b"mine"


def test_values_beyond_f16_are_refused(tmp_path: Path):
    model = lively(SPECS["grok"])
    with torch.no_grad():
        model.get_parameter("layers.1.experts.up")[2, 3, 4] = 1e5
    save_model(model, tmp_path / "src")
    with pytest.raises(FormatError, match=r"layers\.1\.experts\.up.*bf16"):
        convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf", dtype="f16")
    convert(tmp_path / "src", tmp_path / "it.gguf", to="gguf", dtype="bf16")


# Reading, of files that the gguf package wrote


def written(
    path: Path,
    model: Transformer,
    keys: dict[str, Any],
    type_: str = "F32",
    tensors: dict[str, np.ndarray] | None = None,
    **options: Any,
) -> Path:
    """A model as other converters write it: no keys of Lindos's own."""
    spec = model.spec
    name = "grok" if spec.norms_per_layer == 4 else "qwen3moe" if spec.query_key_norms else "llama"
    writer = GGUFWriter(path, name, **options)
    writer.add_block_count(spec.layers)
    writer.add_context_length(spec.sequence)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.shared_width or spec.expert_width)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_key_length(spec.head_size)
    writer.add_value_length(spec.head_size)
    writer.add_rope_freq_base(spec.rope_base)
    writer.add_layer_norm_rms_eps(spec.norm_eps)
    writer.add_expert_count(spec.experts)
    writer.add_expert_used_count(spec.experts_per_token)
    for key, value in keys.items():
        add: Any = {float: writer.add_float32, int: writer.add_uint32, str: writer.add_string}[type(value)]
        add(f"{name}.{key}", value)
    for theirs_, array in (tensors or theirs(model)).items():
        kind = GGMLQuantizationType["F32" if stays_fp32(theirs_) else type_]
        writer.add_tensor(theirs_, quants.quantize(array, kind), raw_dtype=None if type_ in ("F32", "F16") else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


GROK_2_KEYS: dict[str, Any] = {
    "expert_feed_forward_length": 96, "embedding_scale": 24**0.5, "logit_scale": 0.5, "attention.output_scale": 0.25,
    "attn_logit_softcapping": 2.0, "router_logit_softcapping": 1.5, "final_logit_softcapping": 3.0,
    "attention.temperature_length": 9,
}  # fmt: skip
KEYS: dict[str, dict[str, Any]] = {
    "grok": {
        "embedding_scale": 3.0, "logit_scale": 0.6, "attention.output_scale": 0.5, "router_logit_softcapping": 30.0,
    },
    "grok-2": GROK_2_KEYS,
    "llama": {"rope.dimension_count": 16, "vocab_size": 408},
    "qwen3moe": {
        "expert_feed_forward_length": 96, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 16,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("type_", KINDS.values())
def test_files_of_others_are_read(tmp_path: Path, kind: str, type_: str):
    model = lively(SPECS[kind])
    path = written(tmp_path / "it.gguf", model, KEYS[kind], type_)
    found = load_model(path, dtype=torch.float32)
    named = {"name", "title", "kind"} | ({"attention_multiplier"} if kind != "grok" else set())  # 0 is its default
    for field, value in model.spec.model_dump(exclude=named).items():
        same = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        assert found.spec.model_dump()[field] == same, field
    assert found.spec.score_scale == pytest.approx(model.spec.score_scale)
    for name, value in model.state_dict().items():
        kind_ = GGMLQuantizationType["F32" if stays_fp32(name) or "router" in name else type_]
        lies_turned = value.ndim > 1 and name not in OUTER
        array = value.mT.contiguous().numpy() if lies_turned else value.numpy()
        array = quants.dequantize(quants.quantize(array, kind_), kind_)
        expected = torch.from_numpy(np.array(array))
        torch.testing.assert_close(found.state_dict()[name], expected.mT if lies_turned else expected, rtol=0, atol=0)


def test_old_groks_that_leave_out_their_scales_are_grok_1(tmp_path: Path):
    spec = open_source(written(tmp_path / "it.gguf", lively(SPECS["grok"]), {})).spec
    assert spec.embedding_multiplier == 78.38367176906169
    assert spec.logit_multiplier == 0.5773502691896257
    assert spec.score_scale == 0.25
    assert (spec.attention_softcap, spec.router_softcap, spec.logit_softcap) == (30.0, None, None)
    assert (spec.pad_token, spec.renormalise_gates, spec.tied_head) == (0, False, True)


def test_another_name_for_the_norm_after_the_experts(tmp_path: Path):
    model = lively(SPECS["grok"])
    tensors = {name.replace("layer_output_norm", "post_ffw_norm"): array for name, array in theirs(model).items()}
    found = load_model(written(tmp_path / "it.gguf", model, KEYS["grok"], tensors=tensors), dtype=torch.float32)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0)


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {
    "another architecture": ("qwen3moe", {"general.architecture": "deepseek2"}, (), "deepseek2"),
    "no experts": ("llama", {}, ("llama.expert_count",), "layers with experts only"),
    "linear scaling": ("llama", {"llama.rope.scaling.factor": 4.0}, (), "'linear'"),
    "long rope": ("llama", {"llama.rope.scaling.type": "longrope"}, (), "'longrope'"),
    "old linear scaling": ("llama", {"llama.rope.scale_linear": 2.0}, (), "rope.scale_linear = 2.0"),
    "a window": ("llama", {"llama.attention.sliding_window": 32}, (), "sliding_window = 32"),
    "a key nobody knows": ("grok", {"grok.router_bias": True}, (), "grok.router_bias = True"),
    "sigmoid gates": ("qwen3moe", {"qwen3moe.expert_gating_func": 2}, (), "expert_gating_func = 2"),
    "heads a layer": ("llama", {"llama.attention.head_count_kv": [2, 1]}, (), "not one number for all layers"),
    "values of another size": ("llama", {"llama.attention.value_length": 8}, (), "one size"),
    "no layers": ("llama", {"llama.block_count": 3}, ("lindos.spec",), "layers.2.*missing"),
    "no longest sequence": ("llama", {}, ("llama.context_length", "lindos.spec"), "sequence"),
    "a tensor missing": ("llama", {}, ("blk.1.attn_k.weight",), "layers.1.attention.key"),
    "another spec than the keys say": ("llama", {"llama.rope.freq_base": 5e5}, (), "rope_base = 1000000.0"),
    "a spec that is none": ("llama", {"lindos.spec": "[]"}, (), "lindos.spec is no JSON table"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_computed_is_refused_by_name(files: dict[str, Path], tmp_path: Path, what: str):
    kind, keys, drop, said = REFUSED[what]
    path = rewritten(files[kind], tmp_path / "it.gguf", keys, drop)
    with pytest.raises(LindosError, match=said):
        convert(path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["it.gguf"]


@pytest.mark.parametrize(("name", "said"), [("rope_freqs.weight", "rope_freqs"), ("blk.0.attn_q.bias", "attn_q.bias")])
def test_tensors_that_are_not_computed_with_are_refused(tmp_path: Path, name: str, said: str):
    model = lively(SPECS["llama"])
    extra = theirs(model) | {name: np.ones(8, np.float32)}
    path = written(tmp_path / "it.gguf", model, {}, tensors=extra)
    with pytest.raises(FormatError, match=said):
        open_source(path)


@pytest.mark.parametrize("type_", [kind for kind in GGMLQuantizationType if kind.name not in KINDS.values()])
def test_other_quantisations_are_refused_by_name(files: dict[str, Path], tmp_path: Path, type_: GGMLQuantizationType):
    data = bytearray(files["llama"].read_bytes())
    name = b"blk.0.attn_v.weight"
    at = data.index(name) + len(name) + 4 + 16
    data[at : at + 4] = int(type_).to_bytes(4, "little")
    (tmp_path / "it.gguf").write_bytes(data)
    with pytest.raises(FormatError, match=rf"blk\.0\.attn_v\.weight' is of type {type_.name}; Lindos reads F32"):
        open_source(tmp_path / "it.gguf")


# Split files


def test_split_files_are_read_whichever_is_named(tmp_path: Path):
    model = lively(SPECS["grok"])
    (tmp_path / "parts").mkdir()
    written(tmp_path / "parts" / "it.gguf", model, KEYS["grok"], split_max_tensors=9)
    parts = sorted((tmp_path / "parts").iterdir())
    assert [part.name for part in parts] == [f"it-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for named in (*parts, tmp_path / "parts"):
        loaded = load_model(named, dtype=torch.float32)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    parts[1].rename(tmp_path / "away")
    with pytest.raises(FormatError, match=r"00002-of-00003\.gguf: is missing"):
        open_source(parts[0])
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(FormatError, match="says it is file 2 of 3"):
        open_source(parts[0])
    alone = parts[0].rename(tmp_path / "alone.gguf")
    with pytest.raises(FormatError, match="one of 3 files"):
        open_source(alone)

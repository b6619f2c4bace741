"""The release's int8 in the engine's own form: the same whole numbers and scales, or it says that it rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.kernels.packing import rows_of
from lindos.kernels.quantising import packed, quantise, weights_of
from lindos.model.formats import convert, load_model, open_source
from lindos.model.formats.compare import compare
from lindos.model.formats.gguf.exact import is_exact, multiplier_of
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.packing import PackedSink
from lindos.model.formats.source import FormatError
from tests.model.checkpoints import (
    QuantizedWeight8bit,
    arrays_of,
    as_release,
    random_model,
    tiny_spec,
    widened,
    write_official,
)

SPEC = tiny_spec(width=64, heads=8, kv_heads=2, head_size=32, expert_width=256, experts=3, vocabulary=50)
GATE = "layers.1.experts.gate"


def release(folder: Path, **changed: Any) -> Path:
    """A checkpoint as the release stores it, in blocks of 32 inputs at the least."""
    arrays = {name: as_release(name, array) for name, array in arrays_of(random_model(SPEC, seed=4)).items()}
    fields = json.loads(SPEC.model_dump_json())
    config = {key: fields[key] for key in ("heads", "experts_per_token", "embedding_multiplier", "logit_multiplier")}
    config |= {"attention_softcap": 30.0, "attention_multiplier": 0.5, "sequence": 16, "pad_token": 0, "layers": 2}
    return write_official(folder, arrays | changed, config)


def scaled(array: QuantizedWeight8bit, factors: np.ndarray) -> QuantizedWeight8bit:
    return QuantizedWeight8bit(array.weight, (array.scales.astype(np.float32) * factors).astype(array.scales.dtype))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its second layer's gates have scales of sizes that fp16 alone does not hold, some of its first zeros."""
    arrays = arrays_of(random_model(SPEC, seed=4))
    gate = scaled(as_release(GATE, arrays[GATE]), np.array([2.0**-14, 1.0, 2.0**27], np.float32)[:, None, None])
    up = as_release("layers.0.experts.up", arrays["layers.0.experts.up"])
    up.scales[1, 0, 5:9] = 0
    return release(tmp_path_factory.mktemp("official") / "it", **{GATE: gate, "layers.0.experts.up": up})


@pytest.fixture(scope="module")
def int8(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "it"
    report = convert(official, folder, quantise="int8")
    assert report.taken_over == 2 * 7
    assert report.rounded_anew == ()
    assert report.comparison is not None
    assert report.comparison.difference == 0.0
    return folder


def test_every_weight_is_the_releases(official: Path, int8: Path):
    source, result = open_source(official), open_source(int8)
    for name, info in source.tensors.items():
        if name != "embedding":  # fp32 in the release
            for rows in info.blocks():
                assert torch.equal(source.read(name, rows).float(), result.read(name, rows).float()), name


def test_rounding_again_would_have_changed_them(official: Path):
    weights = open_source(official).read("layers.0.attention.query", slice(0, 64)).t()
    assert not torch.equal(weights_of(packed(weights, "int8")), weights)


def test_logits_are_those_of_the_widened_weights(official: Path, int8: Path):
    one, other = load_model(official, dtype=torch.float32), load_model(int8, dtype=torch.float32)
    with torch.no_grad():
        one.embedding.copy_(weights_of(packed(one.embedding, "int8")))
        tokens = torch.tensor([[5, 17, 9, 33, 2]])
        assert torch.equal(one(tokens), other(tokens))


def test_multipliers_lie_in_the_file_and_travel_with_the_matrices(int8: Path):
    table = json.loads((int8 / "config.json").read_text())["multipliers"]
    assert set(table) == {f"{GATE}.0", f"{GATE}.2"}
    source = open_source(int8)
    assert isinstance(source, PackedSource)
    for matrix in source.matrices(GATE):
        assert source.packed(matrix).multiplier == matrix.multiplier == table.get(matrix.name, 1.0)
    matrix = source.matrices(GATE)[2]
    looked_up = rows_of(source.packed(matrix), np.array([3, 200]))
    np.testing.assert_array_equal(looked_up, weights_of(source.packed(matrix))[[3, 200]].numpy())


def test_they_go_on_into_other_directories(official: Path, int8: Path, tmp_path: Path):
    convert(int8, tmp_path / "again", quantise="int8")
    once, again = open_source(int8), open_source(tmp_path / "again")
    assert isinstance(once, PackedSource)
    assert isinstance(again, PackedSource)
    for name in once.tensors:
        assert once.matrices(name) == again.matrices(name)
        for matrix in once.matrices(name):
            assert np.array_equal(once.packed(matrix).data, again.packed(matrix).data)
    convert(int8, tmp_path / "back", dtype="fp32")
    same = open_source(tmp_path / "back")
    assert torch.equal(same.read(GATE, slice(2, 3)), open_source(official).read(GATE, slice(2, 3)))


def test_only_what_holds_multipliers_takes_them_over(official: Path, int8: Path):
    for folder in (official, int8):
        source = open_source(folder)
        assert is_exact(source, GATE, "int8", multiplied=True)
        assert not is_exact(source, GATE, "int8")  # GGUF's blocks have fp16 scales and nothing else
        assert is_exact(source, "layers.0.experts.gate", "int8")
        assert not is_exact(source, "layers.0.experts.gate", "int4", multiplied=True)


def test_without_the_table_the_multiplier_is_one(int8: Path, tmp_path: Path):
    convert(int8, tmp_path / "copy", quantise="int8")
    config = tmp_path / "copy/config.json"
    table = json.loads(config.read_text())
    power = table.pop("multipliers")[f"{GATE}.2"]
    config.write_text(json.dumps(table))
    bare, whole = (open_source(folder).read(GATE, slice(2, 3)) for folder in (tmp_path / "copy", int8))
    assert torch.equal(bare * power, whole)


@pytest.mark.parametrize("bad", [3.0, 0, -2.0, True, "2", 1e300, None, [2.0], float("nan")])
def test_multipliers_that_are_no_powers_of_two_are_refused(int8: Path, tmp_path: Path, bad: object):
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((int8 / "config.json").read_text()) | {"multipliers": {f"{GATE}.0": bad}})
    )
    (tmp_path / "model.safetensors").symlink_to(int8 / "model.safetensors")
    with pytest.raises(FormatError, match="power of two"):
        open_source(tmp_path)


@pytest.mark.parametrize("table", [{"layers.9.experts.gate.0": 2.0}, {"layers.0.experts.router": 2.0}, [], "x"])
def test_multipliers_of_what_is_no_matrix_are_refused(int8: Path, tmp_path: Path, table: object):
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((int8 / "config.json").read_text()) | {"multipliers": table})
    )
    (tmp_path / "model.safetensors").symlink_to(int8 / "model.safetensors")
    with pytest.raises(FormatError, match="multipliers"):
        open_source(tmp_path)


def test_scales_too_far_apart_are_rounded_again_and_that_is_said(tmp_path: Path):
    arrays = arrays_of(random_model(SPEC, seed=4))
    gate = as_release(GATE, arrays[GATE])
    factors = np.ones_like(gate.scales, np.float32)
    factors[1, 0, 3], factors[1, 0, 4] = 2.0**-20, 2.0**20
    source = release(tmp_path / "it", **{GATE: scaled(gate, factors)})
    told = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / "out"), "--quantise", "int8"])
    assert told.exit_code == 0, told.output
    assert "13 tensors" in told.output
    assert GATE in told.output
    there = open_source(tmp_path / "out").read(GATE, slice(1, 2))[0].t()
    expected = weights_of(packed(open_source(source).read(GATE, slice(1, 2))[0].t(), "int8"))
    assert torch.equal(there, expected)


def test_int4_is_the_widened_weights_rounded(tmp_path: Path):
    official = release(tmp_path / "it")
    for rounding in ("nearest", "search"):
        convert(official, tmp_path / rounding, quantise="int4", rounding=rounding)
        there = open_source(tmp_path / rounding)
        for name in ("layers.0.experts.down", "layers.1.attention.output"):
            rows = next(iter(there.tensors[name].blocks()))
            weights, found = open_source(official).read(name, rows), there.read(name, rows)
            matrices = [weights] if weights.ndim == 2 else list(weights)
            for one, other in zip(matrices, [found] if found.ndim == 2 else list(found), strict=True):
                expected = weights_of(packed(one.t(), "int4", rounding))
                assert torch.equal(other.t(), expected)
                assert quantise(one.t(), "int4", rounding).values.min() >= -8


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6), st.booleans())
def test_a_multiplier_leaves_what_fp16_holds(numbers: list[float], rounded: bool):
    scales = np.array(numbers, np.float32)
    if rounded:
        scales = scales.astype(ml_dtypes.bfloat16).astype(np.float32)
    if not np.isfinite(scales).all():
        assert multiplier_of(scales) is None
        return
    found = multiplier_of(scales)
    if found is not None:
        assert np.frexp(found)[0] == 0.5
        half = (scales.astype(np.float64) / found).astype(np.float16)
        np.testing.assert_array_equal(half.astype(np.float32) * np.float32(found), scales)
    elif rounded:  # eight digits fit into fp16 over 33 powers of two, and a multiplier reaches down to 2^-126
        sizes = np.abs(scales[scales != 0])
        assert sizes.max() >= sizes.min() * 2.0**32 or sizes.min() < 2.0**-126


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_scales_that_are_no_numbers_are_damage(tmp_path: Path, bad: float):
    arrays = arrays_of(random_model(SPEC, seed=4))
    gate = as_release(GATE, arrays[GATE])
    gate.scales[0, 0, 0] = bad
    source = release(tmp_path / "it", **{GATE: gate})
    for weights in ("int8", "int4", "bf16"):
        with pytest.raises(FormatError, match=r"layers\.1\.experts\.gate.*not finite"):
            convert(source, tmp_path / "out", quantise=weights)
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_widening_by_the_description_gives_the_same(official: Path):
    arrays = arrays_of(random_model(SPEC, seed=4))
    expected = widened(as_release("layers.0.experts.down", arrays["layers.0.experts.down"]))
    found = open_source(official).read("layers.0.experts.down", slice(0, 3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("weights", ["int8", "int4", "bf16"])
def test_a_model_that_is_too_large_is_compared_by_strips(tmp_path: Path, weights: Any):
    source = release(tmp_path / "it")
    report = convert(source, tmp_path / "out", quantise=weights, memory=0)
    assert report.comparison is not None
    assert report.comparison.kind == "samples"
    opened, result, sink = open_source(source), open_source(tmp_path / "out"), PackedSink(weights, open_source(source))
    assert isinstance(result, PackedSource)
    place = result.place(result.matrices("layers.0.attention.key")[0])
    with place.path.open("r+b") as file:  # all values of it, so that any sample meets one
        file.seek(place.offset)
        data = file.read(place.shape[0])
        file.seek(place.offset)
        file.write(bytes(byte ^ 1 for byte in data))
    with pytest.raises(FormatError, match=r"layers\.0\.attention\.key"):
        compare(opened, result, sink, memory=0)

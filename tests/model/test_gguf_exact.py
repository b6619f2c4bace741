"""Whole numbers go between GGUF's blocks and Lindos's own packed forms as they are, never rounded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quants
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lindos.kernels.packing import Quantised
from lindos.kernels.quantising import dequantise, quantise
from lindos.model.formats import convert, open_source
from lindos.model.formats.gguf.blocks import Q4_0, Q8_0, Kind, encode, encode_whole, whole_numbers
from lindos.model.formats.gguf.source import GgufSource
from lindos.model.formats.packedfiles import PackedSource
from tests.model.gguffiles import SPECS, saved

KINDS = {"int8": Q8_0, "int4": Q4_0}
PAIRS: list[tuple[str, Any]] = [("int8", "q8_0"), ("int4", "q4_0")]
OUTER = ("embedding", "head")
"""Lindos's own int8 has a scale a row for these, so that they lie there widened."""
RANGES = {"int8": (-128, 127), "int4": (-8, 7)}


@st.composite
def matrices(draw: Any, format: str) -> Quantised:
    rows, groups = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    low, high = RANGES[format]
    values = draw(arrays.arrays(np.int8, (rows, groups * 32), elements=st.integers(low, high)))
    scale = st.floats(-60000, 60000, width=16)
    return Quantised(values, draw(arrays.arrays(np.float16, (rows, groups), elements=scale)))


@pytest.mark.parametrize("format", ["int8", "int4"])
@given(data=st.data())
def test_blocks_hold_any_whole_numbers(format: str, data: st.DataObject):
    whole, kind = data.draw(matrices(format)), KINDS[format]
    stored = encode_whole(whole, kind).numpy().view(np.uint8)
    again = whole_numbers(stored, len(whole.values), kind)
    np.testing.assert_array_equal(again.values, whole.values)
    np.testing.assert_array_equal(again.scales.view(np.uint16), whole.scales.view(np.uint16))
    theirs = quants.dequantize(stored.reshape(len(whole.values), -1), GGMLQuantizationType[kind.name])
    np.testing.assert_array_equal(theirs, dequantise(whole).numpy())


@pytest.mark.parametrize("kind", [Q8_0, Q4_0], ids=lambda kind: kind.name)
@given(data=st.data())
def test_rounding_is_the_gguf_packages(kind: Kind, data: st.DataObject):
    weights = data.draw(arrays.arrays(np.float32, (3, 64), elements=st.floats(-1000, 1000, width=16)))
    ours = encode(torch.from_numpy(weights), kind).numpy().view(np.uint8).reshape(3, -1)
    theirs = quants.quantize(weights, GGMLQuantizationType[kind.name])
    np.testing.assert_array_equal(
        whole_numbers(ours.reshape(-1), 3, kind).scales, whole_numbers(theirs, 3, kind).scales
    )
    ties = np.abs(whole_numbers(ours.reshape(-1), 3, kind).values.astype(int) - whole_numbers(theirs, 3, kind).values)
    assert ties.max() <= 1  # where a weight lies in the middle of two whole numbers, to the last bit of fp32
    assert ties.mean() < 0.05


def strange(source: Path, target: Path, seed: int = 0) -> Path:
    """The same file with whole numbers and scales in its quantised matrices that no rounding to nearest would give."""
    data, rng = bytearray(source.read_bytes()), np.random.default_rng(seed)
    for tensor in GGUFReader(source).tensors:
        kind = {"Q8_0": Q8_0, "Q4_0": Q4_0}.get(tensor.tensor_type.name)
        if kind is None:
            continue
        blocks = rng.integers(0, 256, (int(tensor.n_bytes) // kind.block, kind.block), np.uint8)
        signs = rng.choice([-1, 1], len(blocks))
        blocks[:, :2] = (rng.uniform(0.001, 0.01, len(blocks)) * signs).astype(np.float16)[:, None].view(np.uint8)
        data[tensor.data_offset : tensor.data_offset + int(tensor.n_bytes)] = blocks.tobytes()
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder, found = tmp_path_factory.mktemp("files"), {}
    for kind in SPECS:
        source = saved(folder, kind)
        for format, dtype in PAIRS:
            convert(source, folder / f"{kind}-{dtype}.gguf", to="gguf", dtype=dtype, verify=False)
            found[kind, format] = strange(folder / f"{kind}-{dtype}.gguf", folder / f"{kind}-{dtype}-strange.gguf")
    return found


def whole(source: Any, name: str) -> list[Quantised]:
    return list(source.whole_numbers(name, slice(0, source.tensors[name].shape[0])))


def same_matrices(one: Path, other: Path, *, but: tuple[str, ...] = ()) -> int:
    """Of two models of any format, bit for bit what they stand for; how many were compared."""
    left, right = open_source(one), open_source(other)
    names = [name for name in left.tensors if name not in but]
    for name in names:
        for rows in left.tensors[name].blocks():
            assert torch.equal(left.read(name, rows).float(), right.read(name, rows).float()), name
    return len(names)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("format", ["int8", "int4"])
def test_there_and_back(files: dict[tuple[str, str], Path], tmp_path: Path, kind: str, format: Any):
    original = files[kind, format]
    source = open_source(original)
    assert isinstance(source, GgufSource)
    query = whole(source, "layers.0.attention.query")[0]
    again = quantise(dequantise(query), format)
    assert not np.array_equal(again.values * again.scales.repeat(32, 1), query.values * query.scales.repeat(32, 1))
    report = convert(original, tmp_path / "packed", quantise=format)
    assert report.comparison is not None
    assert report.comparison.difference == 0.0
    assert isinstance(open_source(tmp_path / "packed"), PackedSource)
    assert same_matrices(original, tmp_path / "packed") > 20
    convert(tmp_path / "packed", tmp_path / "back.gguf", to="gguf")
    convert(tmp_path / "packed", tmp_path / "chosen.gguf", to="gguf", dtype=dict(PAIRS)[format])
    for back in ("back.gguf", "chosen.gguf"):
        first, second = GGUFReader(original).tensors, GGUFReader(tmp_path / back).tensors
        for before, after in zip(first, second, strict=True):
            assert (before.name, before.tensor_type) == (after.name, after.tensor_type)
            np.testing.assert_array_equal(before.data.view(np.uint8), after.data.view(np.uint8), before.name)
    convert(tmp_path / "back.gguf", tmp_path / "again", quantise=format)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("packed", "again")
    )
    assert first == second


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_the_own_format_keeps_them_as_int8(files: dict[tuple[str, str], Path], tmp_path: Path, format: str):
    original = files["llama", format]
    convert(original, tmp_path / "own")
    stored = open_source(tmp_path / "own").tensors["layers.0.experts.up"]
    assert (stored.storage, stored.scale_storage, stored.scale_shape) == ("int8", "fp16", (3, 2, 96))
    assert same_matrices(original, tmp_path / "own") > 20
    convert(tmp_path / "own", tmp_path / "packed", quantise="int8")
    assert same_matrices(original, tmp_path / "packed", but=OUTER) > 20
    convert(tmp_path / "own", tmp_path / "back.gguf", to="gguf", dtype="q8_0")
    assert same_matrices(original, tmp_path / "back.gguf", but=OUTER) > 20


def test_int4_fits_into_int8_as_it_is(files: dict[tuple[str, str], Path], tmp_path: Path):
    convert(files["grok", "int4"], tmp_path / "packed", quantise="int8")
    assert same_matrices(files["grok", "int4"], tmp_path / "packed") > 20


def test_scales_that_are_no_numbers_are_damage(files: dict[tuple[str, str], Path], tmp_path: Path):
    data = bytearray(files["grok", "int8"].read_bytes())
    tensor = next(one for one in GGUFReader(files["grok", "int8"]).tensors if one.name == "blk.1.ffn_up_exps.weight")
    data[tensor.data_offset + 34 : tensor.data_offset + 36] = np.float16(np.nan).tobytes()
    (tmp_path / "it.gguf").write_bytes(data)
    choices: list[dict[str, Any]] = [{"quantise": "int8"}, {"dtype": "bf16"}, {}]
    for options in choices:
        with pytest.raises(Exception, match=r"layers\.1\.experts\.up.*not finite"):
            convert(tmp_path / "it.gguf", tmp_path / "out", **options)
    with pytest.raises(Exception, match=r"layers\.1\.experts\.up.*not finite"):
        convert(tmp_path / "it.gguf", tmp_path / "out.gguf", to="gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["it.gguf"]

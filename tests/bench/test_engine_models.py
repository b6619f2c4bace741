"""The random models of the engine's benchmark: what an initialisation would give, and the same numbers as GGUF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.engine.models import gguf_model, model_bytes, packed_model
from benchmarks.engine.shapes import SHAPES

from lindos.kernels.packing import STRIP, unpack, unpack_bf16
from lindos.model.formats import load_model
from lindos.model.formats.gguf.exact import whole_matrices
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import PackedSource, Weights

WEIGHTS: list[Weights] = ["int4", "int8", "bf16"]
SPEC = SHAPES["tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def opened(folder: Path, weights: Weights) -> PackedSource:
    source = open_source(packed_model(folder, "tiny", weights))
    assert isinstance(source, PackedSource)
    return source


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_are_scaled_like_an_initialisation(folder: Path, weights: Weights):
    model = load_model(packed_model(folder, "tiny", weights), dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            fan_in = SPEC.width if name == "embedding" else parameter.shape[-2]
            assert float(parameter.detach().std()) == pytest.approx(fan_in**-0.5, rel=0.08), name
            assert abs(float(parameter.detach().mean())) < 4 * (fan_in * parameter.numel()) ** -0.5, name
        else:
            assert bool((parameter == 1).all())
    with torch.inference_mode():
        logits = model(torch.randint(1, SPEC.vocabulary, (1, 20)))[0]
    assert bool(torch.isfinite(logits).all())
    assert 0.3 < float(logits.std()) < 1.0


@pytest.mark.parametrize("weights", WEIGHTS)
def test_rows_that_fill_the_last_strip_are_zero(folder: Path, weights: Weights):
    source = opened(folder, weights)
    (matrix,) = source.matrices("embedding")
    assert matrix.rows % STRIP, "the shape no longer has a last strip that is not full"
    data = source.packed(matrix)
    whole = type(data)(data.format, -(-data.rows // STRIP) * STRIP, data.columns, data.data)
    if weights == "bf16":
        assert not unpack_bf16(whole)[matrix.rows :].any()
    else:
        quantised = unpack(whole)
        assert not quantised.scales[matrix.rows :].any()
        assert quantised.scales[: matrix.rows].all()


@pytest.mark.parametrize("weights", ["int4", "int8"])
def test_gguf_holds_the_same_whole_numbers(folder: Path, weights: Weights):
    ours, theirs = opened(folder, weights), open_source(gguf_model(folder, "tiny", weights))
    for name in ("embedding", "layers.0.attention.output", "layers.1.experts.down"):
        rows = slice(0, ours.tensors[name].shape[0])
        for mine, other in zip(whole_matrices(ours, name, rows), whole_matrices(theirs, name, rows), strict=True):
            assert np.array_equal(mine.values, other.values)
            assert np.array_equal(mine.scales, other.scales)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_bytes_are_those_of_the_files(folder: Path, weights: Weights):
    source = opened(folder, weights)
    total, always, expert = model_bytes(SPEC, weights)
    assert total == source.bytes
    assert total == always + expert * SPEC.experts * SPEC.layers
    parts = ("gate", "up", "down")
    assert expert == sum(source.matrices(f"layers.1.experts.{part}")[0].bytes for part in parts)


def test_the_large_model_is_what_the_targets_say():
    spec = SHAPES["10b"]
    assert 10.1e9 < spec.parameters < 10.3e9
    assert 2.85e9 < spec.active_parameters < 2.95e9
    assert 5.6e9 < model_bytes(spec, "int4")[0] < 5.9e9
    assert 405e6 < SHAPES["408m"].parameters < 410e6

"""Rounding by what matrices are multiplied with: outputs stray less, everything else of a conversion holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.kernels.quantising import dequantise, quantise
from lindos.model.formats import convert, load_model, open_source
from lindos.model.formats.calibration import compensated, measure_moments, moments_for, require_memory
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.formats.source import FormatError
from lindos.specs import load_model_spec
from tests.model.checkpoints import random_model, tiny_spec
from tests.model.grok2 import grok2_spec

SPEC = tiny_spec(width=64, expert_width=96, vocabulary=60, sequence=64)
WINDOWS = [[(7 * row + 3 * place) % 59 + 1 for place in range(40)] for row in range(12)]


@settings(max_examples=25)
@given(st.integers(16, 40), st.integers(33, 80), st.integers(0, 1 << 30))  # it goes by luck with a few weights only
def test_outputs_stray_less_than_with_the_nearest_values(rows: int, columns: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(rows, columns, generator=generator)
    mixed = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(400, columns, generator=generator) @ mixed  # inputs that go together, as a network's do
    found = compensated(weights, inputs.t() @ inputs)
    assert found.values.min() >= -8
    assert found.values.max() <= 7
    off = [
        float((inputs @ (dequantise(one) - weights).t()).square().sum()) for one in (found, quantise(weights, "int4"))
    ]
    assert off[0] <= off[1] * 1.05


def test_inputs_that_are_apart_change_nothing():
    weights = torch.randn(24, 70, generator=torch.Generator().manual_seed(1))
    found, searched = compensated(weights, torch.eye(70)), quantise(weights, "int4", "search")
    assert torch.equal(dequantise(found), dequantise(searched))
    none = compensated(weights, torch.zeros(70, 70))
    assert torch.equal(dequantise(none), dequantise(searched))


def test_moments_are_those_of_the_inputs():
    model = random_model(SPEC, seed=2)
    moments = measure_moments(model, WINDOWS)
    assert "project" not in vars(model.layers[0].attention)  # the model is as it was
    tokens = torch.tensor(WINDOWS)
    with torch.inference_mode():
        x = model.layers[0].attend_input(model.embed(tokens)).flatten(0, 1)  # type: ignore[operator]
    torch.testing.assert_close(moments_for(moments, "layers.0.attention.key", 0), x.t() @ x, rtol=1e-4, atol=1e-3)
    chosen = sum(float(moments_for(moments, "layers.0.experts.up", e).diagonal().sum()) for e in range(SPEC.experts))
    assert chosen > 0
    down = moments_for(moments, "layers.1.experts.down", 2)
    assert down.shape == (SPEC.expert_width, SPEC.expert_width)
    torch.testing.assert_close(down, down.t())


@pytest.mark.parametrize("spec", [SPEC, grok2_spec()], ids=["grok-1", "grok-2"])
def test_a_converted_model_is_what_was_rounded(tmp_path: Path, spec):
    from lindos.model.formats import save_model

    save_model(random_model(spec, seed=2), tmp_path / "plain")
    windows = [[token % spec.vocabulary for token in window[: spec.sequence]] for window in WINDOWS]
    report = convert(tmp_path / "plain", tmp_path / "out", quantise="int4", rounding="calibrated", calibration=windows)
    assert report.comparison is not None
    assert report.comparison.difference == 0.0
    assert isinstance(open_source(tmp_path / "out"), PackedSource)
    moments = measure_moments(load_model(tmp_path / "plain", dtype=torch.float32), windows)
    name = "layers.0.experts.down"
    there = open_source(tmp_path / "out").read(name, slice(1, 2))[0].t()
    weights = open_source(tmp_path / "plain").read(name, slice(1, 2))[0].t()
    assert torch.equal(there, dequantise(compensated(weights, moments_for(moments, name, 1))))


def test_what_is_refused(tmp_path: Path):
    from lindos.model.formats import save_model

    save_model(random_model(SPEC), tmp_path / "plain")
    with pytest.raises(FormatError, match="for int4"):
        convert(tmp_path / "plain", tmp_path / "out", quantise="int8", rounding="calibrated", calibration=WINDOWS)
    with pytest.raises(FormatError, match="needs tokens"):
        convert(tmp_path / "plain", tmp_path / "out", quantise="int4", rounding="calibrated")
    with pytest.raises(FormatError, match="GB of memory"):
        require_memory(load_model_spec("grok-1"))

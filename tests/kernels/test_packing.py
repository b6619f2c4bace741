"""Matrices in kernel layout: nothing is lost on the way there and back, and what cannot go is refused."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lindos.kernels.packing import (
    FORMATS,
    GROUP,
    Packed,
    PackingError,
    Quantised,
    pack,
    pack_bf16,
    packed_bytes,
    rows_of,
    unpack,
    unpack_bf16,
)
from lindos.kernels.quantising import dequantise, packed, quantise, weights_of

sizes = st.integers(1, 80)
seeds = st.integers(0, 1 << 30)


def weights(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 10 ** float(torch.rand((), generator=generator) * 4 - 3)


@given(sizes, sizes, seeds, st.sampled_from(["int8", "int4"]))
def test_whole_numbers_come_back_as_they_went(rows: int, columns: int, seed: int, format):
    rng = np.random.default_rng(seed)
    low, high = (-128, 127) if format == "int8" else (-8, 7)
    values = rng.integers(low, high, (rows, columns), dtype=np.int8, endpoint=True)
    scales = rng.standard_normal((rows, -(-columns // GROUP))).astype(np.float16)
    there = pack(Quantised(values, scales), format)
    assert there.data.dtype == np.uint8
    assert there.data.size == packed_bytes(format, rows, columns)
    back = unpack(there)
    np.testing.assert_array_equal(back.values, values)
    np.testing.assert_array_equal(back.scales, scales)


@given(sizes, sizes, seeds)
def test_bf16_comes_back_bit_for_bit(rows: int, columns: int, seed: int):
    bits = np.random.default_rng(seed).integers(0, 1 << 16, (rows, columns), dtype=np.uint16)
    there = pack_bf16(bits)
    assert there.data.size == packed_bytes("bf16", rows, columns)
    np.testing.assert_array_equal(unpack_bf16(there), bits)


@given(sizes, sizes, seeds, st.sampled_from(["bf16", "int8"]))
def test_rows_are_looked_up_as_they_are(rows: int, columns: int, seed: int, format):
    there = packed(weights(rows, columns, seed), format)
    some = np.random.default_rng(seed).integers(0, rows, 5)
    np.testing.assert_array_equal(rows_of(there, some), weights_of(there).numpy()[some])
    with pytest.raises(PackingError, match="int4 are not looked up"):
        rows_of(packed(torch.ones(4, 8), "int4"), some)


@given(st.integers(1, 20), st.integers(1, 4), seeds)
def test_rounding_is_that_of_gguf_blocks(rows: int, groups: int, seed: int):
    """Values and scales equal those of Q8_0 and Q4_0, as the gguf package quantises."""
    w = weights(rows, groups * GROUP, seed)
    for format, kind in (("int8", gguf.GGMLQuantizationType.Q8_0), ("int4", gguf.GGMLQuantizationType.Q4_0)):
        theirs = gguf.dequantize(gguf.quantize(w.numpy(), kind), kind)
        np.testing.assert_array_equal(dequantise(quantise(w, format)).numpy(), theirs)  # type: ignore[arg-type]


@given(sizes, sizes, seeds)
def test_rounding_is_as_near_as_its_format_allows(rows: int, columns: int, seed: int):
    w = weights(rows, columns, seed)
    for format, levels in (("int8", 127), ("int4", 8)):
        q = quantise(w, format)  # type: ignore[arg-type]
        step = torch.from_numpy(q.scales.astype(np.float32)).abs().repeat_interleave(GROUP, 1)[:, :columns]
        largest = step * levels
        # Half a step, and for the side that int4 has one level less on, a whole one; fp16 scales are off by 2^-11, or
        # by half of their smallest number.
        allowed = step * (0.5 if format == "int8" else 1.0) + largest * 2**-10 + levels * 2**-25
        assert bool(((dequantise(q) - w).abs() <= allowed).all())


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_weights_too_small_for_any_scale_are_zeros(format):
    for size in (1e-38, 1e-40, 1e-45):
        assert float(weights_of(packed(torch.full((2, 40), size), format)).abs().max()) == 0


def test_zeros_and_a_power_of_two_on_the_scales():
    assert float(weights_of(packed(torch.zeros(3, 40), "int4")).abs().max()) == 0
    q = quantise(torch.randn(4, 64), "int8")
    torch.testing.assert_close(
        weights_of(pack(q, "int8", multiplier=0.25)), 0.25 * weights_of(pack(q, "int8")), rtol=0, atol=0
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
def test_weights_that_have_no_scale_are_refused(bad: float):
    w = torch.ones(2, 64)
    w[1, 3] = bad
    for format in ("int8", "int4"):
        with pytest.raises(ValueError, match="cannot be quantised"):
            quantise(w, format)


def test_what_does_not_fit_is_refused():
    q = quantise(torch.randn(4, 64), "int8")
    with pytest.raises(PackingError, match="int4 values lie"):
        pack(q, "int4")
    with pytest.raises(PackingError, match=r"scales must be \[4, 2\]"):
        pack(Quantised(q.values, q.scales[:, :1]), "int8")
    for format in FORMATS:
        short = Packed(format, 17, 33, np.zeros(packed_bytes(format, 17, 33) - 1, np.uint8))
        with pytest.raises(PackingError, match="takes"):
            weights_of(short)
    with pytest.raises(PackingError, match="at least one row"):
        packed_bytes("int8", 0, 4)

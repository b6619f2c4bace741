"""Packing natively gives the bytes that rounding with PyTorch and laying out with NumPy give."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lindos.kernels.choosing import VARIABLE, available_kernels
from lindos.kernels.conversion import Stored, by_group, pack_rounded, pack_whole
from lindos.kernels.packing import FORMATS, GROUP, PackingError, Quantised, pack, unpack
from lindos.kernels.quantising import packed, quantise

KERNELS = [name for name in available_kernels() if name != "vnni"]
"""vnni packs as avx2 does."""
pytestmark = pytest.mark.skipif(not KERNELS, reason="there are no native kernels")
rows_and_columns = st.tuples(st.integers(1, 300), st.integers(1, 100))
orders = st.sampled_from(["C", "F"])


def numbers(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Weights of all sizes, with groups of zeros, ties between signs, and steps beside ties."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4)
    if kind == 0:
        return (rng.integers(-12, 13, shape) * 0.25).astype(np.float32)
    found = rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 4, (shape[0], 1))
    if kind == 1:
        found *= rng.integers(0, 2, (shape[0], 1))
    if kind == 2:
        found *= 10.0 ** -rng.integers(30, 36)
    return found.astype(np.float32)


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.mark.usefixtures("kernels")
class TestNatively:
    @given(rows_and_columns, st.integers(0, 1 << 30), orders, st.sampled_from(FORMATS), st.booleans())
    def test_fp32(self, shape: tuple[int, int], seed: int, order: Any, format: Any, search: bool):
        values = np.asarray(numbers(shape, seed), order=order)
        rounding: Any = "search" if search else "nearest"
        expected = packed(torch.from_numpy(values), format, rounding).data
        np.testing.assert_array_equal(pack_rounded(Stored(values), format, rounding), expected)

    @given(rows_and_columns, st.integers(0, 1 << 30), orders, st.sampled_from(FORMATS))
    def test_bf16(self, shape: tuple[int, int], seed: int, order: Any, format: Any):
        bits = np.asarray(numbers(shape, seed).astype(ml_dtypes.bfloat16).view(np.uint16), order=order)
        wide = bits.view(ml_dtypes.bfloat16).astype(np.float32)
        expected = packed(torch.from_numpy(wide), format).data
        np.testing.assert_array_equal(pack_rounded(Stored(bits), format), expected)

    @given(
        st.integers(1, 300), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1 << 30), orders,
        st.sampled_from(FORMATS), st.booleans(),
    )  # fmt: skip
    def test_int8(self, rows: int, blocks: int, deep: int, seed: int, order: Any, format: Any, search: bool):
        rng = np.random.default_rng(seed)
        columns = blocks * deep * GROUP
        values = np.asarray(rng.integers(-128, 128, (rows, columns), np.int8), order=order)
        scales = np.asarray(numbers((rows, blocks), seed), order=order)
        wide = values.astype(np.float32) * np.repeat(scales, columns // blocks, axis=1)
        rounding: Any = "search" if search else "nearest"
        expected = packed(torch.from_numpy(wide), format, rounding).data
        np.testing.assert_array_equal(pack_rounded(Stored(values, scales), format, rounding), expected)

    @given(rows_and_columns, st.integers(0, 1 << 30), orders, st.sampled_from(["int8", "int4"]), st.booleans())
    def test_whole_numbers(self, shape: tuple[int, int], seed: int, order: Any, format: Any, one: bool):
        rng = np.random.default_rng(seed)
        low, high = (-128, 128) if format == "int8" else (-8, 8)
        values = np.asarray(rng.integers(low, high, shape, np.int8), order=order)
        scales = rng.integers(0, 1 << 16, (shape[0], 1 if one else -(-shape[1] // GROUP)), np.uint16).view(np.float16)
        there = pack_whole(values, np.asarray(scales, order=order), format)
        expected = pack(Quantised(values, by_group(scales, shape[1])), format).data
        np.testing.assert_array_equal(there, expected)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("place", [(0, 0), (39, 69), (17, 33)])
    def test_what_is_not_finite_is_refused(self, bad: float, format: Any, place: tuple[int, int]):
        values = np.ones((40, 70), np.float32)
        values[place] = bad
        for one in (values, np.asfortranarray(values)):
            with pytest.raises(ValueError, match="not finite"):
                pack_rounded(Stored(one), format)

    def test_what_fp16_cannot_scale_is_refused(self):
        values = np.full((16, 32), 9e6, np.float32)
        for format in ("int8", "int4"):
            with pytest.raises(ValueError, match="too large"):
                pack_rounded(Stored(values), format)  # type: ignore[arg-type]

    def test_values_beyond_int4_are_refused(self):
        for value in (8, -9):
            values = np.zeros((20, 40), np.int8)
            values[19, 39] = value
            with pytest.raises(PackingError, match="-8 to 7"):
                pack_whole(values, np.ones((20, 2), np.float16), "int4")

    def test_scales_that_cut_a_group_go_the_long_way(self):
        values = np.arange(-96, 96, dtype=np.int8).reshape(2, 96)
        scales = np.array([[0.5, 1.0], [2.0, 0.25]], np.float32)
        wide = values * np.repeat(scales, 48, axis=1)
        expected = packed(torch.from_numpy(wide), "int8").data
        np.testing.assert_array_equal(pack_rounded(Stored(values, scales), "int8"), expected)
        with pytest.raises(PackingError, match="whole groups"):
            pack_whole(values, scales.astype(np.float16), "int8")


def test_search_never_leaves_more_error():
    values = torch.from_numpy(numbers((64, 96), 7))
    for seed in range(8):
        values = torch.from_numpy(numbers((64, 96), seed))
        error = []
        for rounding in ("nearest", "search"):
            there = quantise(values, "int4", rounding)
            wide = there.values.astype(np.float64) * np.repeat(there.scales.astype(np.float64), GROUP, axis=1)
            error.append(((wide - values.numpy()) ** 2).reshape(64, 3, GROUP).sum(-1))
        # nearest divides by the scale before that is rounded to fp16, search by the rounded one
        assert (error[1] <= error[0] * (1 + 1e-3) + 1e-30).all()
        assert error[1].sum() <= error[0].sum()


def test_search_finds_a_scale_on_either_side():
    grid = np.concatenate([np.arange(-8, 8), np.arange(-8, 8)]).astype(np.float32)
    for sign in (1.0, -1.0):
        found = quantise(torch.from_numpy(sign * 0.25 * grid[None]), "int4", "search")
        np.testing.assert_array_equal(
            found.values.astype(np.float32) * found.scales.astype(np.float32), sign * 0.25 * grid[None]
        )
    assert unpack(pack(found, "int4")).scales.shape == (1, 1)

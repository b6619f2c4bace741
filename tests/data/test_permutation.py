"""The shuffle is a bijection, the same everywhere, and different for every key."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data.permutation import Permutation, derived


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_bijection(size: int, key: int):
    entries = Permutation(size, key)(np.arange(size))
    assert sorted(entries.tolist()) == list(range(size))


def test_huge_sizes_need_no_memory():
    permutation = Permutation(10**15, 1)
    entries = permutation(np.arange(10**15 - 1000, 10**15))
    assert len(set(entries.tolist())) == 1000
    assert entries.min() >= 0
    assert entries.max() < 10**15


def test_values_do_not_change_between_versions():
    assert Permutation(1000, 7)(np.arange(5)).tolist() == FROZEN
    assert derived(1, "a") == FROZEN_KEY


def test_keys_matter_and_neighbours_scatter():
    first, second = (Permutation(10_000, key)(np.arange(10_000)) for key in (1, 2))
    assert (first == second).mean() < 0.01
    assert np.abs(np.diff(first)).mean() > 2500


@pytest.mark.parametrize("index", [-1, 5])
def test_outside(index: int):
    with pytest.raises(IndexError):
        Permutation(5, 1)(np.array([index]))


@pytest.mark.parametrize("size", [0, -1, 2**62 + 1])
def test_sizes(size: int):
    with pytest.raises(ValueError, match="size from 1"):
        Permutation(size, 1)


FROZEN = [340, 843, 84, 721, 216]
FROZEN_KEY = 17830588005661422861

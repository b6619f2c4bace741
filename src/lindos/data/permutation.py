"""A shuffle that needs no memory: a keyed permutation of 0..n-1, any entry of which is computed on its own.

A balanced Feistel network is a bijection on 2^(2b) numbers whatever its round function; entries that fall outside
0..n-1 are walked along their cycle until they fall inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains").
"""

from __future__ import annotations

import hashlib

import numpy as np

_ROUNDS = 6


def derived(*parts: int | str) -> int:
    """A 64-bit number that depends on all `parts`, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Permutation:
    """`permutation(i)` for an array of indices 0 <= i < size. Sizes up to 2^62."""

    def __init__(self, size: int, key: int):
        if not 0 < size <= 1 << 62:
            raise ValueError(f"a permutation needs a size from 1 to 2^62, not {size}")
        self.size = size
        self._half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
        self._low = np.uint64((1 << int(self._half)) - 1)
        self._keys = [np.uint64(derived(key, number)) for number in range(_ROUNDS)]

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """The entries at `index` (int64, any shape); raises IndexError outside 0..size-1."""
        index = np.asarray(index, np.int64)
        if index.size and (index.min() < 0 or index.max() >= self.size):
            raise IndexError(f"index outside 0..{self.size - 1}")
        values = self._shuffled(index.astype(np.uint64).ravel())
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._shuffled(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64).reshape(index.shape)

    def _shuffled(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half, values & self._low
        for key in self._keys:
            left, right = right, left ^ (self._mix(right + key) & self._low)
        return (left << self._half) | right

    @staticmethod
    def _mix(values: np.ndarray) -> np.ndarray:
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))

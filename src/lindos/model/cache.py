"""The key-value cache of a batch that moves forward together: one contiguous array per layer."""

from __future__ import annotations

import torch
from torch import Tensor

from lindos.specs import ModelSpec


class KVCache:
    """Keys (after rotary positions) and values of `batch` sequences, room for `capacity` tokens each.

    `keys[n]` and `values[n]` are [B, capacity, K, C]; the first `length` entries are filled.
    """

    def __init__(
        self,
        spec: ModelSpec,
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (spec.layers, batch, capacity, spec.kv_heads, spec.head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.seen = torch.zeros(batch, capacity, dtype=torch.bool, device=device)
        """Which cached keys may be looked at; padding may not."""
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def extend(self, layer: int, k_BTKC: Tensor, v_BTKC: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the old ones; returns all keys and values up to and with them."""
        end = self.length + k_BTKC.shape[1]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} are needed")
        self.keys[layer, :, self.length : end] = k_BTKC
        self.values[layer, :, self.length : end] = v_BTKC
        return self.keys[layer, :, :end], self.values[layer, :, :end]

"""The arrays behind the KV cache's budget (`blocks.py`).

Each running request owns one array per layer that grows block by block: attention reads contiguous keys without
gathering them, memory in use exceeds what was counted by at most one layer of one request (while its array grows),
and an idle engine gives it all back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lindos.engine.blocks import BLOCK, BlockPool
from lindos.specs import ModelSpec


class RequestCache:
    """Keys (after rotary positions) and values of one request.

    `layers[n]` is [2, K, capacity, C], keys before values. `hidden` lists the positions that no query may see.
    """

    def __init__(self, spec: ModelSpec, *, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = (2, spec.kv_heads, 0, spec.head_size)
        self.layers = [torch.empty(self._shape, dtype=dtype, device=device) for _ in range(spec.layers)]
        self.hidden: list[int] = []
        self.capacity = 0

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` tokens in all."""
        if tokens <= self.capacity:
            return
        grown = BlockPool.needed(tokens) * BLOCK
        pair, heads, _, size = self._shape
        for index, old in enumerate(self.layers):
            new = old.new_empty((pair, heads, grown, size))
            new[:, :, : self.capacity] = old[:, :, : self.capacity]
            self.layers[index] = new
        self.capacity = grown

    def address(self, layer: int) -> int:
        """Where a layer's array begins in memory, until the next `reserve`."""
        return self.layers[layer].data_ptr()

    def hide(self, start: int, tokens: list[int], pad: int | None) -> None:
        """Note which of `tokens`, standing from `start` on, are padding; writing the same tokens again is harmless."""
        if pad is not None and pad in tokens:
            positions = {start + i for i, token in enumerate(tokens) if token == pad}
            self.hidden = sorted(positions.union(self.hidden))

    def visible(self, end: int) -> Tensor | None:
        """[end] True where a key may be seen; None when all may."""
        if not self.hidden:
            return None
        mask = torch.ones(end, dtype=torch.bool, device=self.layers[0].device)
        mask[[position for position in self.hidden if position < end]] = False
        return mask

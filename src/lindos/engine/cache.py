"""The memory behind the blocks of `blocks.py`: one pool a model, reserved when it is loaded.

On a CPU a page of it takes memory once it is written, so the pool grows with use up to its whole size; it does not
shrink, as what ended requests leave behind may be found again.
"""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor

from lindos.engine.blocks import BLOCK
from lindos.engine.errors import EngineError
from lindos.specs import ModelSpec


class Pages:
    """Keys (after rotary positions) and values of all blocks.

    `layers[n]` is [2, K, blocks, BLOCK, C], keys before values: what a head has in a block lies together, and blocks
    that follow each other are one piece to PyTorch. The native kernels have an order of their own within the
    [BLOCK, C] of a block (`native/pages.hpp`).
    """

    def __init__(self, spec: ModelSpec, blocks: int, *, dtype: torch.dtype, device: torch.device) -> None:
        shape = (spec.layers, 2, spec.kv_heads, blocks, BLOCK, spec.head_size)
        self.blocks = blocks
        self.device = device
        self.layers = list(
            _reserved(shape, dtype) if device.type == "cpu" else torch.empty(shape, dtype=dtype, device=device)
        )


def _reserved(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that take no memory until they are written. Raises EngineError where the system refuses."""
    size = math.prod(shape) * dtype.itemsize
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        memory = mmap.mmap(-1, size, **private)
    except OSError as error:
        raise EngineError(f"a KV cache of {size:,} bytes cannot be reserved ({error}); lower kv_tokens") from None
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # With huge pages the first token would take two megabytes for each head of each layer.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)

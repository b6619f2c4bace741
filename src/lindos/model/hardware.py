"""What the machine at hand computes with: the number format it multiplies matrices in at speed.

A CPU without bf16 units emulates bf16 products: on one with AVX2 only, PyTorch's run at a sixtieth of fp32's rate
(docs/log.md). So code that may choose asks here instead of taking bf16 for granted.
"""

from __future__ import annotations

import torch

_BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")  # the last one is what ARM calls it


def multiplies_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether matrix products in bf16 are at least as fast as fp32 ones on `device`."""
    if torch.device(device).type != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit, False) for unit in _BF16_UNITS)


def product_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bf16 where the hardware multiplies it, else fp32."""
    return torch.bfloat16 if multiplies_bf16(device) else torch.float32

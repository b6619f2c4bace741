"""How many bytes a weight takes, scales included."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """The number formats weights, caches and products come in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP4 = "fp4"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bytes_per_weight(self) -> float:
        """Bytes one weight takes on average.

        int4 is counted in groups of 32 with one fp16 scale (4.5 bits), fp4 in blocks of 16 with one 8-bit
        scale; int8 with its scales per output channel is
        counted as one byte, the scales being less than a thousandth at any size worth planning for.
        """
        return _BYTES[self]


_BYTES = {
    Precision.FP32: 4.0,
    Precision.BF16: 2.0,
    Precision.FP16: 2.0,
    Precision.FP8: 1.0,
    Precision.FP4: 0.5 + 1 / 16,
    Precision.INT8: 1.0,
    Precision.INT4: 0.5 + 2 / 32,
}

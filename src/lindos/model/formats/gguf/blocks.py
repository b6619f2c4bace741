"""Kinds of numbers in GGUF tensors, and the blocks of Q8_0 and Q4_0 as whole numbers with their scales.

A block is 32 weights of a row: an fp16 scale, then 32 bytes, or 16 whose low halves are the first 16 weights and high
halves the others, each plus 8 (block_q8_0 and block_q4_0 of
https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lindos.kernels.packing import GROUP, Quantised
from lindos.kernels.quantising import Whole, dequantise, quantise


@dataclass(frozen=True)
class Kind:
    """One type of tensor: `block` bytes for `values` weights side by side."""

    number: int
    name: str
    block: int
    values: int = 1
    array: str = ""
    """As `ArrayRef` calls it, where a weight is a number of its own."""
    whole: Whole | None = None

    def size(self, weights: int) -> int:
        return weights // self.values * self.block


F32 = Kind(0, "F32", 4, array="f4")
F16 = Kind(1, "F16", 2, array="f2")
Q4_0 = Kind(2, "Q4_0", 18, GROUP, whole="int4")
Q8_0 = Kind(8, "Q8_0", 34, GROUP, whole="int8")
BF16 = Kind(30, "BF16", 2, array="bfloat16")
KINDS = {kind.number: kind for kind in (F32, F16, BF16, Q8_0, Q4_0)}
WHOLE: dict[Whole, Kind] = {"int8": Q8_0, "int4": Q4_0}


def kind_name(number: int) -> str:
    """What GGUF calls a type that is not read here."""
    from gguf import GGMLQuantizationType  # only where something is wrong

    try:
        return GGMLQuantizationType(number).name
    except ValueError:
        return f"number {number}, unknown to GGUF"


def whole_numbers(data: NDArray[np.uint8], rows: int, kind: Kind) -> Quantised:
    """What the bytes of `rows` rows of a Q8_0 or Q4_0 tensor say; the inverse of `encode_whole`."""
    blocks = data.reshape(rows, -1, kind.block)
    scales = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16)[..., 0]
    body = blocks[:, :, 2:]
    if kind is Q8_0:
        values = np.ascontiguousarray(body).view(np.int8)
    else:
        values = np.concatenate((body & 15, body >> 4), axis=2).astype(np.int8) - np.int8(8)
    return Quantised(values.reshape(rows, -1), scales)


def encode(weights_NK: Tensor, kind: Kind) -> Tensor:
    """The bytes (int8, flat) of a matrix rounded to `kind`. Raises ValueError for what cannot be quantised."""
    if kind.whole is not None:
        return encode_whole(quantise(weights_NK, kind.whole), kind)
    return weights_NK.to(_DTYPES[kind.name]).contiguous().view(-1).view(torch.int8)


def encode_whole(quantised: Quantised, kind: Kind) -> Tensor:
    """The bytes (int8, flat) of whole numbers as they are, of a multiple of 32 columns; for Q4_0 from -8 to 7."""
    rows, columns = quantised.values.shape
    head = np.ascontiguousarray(quantised.scales).view(np.uint8).reshape(rows, columns // GROUP, 2)
    if kind is Q8_0:
        body = np.ascontiguousarray(quantised.values).view(np.uint8).reshape(rows, columns // GROUP, GROUP)
    else:
        halves = (quantised.values + np.int8(8)).astype(np.uint8).reshape(rows, columns // GROUP, 2, GROUP // 2)
        body = halves[:, :, 0] | (halves[:, :, 1] << np.uint8(4))
    return torch.from_numpy(np.concatenate((head, body), axis=2).view(np.int8).reshape(-1))


def rounded(weights_NK: Tensor, kind: Kind) -> Tensor:
    """fp32: what is read back of `encode`."""
    if kind.whole is not None:
        return dequantise(quantise(weights_NK, kind.whole))
    return weights_NK.to(_DTYPES[kind.name]).float()


_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

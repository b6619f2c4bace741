"""Matrices in the kernels' own layout, and back; `native/layout.hpp` says the same in C++.

A matrix of N outputs (rows) and K inputs (columns) is cut into strips of 16 rows and groups of 32 columns, padded with
zeros. One layout serves every instruction set, in memory and on disk. Torch-free.

Letters: N rows, K columns, S strips, G groups of columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lindos.specs import LindosError

LAYOUT_VERSION = 1
"""Of what this file packs; files carry it, so that an older layout is known and refused."""
STRIP = 16
GROUP = 32
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""How eight columns stand beside each other: one order that suits products of pairs and of fours."""

Format = Literal["bf16", "int8", "int4"]
FORMATS: tuple[Format, ...] = ("bf16", "int8", "int4")
_GROUP_BYTES = {"bf16": 1024, "int8": 512, "int4": 256}


class PackingError(LindosError):
    """A matrix that cannot be packed or unpacked as asked."""


class Quantised(NamedTuple):
    """A matrix in whole numbers: `values` int8 [N, K], `scales` fp16 [N, ceil(K / 32)]; a weight is their product.

    int4 values lie in -8..7.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Packed:
    """A matrix in kernel layout. `data` is a uint8 array of `packed_bytes`, or a view of a file or another buffer."""

    format: Format
    rows: int
    columns: int
    data: NDArray[np.uint8]
    multiplier: float = 1.0
    """A power of two on all scales, for scales that fp16 alone would not hold exactly."""


def packed_bytes(format: Format, rows: int, columns: int) -> int:
    """Size of a packed matrix."""
    strips, groups = _cut(rows, columns)
    return strips * (_scale_bytes(format, groups) + groups * _GROUP_BYTES[format])


def pack(quantised: Quantised, format: Literal["int8", "int4"], *, multiplier: float = 1.0) -> Packed:
    """A quantised matrix in kernel layout. Raises PackingError for values out of range or shapes that do not agree."""
    rows, columns = quantised.values.shape
    strips, groups = _cut(rows, columns)
    if quantised.scales.shape != (rows, groups):
        raise PackingError(f"scales must be [{rows}, {groups}] (got {list(quantised.scales.shape)})")
    if format == "int4" and (quantised.values.min(initial=0) < -8 or quantised.values.max(initial=0) > 7):
        raise PackingError("int4 values lie from -8 to 7")
    values = _padded(quantised.values, strips * STRIP, groups * GROUP)
    scales = _padded(quantised.scales, strips * STRIP, groups)
    # [S, 16, G, 4 eights, 8] -> [S, G, 4, halves of eight, 16, 4]
    values = values.reshape(strips, STRIP, groups, 4, 8)[..., list(ORDER)].reshape(strips, STRIP, groups, 4, 2, 4)
    values = values.transpose(0, 2, 3, 4, 1, 5)
    if format == "int4":
        shifted = (values + 8).astype(np.uint8)
        body: NDArray[np.uint8] = shifted[:, :, :, 0] | (shifted[:, :, :, 1] << np.uint8(4))
    else:
        body = np.ascontiguousarray(values).view(np.uint8)
    head = scales.reshape(strips, STRIP, groups).transpose(0, 2, 1)
    return Packed(format, rows, columns, _joined(format, head, body, strips, groups), multiplier)


def unpack(packed: Packed) -> Quantised:
    """The whole numbers and scales of a packed int8 or int4 matrix; the inverse of `pack`."""
    if packed.format == "bf16":
        raise PackingError("a bf16 matrix has no whole numbers; see unpack_bf16")
    strips, groups, body = _body(packed)
    head_bytes = _scale_bytes(packed.format, groups)
    whole = packed.data[: strips * (head_bytes + body.shape[1])].reshape(strips, -1)
    head = np.ascontiguousarray(whole[:, : groups * STRIP * 2]).view(np.float16).reshape(strips, groups, STRIP)
    if packed.format == "int4":
        nibbles = body.reshape(strips, groups, 4, STRIP, 4)
        values = np.stack((nibbles & 15, nibbles >> 4), axis=3).astype(np.int8) - np.int8(8)
    else:
        values = body.view(np.int8).reshape(strips, groups, 4, 2, STRIP, 4)
    values = values.transpose(0, 4, 1, 2, 3, 5).reshape(strips, STRIP, groups, 4, 8)
    values = values[..., np.argsort(ORDER)].reshape(strips * STRIP, groups * GROUP)
    scales = head.transpose(0, 2, 1).reshape(strips * STRIP, groups)
    return Quantised(
        np.ascontiguousarray(values[: packed.rows, : packed.columns]), np.ascontiguousarray(scales[: packed.rows])
    )


def pack_bf16(bits_NK: NDArray[np.uint16]) -> Packed:
    """A bf16 matrix, given by its bits, in kernel layout."""
    rows, columns = bits_NK.shape
    strips, groups = _cut(rows, columns)
    bits = _padded(bits_NK, strips * STRIP, groups * GROUP)
    body = bits.reshape(strips, STRIP, groups * GROUP // 2, 2).transpose(0, 2, 1, 3)
    return Packed("bf16", rows, columns, np.ascontiguousarray(body).view(np.uint8).reshape(-1))


def unpack_bf16(packed: Packed) -> NDArray[np.uint16]:
    """The bits of a packed bf16 matrix [N, K]."""
    strips, groups, body = _body(packed)
    bits = body.view(np.uint16).reshape(strips, groups * GROUP // 2, STRIP, 2).transpose(0, 2, 1, 3)
    bits = bits.reshape(strips * STRIP, groups * GROUP)
    return np.ascontiguousarray(bits[: packed.rows, : packed.columns])


def rows_of(packed: Packed, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Some rows of a packed bf16 or int8 matrix, [len(rows), K]: what an embedding looks up."""
    strips, groups = _cut(packed.rows, packed.columns)
    whole = packed.data[: packed_bytes(packed.format, packed.rows, packed.columns)].reshape(strips, -1)
    strip, lane = rows // STRIP, rows % STRIP
    if packed.format == "bf16":
        pairs = whole.view(np.uint16).reshape(strips, -1, STRIP, 2)[strip, :, lane]
        found = (pairs.reshape(len(rows), -1).astype(np.uint32) << 16).view(np.float32)
    elif packed.format == "int8":
        head = _scale_bytes("int8", groups)
        scales = whole[:, : groups * STRIP * 2].view(np.float16).reshape(strips, groups, STRIP)[strip, :, lane]
        fours = whole[:, head:].view(np.int8).reshape(strips, -1, 2, STRIP, 4)[strip, :, :, lane]
        values = fours.reshape(len(rows), groups, GROUP // 8, 8)[..., np.argsort(ORDER)]
        scales = scales.astype(np.float32) * np.float32(packed.multiplier)
        widened = values.reshape(len(rows), groups, GROUP) * scales[..., None]
        found = widened.reshape(len(rows), -1)
    else:
        raise PackingError(f"rows of a matrix in {packed.format} are not looked up one by one")
    return np.ascontiguousarray(found[:, : packed.columns], dtype=np.float32)


def _cut(rows: int, columns: int) -> tuple[int, int]:
    if rows < 1 or columns < 1:
        raise PackingError(f"a matrix has at least one row and column (got [{rows}, {columns}])")
    return -(-rows // STRIP), -(-columns // GROUP)


def _scale_bytes(format: Format, groups: int) -> int:
    return 0 if format == "bf16" else -(-groups * STRIP * 2 // 64) * 64


def _padded(x: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    if x.shape == (rows, columns):
        return x
    padded = np.zeros((rows, columns), x.dtype)
    padded[: x.shape[0], : x.shape[1]] = x
    return padded


def _joined(format: Format, head: NDArray[Any], body: NDArray[np.uint8], strips: int, groups: int) -> NDArray[np.uint8]:
    head_bytes = _scale_bytes(format, groups)
    data = np.zeros((strips, head_bytes + groups * _GROUP_BYTES[format]), np.uint8)
    data[:, : groups * STRIP * 2] = np.ascontiguousarray(head).view(np.uint8).reshape(strips, -1)
    data[:, head_bytes:] = body.reshape(strips, -1)
    return data.reshape(-1)


def _body(packed: Packed) -> tuple[int, int, NDArray[np.uint8]]:
    """Strips, groups, and the values of each strip [S, bytes]. Raises PackingError when there are too few bytes."""
    strips, groups = _cut(packed.rows, packed.columns)
    wanted = packed_bytes(packed.format, packed.rows, packed.columns)
    if packed.data.size < wanted:
        raise PackingError(
            f"a {packed.format} matrix [{packed.rows}, {packed.columns}] takes {wanted:,} bytes "
            f"(there are {packed.data.size:,})"
        )
    whole = packed.data[:wanted].reshape(strips, -1)
    return strips, groups, np.ascontiguousarray(whole[:, _scale_bytes(packed.format, groups) :])

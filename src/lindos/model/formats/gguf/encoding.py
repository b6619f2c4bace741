"""The header of a GGUF file to be written: keys and tensors as bytes, and where each tensor will lie."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lindos.model.formats.gguf.blocks import Kind
from lindos.model.formats.gguf.header import ALIGNMENT, LIST, MAGIC, SCALARS, TEXT

TYPES = {letter: number for number, letter in SCALARS.items()}


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: [*shape] with the longest stride first."""

    name: str
    shape: tuple[int, ...]
    kind: Kind

    @property
    def bytes(self) -> int:
        size = self.kind.size(1 if not self.shape else self.shape[-1])
        for length in self.shape[:-1]:
            size *= length
        return size

    @property
    def padded(self) -> int:
        """With what keeps the next one aligned."""
        return -(-self.bytes // ALIGNMENT) * ALIGNMENT


def header_bytes(keys: Mapping[str, Any], tensors: Iterable[Planned]) -> bytes:
    """The whole header, padded to where the first tensor lies; tensors follow in order, each `padded`."""
    tensors = list(tensors)
    parts = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(keys))]
    for key, value in keys.items():
        parts += [_text(key), _value(value)]
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts.append(_text(tensor.name))
        parts.append(struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.kind.number, offset))
        offset += tensor.padded
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % ALIGNMENT)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """Whole numbers are 32 bits wide where they fit, as readers expect sizes; floats are fp32."""
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + _text(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _list(value)
    if isinstance(value, bytes):
        return struct.pack("<IIQ", LIST, TYPES["B"], len(value)) + value
    letter = _letter(value)
    return struct.pack(f"<I{letter}", TYPES[letter], value)


def _list(values: Sequence[Any]) -> bytes:
    if values and isinstance(values[0], str):
        return struct.pack("<IIQ", LIST, TEXT, len(values)) + b"".join(map(_text, values))
    letter = "f" if any(isinstance(value, float) for value in values) else "i"
    return struct.pack(f"<IIQ{len(values)}{letter}", LIST, TYPES[letter], len(values), *values)


def _letter(value: bool | int | float) -> str:
    if isinstance(value, bool):
        return "?"
    if isinstance(value, float):
        return "f"
    return "I" if 0 <= value < 1 << 32 else "Q"

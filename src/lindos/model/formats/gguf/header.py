"""The header of a GGUF file, read by own careful steps: a file says nothing here that its size does not bear out.

Long lists are only walked over; `values` reads one when it is asked for. Nothing is mapped.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lindos.model.formats.gguf.blocks import KINDS, Kind, kind_name
from lindos.model.formats.source import FormatError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value types and their letters in `struct`; 8 is text, 9 a list."""
TEXT, LIST = 8, 9
MOST_KEYS, MOST_TENSORS, MOST_VALUES = 1 << 14, 1 << 16, 1 << 22
LONGEST_NAME, LONGEST_TEXT = 1 << 10, 1 << 26
LARGEST_HEADER = 1 << 28
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True)
class ListRef:
    """A list that lies in a file: `count` values of `type` from byte `offset` on."""

    path: Path
    type: int
    count: int
    offset: int

    def values(self) -> list[Any]:
        """Raises FormatError."""
        with _Cursor(self.path) as cursor:
            cursor.skip(self.offset)
            if self.type == TEXT:
                return [cursor.text(LONGEST_TEXT) for _ in range(self.count)]
            letter = SCALARS[self.type]
            data = cursor.take(self.count * struct.calcsize(letter))
        return np.frombuffer(data, np.dtype(letter).newbyteorder("<")).tolist()


@dataclass(frozen=True)
class Stored:
    """A tensor of a file: its shape with the longest stride first, as in torch, and its bytes."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    kind: Kind

    @property
    def bytes(self) -> int:
        return self.kind.size(math.prod(self.shape))


@dataclass(frozen=True)
class Header:
    """What a GGUF file holds. Values are numbers, truths, texts or a `ListRef`."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Stored]


def read_gguf(path: Path) -> Header:
    """A whole model: one file, or all files of a split one whichever of them is named. Raises FormatError."""
    first = read_header(path)
    match = _SPLIT.search(path.name)
    count = first.metadata.get("split.count", 1)
    if count in (0, 1):
        return first
    if match is None or int(match[2]) != count:
        raise FormatError(f"{path}: is one of {count!r} files by its header, but its name does not end in -N-of-M.gguf")
    stem = path.name[: match.start()]
    paths = [path.with_name(f"{stem}-{number:05d}-of-{match[2]}.gguf") for number in range(1, int(match[2]) + 1)]
    for each in paths:
        if not each.is_file():
            raise FormatError(f"{each}: is missing; {path.name} is one of {count} files of a model")
    return _joined(paths)


def _joined(paths: list[Path]) -> Header:
    headers = [read_header(each) for each in paths]
    tensors: dict[str, Stored] = {}
    for number, header in enumerate(headers):
        said = header.metadata.get("split.no"), header.metadata.get("split.count")
        if said != (number, len(paths)):
            raise FormatError(f"{header.path}: says it is file {said[0]!r} of {said[1]!r}; its name says otherwise")
        if twice := tensors.keys() & header.tensors.keys():
            raise FormatError(f"{header.path}: tensor '{min(twice)}' is also in another file")
        tensors |= header.tensors
    total = headers[0].metadata.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise FormatError(f"{paths[0]}: {total!r} tensors are said to be in its files, {len(tensors)} are there")
    return Header(paths[0], headers[0].metadata, tensors)


def read_header(path: Path) -> Header:
    """One file. Raises FormatError for one that is damaged, truncated, of another version or of unusable types."""
    with _Cursor(path) as cursor:
        tensors, keys = _opened(cursor)
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = cursor.text(LONGEST_NAME)
            if key in metadata:
                raise cursor.bad(f"key '{key}' is there twice")
            metadata[key] = _value(cursor, key)
        places = [_place(cursor) for _ in range(tensors)]
        return Header(path, metadata, _tensors(cursor, places, _alignment(cursor, metadata)))


def _opened(cursor: _Cursor) -> tuple[int, int]:
    """How many tensors and keys there are."""
    if cursor.take(4) != MAGIC:
        raise cursor.bad("is no GGUF file: it does not begin with GGUF")
    version = cursor.number("I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = "is big-endian" if swapped in VERSIONS else f"is of GGUF version {version}"
        raise cursor.bad(f"{what}; little-endian files of versions 2 and 3 can be read")
    tensors, keys = cursor.number("Q"), cursor.number("Q")
    if tensors > MOST_TENSORS or keys > MOST_KEYS:
        raise cursor.bad(f"claims {tensors} tensors and {keys} keys, which is out of all proportion")
    return tensors, keys


def _value(cursor: _Cursor, key: str) -> Any:
    kind = cursor.number("I")
    if kind == TEXT:
        return cursor.text(LONGEST_TEXT)
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind != LIST:
        raise cursor.bad(f"key '{key}' is of type {kind}, which GGUF does not have")
    inner, count = cursor.number("I"), cursor.number("Q")
    if count > MOST_VALUES:
        raise cursor.bad(f"key '{key}' claims a list of {count} values, which is out of all proportion")
    if inner != TEXT and inner not in SCALARS:
        raise cursor.bad(f"key '{key}' is a list of type {inner}, which cannot be read")
    found = ListRef(cursor.path, inner, count, cursor.at)
    if inner == TEXT:
        for _ in range(count):
            cursor.skip(cursor.number("Q"))
    else:
        cursor.skip(count * struct.calcsize(SCALARS[inner]))
    return found


@dataclass(frozen=True)
class _Place:
    """A tensor as the header gives it: where it lies is counted from the end of the header."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    offset: int


def _place(cursor: _Cursor) -> _Place:
    name = cursor.text(LONGEST_NAME)
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= 4:
        raise cursor.bad(f"tensor '{name}' has {dimensions} dimensions; GGUF has 1 to 4")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    number, offset = cursor.number("I"), cursor.number("Q")
    kind = KINDS.get(number)
    if kind is None:
        known = ", ".join(kind.name for kind in KINDS.values())
        raise cursor.bad(f"tensor '{name}' is of type {kind_name(number)}; Lindos reads {known}")
    if min(shape) < 1 or shape[-1] % kind.values:
        raise cursor.bad(f"tensor '{name}' of shape {list(shape)} cannot be {kind.name}")
    return _Place(name, shape, kind, offset)


def _alignment(cursor: _Cursor, metadata: dict[str, Any]) -> int:
    alignment = metadata.get(ALIGNMENT_KEY, ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.bad(f"{ALIGNMENT_KEY} = {alignment!r} is no power of two")
    return alignment


def _tensors(cursor: _Cursor, places: list[_Place], alignment: int) -> dict[str, Stored]:
    data = -(-cursor.at // alignment) * alignment
    found: dict[str, Stored] = {}
    end, last = 0, ""
    for place in sorted(places, key=lambda place: place.offset):
        if place.name in found:
            raise cursor.bad(f"tensor '{place.name}' is there twice")
        if place.offset % alignment:
            raise cursor.bad(f"tensor '{place.name}' begins at {place.offset}, not a multiple of {alignment}")
        if place.offset < end:
            raise cursor.bad(f"tensors '{last}' and '{place.name}' overlap")
        stored = Stored(cursor.path, data + place.offset, place.shape, place.kind)
        end, last = place.offset + stored.bytes, place.name
        if data + end > cursor.size:
            raise cursor.bad(
                f"tensor '{place.name}' ends at byte {data + end}, the file at {cursor.size}; it is truncated"
            )
        found[place.name] = stored
    return {place.name: found[place.name] for place in places}


class _Cursor:
    """Reads a header from its start. Every step raises FormatError where the file has not that many bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0

    def __enter__(self) -> _Cursor:
        try:
            self._file: IO[bytes] = self.path.open("rb")
            self.size = self._file.seek(0, 2)
            self._file.seek(0)
        except OSError as error:
            raise FormatError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def bad(self, what: str) -> FormatError:
        return FormatError(f"{self.path}: {what}")

    def take(self, count: int) -> bytes:
        self._step(count)
        try:
            data = self._file.read(count)
        except OSError as error:
            raise self.bad(f"cannot be read: {error.strerror or error}") from None
        if len(data) != count:
            raise self.bad("has become shorter while it was read")
        return data

    def skip(self, count: int) -> None:
        self._step(count)
        self._file.seek(count, 1)

    def number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(letter)))[0]

    def text(self, longest: int) -> str:
        length = self.number("Q")
        if length > longest:
            raise self.bad(f"claims a text of {length} bytes at byte {self.at}, which is out of all proportion")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.bad(f"has a text at byte {self.at} that is not UTF-8") from None

    def _step(self, count: int) -> None:
        self.at += count
        if self.at > self.size:
            raise self.bad("ends in the middle of its header; it was truncated")
        if self.at > LARGEST_HEADER:
            raise self.bad(f"claims a header of more than {LARGEST_HEADER >> 20} MiB, which is out of all proportion")

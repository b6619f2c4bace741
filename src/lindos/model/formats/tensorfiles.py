"""Safetensors files: read in pieces, written as a stream.

A header is judged by the safetensors library before any of its numbers is used. Writing puts the header first and the
tensors' bytes where they belong as they come, so no shard is ever held in memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lindos.model.formats.arrays import ArrayRef
from lindos.model.formats.fields import read_table
from lindos.model.formats.source import DTYPES, WIDTHS, FormatError, Storage

SENT_BYTES = 256 << 20
"""After how many written bytes the disk is asked to take them."""
INDEX = "model.safetensors.index.json"
LABELS: dict[Storage, str] = {"fp32": "F32", "bf16": "BF16", "fp16": "F16", "int8": "I8"}
_CUT = re.compile(r"-TP-(common|\d{3})\.safetensors$")
_KINDS = {"F32": "f4", "BF16": "bfloat16", "F16": "f2", "I8": "i1"}


def read_header(path: Path) -> dict[str, ArrayRef]:
    """Every tensor of one file. Raises FormatError for a file that is damaged, truncated or of unusable types."""
    try:
        with safe_open(path, framework="numpy") as file:  # holds sizes, offsets and types against the file
            names = list(file.keys())
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError, MemoryError, struct.error) as error:
        raise FormatError(f"{path}: not a whole safetensors file: {error}") from None
    return {name: _stored(path, name, header[name], 8 + length) for name in names}


def _stored(path: Path, name: str, entry: dict[str, Any], data: int) -> ArrayRef:
    kind = _KINDS.get(entry["dtype"])
    if kind is None:
        raise FormatError(f"{path}: tensor '{name}' is of type {entry['dtype']}, not one of {', '.join(_KINDS)}")
    return ArrayRef(path, data + entry["data_offsets"][0], tuple(entry["shape"]), kind)


def read_headers(directory: Path) -> dict[str, ArrayRef]:
    """Every tensor of a directory of one or more safetensors files; empty where there are none. Raises FormatError."""
    index = directory / INDEX
    if not index.is_file():
        found: dict[str, ArrayRef] = {}
        for path in sorted(directory.glob("*.safetensors")):
            header = read_header(path)
            if twice := found.keys() & header.keys():
                raise FormatError(f"{path}: tensor '{min(twice)}' is also in another file, and no {INDEX} says which")
            found.update(header)
        return found
    places = _places(index)
    headers = {name: read_header(directory / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in headers[name]:
            raise FormatError(f"{index}: tensor '{tensor}' should be in {name}, which does not have it")
    return {tensor: headers[name][tensor] for tensor, name in places.items()}


def read_slices(directory: Path) -> dict[str, tuple[ArrayRef, ...]]:
    """As `read_headers`, of a directory whose tensors may be cut for several devices: then each in its slices.

    Grok-2 was published so: `*-TP-common.safetensors` hold whole tensors, `*-TP-003.safetensors` the fourth slice of
    others, under the same names (SGLang, models/grok.py). Raises FormatError, also for a missing slice.
    """
    names = {path: _CUT.search(path.name) for path in sorted(directory.glob("*.safetensors"))}
    cut = {path: match[1] for path, match in names.items() if match is not None}
    if not cut:
        return {name: (ref,) for name, ref in read_headers(directory).items()}
    ranks = {rank for rank in cut.values() if rank != "common"}
    found: dict[str, dict[str, ArrayRef]] = {}
    for path, rank in cut.items():
        for name, ref in read_header(path).items():
            if found.setdefault(name, {}).setdefault(rank, ref) is not ref:
                raise FormatError(f"{path}: tensor '{name}' is also in another file of that slice")
    for name, slices in found.items():
        if slices.keys() not in ({"common"}, ranks):
            missing = ", ".join(sorted(ranks - slices.keys())) or "none, but it is also in a common file"
            raise FormatError(f"{directory}: tensor '{name}' lacks slices: {missing}")
    return {name: tuple(slices[rank] for rank in sorted(slices)) for name, slices in found.items()}


def _places(index: Path) -> dict[str, str]:
    """Which file each tensor is in, by the index; only files beside it."""
    places = read_table(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise FormatError(f"{index}: has no weight_map")
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise FormatError(f"{index}: tensor '{tensor}' is said to be in {name!r}, which is no file beside it")
        if not (index.parent / name).is_file():
            raise FormatError(f"{index.parent / name} is missing, though {index.name} puts tensor '{tensor}' in it")
    return places


@dataclass(frozen=True)
class Entry:
    """A tensor to be written."""

    name: str
    storage: Storage
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * WIDTHS[self.storage]


class ShardWriter:
    """One safetensors file, its tensors given in any order and in pieces. Use as a context manager; then `sha256`.

    What comes in the file's own order is hashed on its way and sent to the disk as it goes.
    """

    def __init__(self, path: Path, entries: Iterable[Entry], alignment: int = 8) -> None:
        """The tensors lie in the order of `entries`, the first from a multiple of `alignment` bytes on."""
        self.path = path
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self._place: dict[str, tuple[Entry, int]] = {}
        offset = 0
        for entry in entries:
            ends = [offset, offset + entry.bytes]
            header[entry.name] = {"dtype": LABELS[entry.storage], "shape": list(entry.shape), "data_offsets": ends}
            self._place[entry.name] = entry, offset
            offset = ends[1]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % alignment)
        self._start = 8 + len(text)
        self._missing = self.size = offset
        self._file = path.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._hashed = self._sent = 0
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._sending: Future[None] | None = None
        try:
            self._write(0, struct.pack("<Q", len(text)) + text)
        except OSError:
            self._file.close()
            raise

    def put(self, name: str, row: int, rows: Tensor) -> None:
        """Write `rows` of a tensor from row `row` of its leading axis on."""
        entry, offset = self._place[name]
        if rows.dtype != DTYPES[entry.storage] or rows.shape[1:] != entry.shape[1:]:
            raise ValueError(f"{name}: {rows.dtype} {list(rows.shape)} does not belong in {entry}")
        data = rows.contiguous().view(-1).view(torch.uint8).numpy()
        self._write(self._start + offset + row * (entry.bytes // entry.shape[0]), data.data)
        self._missing -= data.nbytes

    @property
    def sha256(self) -> str:
        """Of the closed file, in hex; reads it where it was not written from front to back."""
        return self._hash.hexdigest() if self._hashed == self._start + self.size else digest(self.path)

    def close(self) -> None:
        """Onto the disk, all of it."""
        with self._file, self._disk:
            if self._sending is not None:
                self._sending.result()
            os.fsync(self._file.fileno())
        if self._missing:
            raise ValueError(f"{self.path}: {self._missing} bytes were not written")

    def _write(self, at: int, data: bytes | memoryview) -> None:
        size = len(data)
        done = 0
        while done < size:
            done += os.pwrite(self._file.fileno(), memoryview(data)[done:], at + done)
        if at == self._hashed:
            self._hash.update(data)
            self._hashed += size
        self._sent += size
        if self._sent > SENT_BYTES and (self._sending is None or self._sending.done()):
            # A disk that gets nothing to write until the end has all of it to write then, while nothing is read.
            self._sent = 0
            self._sending = self._disk.submit(os.fdatasync, self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._disk.shutdown()
            self._file.close()


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

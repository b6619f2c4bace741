"""Opening a data set and reading tokens from it, through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lindos.data.errors import DataError
from lindos.data.shards import FORMAT, Meta, Part, ShardFile
from lindos.specs import SpecError
from lindos.text import Tokenizer, load_tokenizer

Split = Literal["train", "heldout"]


class TokenPart:
    """The tokens of one source (or held-out group) as one long ring: reading past the end goes on at the beginning."""

    def __init__(self, folder: Path, part: Part, dtype: np.dtype[Any]):
        self.spec = part
        self.name, self.group, self.packing = part.name, part.group, part.packing
        self.epochs, self.text_bytes, self.documents = part.epochs, part.text_bytes, part.documents
        self._tokens = [_mapped(folder, file, dtype) for file in part.token_files]
        self._masks = [_mapped(folder, file, np.dtype(np.uint8)) for file in part.mask_files]
        self._start_maps = [_mapped(folder, file, np.dtype("<u8")) for file in part.start_files]
        self._ends = np.cumsum([len(shard) for shard in self._tokens])
        self.tokens = sum(map(len, self._tokens))
        masks_fit = not self._masks or [len(m) for m in self._masks] == [len(t) for t in self._tokens]
        starts_fit = len(self._start_maps) == len(self._tokens) and sum(map(len, self._start_maps)) == part.documents
        if not self._tokens or self.tokens != part.tokens or not starts_fit or not masks_fit:
            raise DataError(f"{folder / part.name}: the shards do not hold what meta.json says; prepare the set again")

    @property
    def masked(self) -> bool:
        """Whether the loss counts only some of the tokens."""
        return bool(self._masks)

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from place `start` (int64), around the ring."""
        return self._gather(self._tokens, start, length).astype(np.int64)

    def read_mask(self, start: int, length: int) -> np.ndarray:
        """Which of those tokens the loss counts (bool); all of them where the part has no masks."""
        if not self._masks:
            return np.ones(length, bool)
        return self._gather(self._masks, start, length).astype(bool)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each document begins, int64, and at the end the number of tokens."""
        bases = [0, *self._ends[:-1]]
        parts = [shard.astype(np.int64) + base for shard, base in zip(self._start_maps, bases, strict=True)]
        starts = np.concatenate([*parts, [self.tokens]])
        if starts[0] != 0 or np.any(np.diff(starts) <= 0):
            raise DataError(f"{self.name}: the starts of its documents are out of order; prepare the set again")
        return starts

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document, int64, with its `bos` and `eos`."""
        start, end = self.starts[number], self.starts[number + 1]
        return self.read(int(start), int(end - start))

    def _gather(self, shards: list[np.ndarray], start: int, length: int) -> np.ndarray:
        pieces: list[np.ndarray] = []
        at = start % self.tokens
        while length > 0:
            shard = int(np.searchsorted(self._ends, at, side="right"))
            inside = at - (int(self._ends[shard - 1]) if shard else 0)
            piece = shards[shard][inside : inside + length]
            pieces.append(piece)
            length -= len(piece)
            at = (at + len(piece)) % self.tokens
        return np.concatenate(pieces) if pieces else shards[0][:0]


class TokenDataset:
    """One split of a prepared data set. `parts` are its sources (train) or groups (held out)."""

    def __init__(self, folder: Path, meta: Meta, parts: list[TokenPart], split: Split):
        self.folder, self.meta, self.parts, self.split = folder, meta, parts, split
        self.fingerprint = meta.fingerprint
        self.vocabulary = meta.vocabulary
        self.tokens = sum(part.tokens for part in parts)

    @classmethod
    def open(cls, folder: Path | str, *, split: Split = "train", verify: bool = False) -> TokenDataset:
        """Open `split`; `verify` reads every file and compares its SHA-256, otherwise only lengths are compared.

        Raises DataError for a folder that is no data set, is incomplete, damaged, or of another version.
        """
        folder = Path(folder)
        meta = read_meta(folder)
        if verify:
            _verify(folder, meta)
        dtype = np.dtype("<u2" if meta.dtype == "uint16" else "<u4")
        parts = [TokenPart(folder, part, dtype) for part in meta.parts if part.split == split]
        if not parts:
            raise DataError(f"{folder}: holds no {split} text")
        return cls(folder, meta, parts, split)

    def part(self, name: str) -> TokenPart:
        """A part by its name. Raises DataError."""
        for part in self.parts:
            if part.name == name:
                return part
        raise DataError(f"{self.folder}: has no part '{name}' (it has {', '.join(part.name for part in self.parts)})")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the set was made with."""
        return load_tokenizer(self.folder)

    def report(self) -> dict[str, Any]:
        """What was taken from where, and what was dropped and why, as `prepare` recorded it."""
        try:
            return json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / 'report.json'}: cannot be read: {error}") from None


def read_meta(folder: Path) -> Meta:
    """The description of a data set, its fingerprint checked. Raises DataError."""
    path = folder / "meta.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{folder}: is no data set (it has no meta.json); make one with `lindos data prepare`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}; prepare the set again") from None
    if isinstance(table, dict) and table.get("format") != FORMAT:
        raise DataError(f"{path}: is of format {table.get('format')!r}, this version reads {FORMAT!r}")
    try:
        meta = Meta.parse(table, where=str(path))
    except SpecError as error:
        raise DataError(str(error)) from None
    if meta.digest() != meta.fingerprint:
        raise DataError(f"{path}: its fingerprint does not fit its content; it was edited or damaged")
    return meta


def _files(part: Part) -> Iterator[ShardFile]:
    yield from part.token_files
    yield from part.start_files
    yield from part.mask_files


def _verify(folder: Path, meta: Meta) -> None:
    for part in meta.parts:
        for file in _files(part):
            try:
                with (folder / file.path).open("rb") as opened:
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                raise DataError(f"{folder / file.path}: cannot be read: {error}") from None
            if digest != file.sha256:
                raise DataError(f"{folder / file.path}: is damaged (its checksum differs); prepare the set again")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file() or hashlib.sha256(tokenizer.read_bytes()).hexdigest() != meta.tokenizer_sha256:
        raise DataError(f"{tokenizer}: is not the tokenizer this set was made with")


def _mapped(folder: Path, file: ShardFile, dtype: np.dtype[Any]) -> np.ndarray:
    path = folder / file.path
    try:
        size = path.stat().st_size
        if size != file.bytes or size == 0 or size % dtype.itemsize:
            raise DataError(f"{path}: has {size} bytes instead of {file.bytes}; prepare the set again")
        return np.memmap(path, dtype, mode="r")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}; prepare the set again") from None

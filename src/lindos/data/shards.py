"""Token shards on disk: how they are written, and the `meta.json` that makes a folder of them a data set.

A part of a data set is one source (or, held out, one group of sources): `tokens-00000.bin` (little-endian uint16, or
uint32 for large vocabularies), `starts-00000.bin` (uint64, the place in that file where each document begins), and
for conversations `mask-00000.bin` (uint8, 1 where the loss counts the token). A data set exists when its `meta.json`
does: everything is written into a folder beside it, which is renamed as the last act.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from lindos.data.errors import DataError
from lindos.specs import Spec

FORMAT = "lindos-data-1"
SHARD_TOKENS = 1 << 26

Packing = Literal["stream", "whole"]


class ShardFile(Spec):
    """One file of a part: its name in the data set, its length in bytes, and its digest."""

    path: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")
    bytes: int = Field(ge=0)
    sha256: str


class Part(Spec):
    """One source of training text, or the held-out text of one group."""

    name: str
    group: str
    split: Literal["train", "heldout"]
    packing: Packing = "stream"
    """`stream`: windows are cut anywhere; `whole`: documents are kept whole and windows padded."""
    epochs: float = Field(default=1.0, gt=0, le=1e6)
    tokens: int = Field(ge=1)
    documents: int = Field(ge=1)
    text_bytes: int = Field(ge=0)
    """UTF-8 bytes of the text the tokens stand for: bits per byte are counted over these."""
    token_files: tuple[ShardFile, ...]
    start_files: tuple[ShardFile, ...]
    mask_files: tuple[ShardFile, ...] = ()


class Meta(Spec):
    """What `meta.json` holds. `report` is for people and is not part of the fingerprint."""

    format: str
    name: str
    vocabulary: int = Field(ge=1, le=1 << 32)
    dtype: Literal["uint16", "uint32"]
    tokenizer_sha256: str
    parts: tuple[Part, ...]
    fingerprint: str = ""

    def digest(self) -> str:
        """SHA-256 over everything else in here, digests of the shards included."""
        table = self.model_dump(mode="json", exclude={"fingerprint"})
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


class ShardWriter:
    """Writes the files of one part: `add` documents, then `close` for the `Part`.

    `folder` is where the files go and `prefix` how the data set names them. Raises DataError when the disk is full.
    """

    def __init__(self, folder: Path, prefix: str, *, vocabulary: int, masked: bool = False):
        self._folder, self._prefix = folder, prefix
        self._dtype = token_dtype(vocabulary)
        self._vocabulary = vocabulary
        self._kinds = ("tokens", "starts", "mask") if masked else ("tokens", "starts")
        self._files: dict[str, list[ShardFile]] = {kind: [] for kind in self._kinds}
        self._open: dict[str, _HashedFile] = {}
        self._in_shard = 0
        self.tokens = self.documents = self.text_bytes = 0

    def add(self, tokens: Sequence[int] | np.ndarray, mask: Sequence[bool] | None = None, *, text_bytes: int) -> None:
        """One document or conversation, complete with its `bos` (and `eos`). `mask` is as long as `tokens`.

        Raises DataError for an empty document, a mask of another length, or a token outside the vocabulary.
        """
        values = np.asarray(tokens)
        if values.ndim != 1 or not len(values):
            raise DataError(f"{self._prefix}: a document needs at least one token")
        if values.min() < 0 or values.max() >= self._vocabulary:
            raise DataError(f"{self._prefix}: token {values.max()} is outside the vocabulary of {self._vocabulary}")
        if ("mask" in self._kinds) != (mask is not None) or (mask is not None and len(mask) != len(values)):
            raise DataError(f"{self._prefix}: each document of a masked part needs a mask as long as its tokens")
        if not self._open or self._in_shard + len(values) > SHARD_TOKENS:
            self._next_shard()
        self._write("starts", np.array([self._in_shard], "<u8"))
        self._write("tokens", values.astype(self._dtype))
        if mask is not None:
            self._write("mask", np.asarray(mask, np.uint8))
        self._in_shard += len(values)
        self.tokens += len(values)
        self.documents += 1
        self.text_bytes += text_bytes

    def close(
        self,
        *,
        name: str,
        group: str,
        split: Literal["train", "heldout"],
        epochs: float = 1.0,
        packing: Packing = "stream",
    ) -> Part | None:
        """Finish the files and describe them; None where nothing was added."""
        self._finish_shard()
        if not self.documents:
            return None
        return Part(
            name=name,
            group=group,
            split=split,
            packing=packing,
            epochs=epochs,
            tokens=self.tokens,
            documents=self.documents,
            text_bytes=self.text_bytes,
            token_files=tuple(self._files["tokens"]),
            start_files=tuple(self._files["starts"]),
            mask_files=tuple(self._files.get("mask", ())),
        )

    def discard(self) -> None:
        """Let go of open files; what was written is no part of any data set."""
        for file in self._open.values():
            file.discard()
        self._open = {}

    def _write(self, kind: str, values: np.ndarray) -> None:
        self._open[kind].write(values.tobytes())

    def _next_shard(self) -> None:
        self._finish_shard()
        number = len(self._files["tokens"])
        with disk_errors(self._folder):
            (self._folder / self._prefix).mkdir(parents=True, exist_ok=True)
        for kind in self._kinds:
            self._open[kind] = _HashedFile(self._folder, f"{self._prefix}/{kind}-{number:05}.bin")
        self._in_shard = 0

    def _finish_shard(self) -> None:
        try:
            for kind, file in self._open.items():
                self._files[kind].append(file.close())
        finally:
            self.discard()


class DatasetWriter:
    """A folder that becomes a data set when the `with` block ends well, and leaves nothing behind when it does not.

    Use `part(...)` for writers, `keep(part)` for what they return, and `finish(...)` once at the end.
    """

    def __init__(self, out: Path, *, name: str, vocabulary: int):
        out = Path(os.path.abspath(out))  # "." has a name, too
        self.out, self._name, self.vocabulary = out, name, vocabulary
        self.folder = out.with_name(f".{out.name}.{os.getpid()}.part")
        self._parts: list[Part] = []
        self._writers: list[ShardWriter] = []

    def __enter__(self) -> Self:
        taken = self.out.exists() and not (self.out / "meta.json").exists()
        if taken and (not self.out.is_dir() or any(self.out.iterdir())):
            raise DataError(f"{self.out}: exists and is no data set; choose another folder or remove it")
        with disk_errors(self.folder):
            self._sweep()
            self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what earlier writers of this set left when they were killed."""
        for left in self.out.parent.glob(f".{self.out.name}.*.part"):
            owner = left.name.split(".")[-2]
            if owner.isdigit() and not _alive(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        # Killed between its last two renames, a writer left the set it was about to replace beside its place.
        for left in self.out.parent.glob(f".{self.out.name}.*.old"):
            owner = left.name.split(".")[-2]
            if owner.isdigit() and not _alive(int(owner)):
                if self.out.exists():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.rename(self.out)

    def part(self, prefix: str, *, masked: bool = False) -> ShardWriter:
        """A writer whose files lie under `prefix`, such as "books" or "heldout/books"."""
        self._writers.append(ShardWriter(self.folder, prefix, vocabulary=self.vocabulary, masked=masked))
        return self._writers[-1]

    def keep(self, part: Part | None) -> None:
        """Make a finished part belong to the data set; None (a part without documents) is left out."""
        if part is not None:
            self._parts.append(part)

    def finish(self, tokenizer: str, report: dict[str, Any]) -> Meta:
        """Write tokenizer, report and meta, and put the folder in its place. `tokenizer` is a tokenizer.json's text."""
        meta = Meta(
            format=FORMAT,
            name=self._name,
            vocabulary=self.vocabulary,
            dtype="uint16" if token_dtype(self.vocabulary).itemsize == 2 else "uint32",
            tokenizer_sha256=hashlib.sha256(tokenizer.encode()).hexdigest(),
            parts=tuple(self._parts),
        )
        meta = meta.model_copy(update={"fingerprint": meta.digest()})
        with disk_errors(self.folder):
            (self.folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
            (self.folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
            (self.folder / "meta.json").write_text(meta.model_dump_json(indent=1), encoding="utf-8")
            if self.out.exists():
                old = self.out.with_name(f".{self.out.name}.{os.getpid()}.old")
                self.out.rename(old)
                self.folder.rename(self.out)
                shutil.rmtree(old, ignore_errors=True)
            else:
                self.folder.rename(self.out)
        return meta


class _HashedFile:
    def __init__(self, folder: Path, name: str):
        self._name, self._folder = name, folder
        self._digest, self._size = hashlib.sha256(), 0
        with disk_errors(folder):
            self._file = (folder / name).open("wb")

    def write(self, data: bytes) -> None:
        with disk_errors(self._folder):
            self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def close(self) -> ShardFile:
        with disk_errors(self._folder):
            self._file.flush()
            os.fsync(self._file.fileno())
        return ShardFile(path=self._name, bytes=self._size, sha256=self._digest.hexdigest())

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take is of no use any more
            self._file.close()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    """The narrowest stored type that holds every id."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an OSError into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{folder}: the disk is full; free some space and run this again") from None
        raise DataError(f"{folder}: cannot be written: {error}") from None

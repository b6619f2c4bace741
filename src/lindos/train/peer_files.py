"""One rank's part of a step as a file in processor memory: filled at once, sent and received piece by piece.

A file is safetensors, its header holding what a checkpoint on disk has in `meta.json`. Its name says step, owner and
checksum, and the folder it lies in says who holds it: `rank-00004/step-00000120-of-00003-SHA256.safetensors` is rank
3's part of step 120, kept by rank 4. So one name tells whether a copy is whole, without a second file beside it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from lindos.train.checkpoint import CheckpointError, Parts, sha256_of

CHUNK = 16 << 20
"""Bytes that go to another rank, or into a checksum, in one piece."""
_NAME = re.compile(r"step-(\d{8,})-of-(\d{5,})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Copy:
    """A file that says it is `owner`'s part of `step`."""

    path: Path
    step: int
    owner: int
    sha256: str

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What the owner noted in it. Raises SafetensorError, OSError, ValueError or TypeError where it is damaged."""
        with safe_open(self.path, "pt") as saved:
            return json.loads(saved.metadata()["lindos"])

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def whole(self) -> bool:
        """Whether it holds what its owner wrote."""
        try:
            return sha256_of(self.path) == self.sha256
        except OSError:
            return False


def copies(home: Path) -> Iterator[Copy]:
    """What lies in a run's memory folder, of whomever, unread."""
    for path in sorted(home.glob("rank-*/step-*")):
        found = _NAME.fullmatch(path.name)
        if found:
            yield Copy(path, int(found[1]), int(found[2]), found[3])


class Draft:
    """A file that is being filled, under a name that nobody looks for, until it is finished."""

    def __init__(self, path: Path, size: int) -> None:
        """Takes all `size` bytes at once: a memory that is full says so here, as an OSError, instead of ending the
        process by a signal in the middle of a copy."""
        self.path, self._digest = path, hashlib.sha256()
        self.step: int | None = None
        """Once it is finished."""
        path.parent.mkdir(exist_ok=True)
        try:
            with path.open("wb+") as file:
                os.posix_fallocate(file.fileno(), 0, size)
                self.bytes = _mapped(file, mmap.ACCESS_WRITE)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    @property
    def sha256(self) -> str:
        """Of what `add` was told of."""
        return self._digest.hexdigest()

    def add(self, piece: Tensor) -> None:
        """The next bytes stand: they join the checksum."""
        self._digest.update(memoryview(piece.numpy()))  # type: ignore[arg-type]

    def finish(self, step: int, owner: int) -> Path:
        """Give it the name that it is found under."""
        name = f"step-{step:08d}-of-{owner:05d}-{self.sha256}.safetensors"
        self.path, self.step = self.path.rename(self.path.with_name(name)), step
        return self.path

    def reuse(self, path: Path) -> None:
        """Take it back, to be filled again."""
        self.path, self.step, self._digest = self.path.rename(path), None, hashlib.sha256()


class Slots:
    """Files that take turns: the one that is no longer wanted is the next to be filled.

    New pages of memory are many times slower to write into than those a process has used before (they are zeroed and
    mapped first), and training would wait for them.
    """

    def __init__(self, path: Path) -> None:
        """`path` is where the one that is being filled lies."""
        self.path = path
        self._drafts: list[Draft] = []

    def room(self, size: int) -> Draft:
        """A file to fill. Raises OSError."""
        spare = self._spare()
        if spare is not None and len(spare.bytes) == size:
            return spare
        if spare is not None:
            self._drafts.remove(spare)
        self._drafts.append(Draft(self.path, size))
        return self._drafts[-1]

    def release(self, before: int) -> None:
        """Files of steps before this one may be filled again: one of them is kept for that."""
        for draft in [each for each in self._drafts if each.step is not None and each.step < before]:
            try:
                if self._spare() is None:
                    draft.reuse(self.path)
                    continue
            except OSError:  # somebody has cleaned up there
                pass
            self._drafts.remove(draft)

    def _spare(self) -> Draft | None:
        return next((draft for draft in self._drafts if draft.step is None), None)

    def discard(self, step: int) -> None:
        """Give the memory of this step, and of what is being filled, back. Raises OSError."""
        unwanted = [draft for draft in self._drafts if draft.step in (None, step)]
        self._drafts = [draft for draft in self._drafts if draft not in unwanted]
        for draft in unwanted:
            draft.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Let go of all: memory is only free when the files are removed and nobody holds them."""
        self._drafts = []


def filled(slots: Slots, parts: Parts, meta: dict[str, Any]) -> Draft:
    """A draft that holds `parts`, all fp32, as they are now. Raises OSError."""
    header, places = _header(parts, meta)
    draft = slots.room(len(header) + max((last for _, last in places.values()), default=0))
    draft.bytes[: len(header)] = torch.frombuffer(bytearray(header), dtype=torch.uint8)
    content = draft.bytes[len(header) :]
    for name, (first, last) in places.items():
        values = parts[name].values.detach()
        content[first:last].view(torch.float32).view(values.shape).copy_(values)
    return draft


def _header(parts: Parts, meta: dict[str, Any]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The head of a safetensors file, and where each tensor lies behind it.

    Written here because safetensors' own writer makes a second copy of all tensors before it writes the first.
    """
    table: dict[str, Any] = {"__metadata__": {"lindos": json.dumps(meta)}}
    places, last = {}, 0
    for name, part in parts.items():
        first, last = last, last + 4 * part.values.numel()
        places[name] = (first, last)
        table[name] = {"dtype": "F32", "shape": list(part.values.shape), "data_offsets": [first, last]}
    text = json.dumps(table).encode()
    text += b" " * (-(8 + len(text)) % 4096)  # tensors lie on pages, and a step of more digits takes no other size
    return len(text).to_bytes(8, "little") + text, places


def restore_copy(path: Path, parts: Parts) -> None:
    """Copy a rank's part of a step into `parts`. Raises CheckpointError where it is not of the same tensors."""
    with safe_open(path, "pt") as saved:
        if odd := sorted(set(saved.keys()) ^ parts.keys()):
            raise CheckpointError(
                f"{path}: tensor {odd[0]} is in this copy or in what this rank holds, but not in both"
            )
        for name, part in parts.items():
            values = saved.get_tensor(name)
            if values.shape != part.values.shape:
                raise CheckpointError(
                    f"{path}: {name} has shape {list(values.shape)}, this rank holds {list(part.values.shape)}"
                )
            part.values.copy_(values)


def mapped(path: Path) -> Tensor:
    """The bytes of a file, read as they are asked for."""
    with path.open("rb") as file:
        return _mapped(file, mmap.ACCESS_COPY)


def _mapped(file: BinaryIO, access: int) -> Tensor:
    return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=access), dtype=torch.uint8)


def pieces(content: Tensor) -> Iterator[Tensor]:
    """Bytes, so many at a time as go over the network in one piece."""
    return (content[first : first + CHUNK] for first in range(0, len(content), CHUNK))


def open_home(home: Path) -> None:
    """Make a run's memory folder, for this user alone. Raises OSError where something of another's is in its place:
    everybody may write into a machine's shared memory."""
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{home} is another user's")


def remove(home: Path, unwanted: range) -> None:
    """Remove the copies of these steps, whoever holds them. Others may be at the same."""
    for copy in copies(home):
        if copy.step in unwanted:
            copy.path.unlink(missing_ok=True)


def remove_drafts(home: Path) -> None:
    """Remove what writers that were killed have left."""
    for path in home.glob("rank-*/.writing-*"):
        path.unlink(missing_ok=True)


def remove_all(home: Path) -> None:
    """Remove everything of a run."""
    shutil.rmtree(home, ignore_errors=True)

"""Writing a GGUF file stretch by stretch, so that an interrupted conversion goes on with the next one.

Where every tensor lies is known before the first is written. A stretch counts as finished when its bytes have been
brought onto the disk and their digest noted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lindos.model.formats.gguf.encoding import Planned
from lindos.model.formats.gguf.sink import GgufSink
from lindos.model.formats.shards import SHARD_BYTES, Progress, Shard
from lindos.model.formats.source import FormatError, TensorInfo, TensorSource
from lindos.model.formats.workspace import Workspace, made_from, require_free


def plan_stretches(tensors: Iterable[TensorInfo], sink: GgufSink, limit: int = SHARD_BYTES) -> list[Shard]:
    """Tensors in order, up to `limit` bytes together; a larger tensor is one by itself."""
    groups: list[list[TensorInfo]] = [[]]
    filled = 0
    for info in tensors:
        size = sink.planned[info.name].padded
        if groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(info)
        filled += size
    return [
        Shard(f"stretch-{number:05d}", tuple(group), tuple(entry for info in group for entry in sink.entries(info)))
        for number, group in enumerate(groups, 1)
    ]


class GgufWorkspace(Workspace):
    """`DST.partial`, with the unfinished file. Use as a context manager."""

    def __init__(self, destination: Path, job: dict[str, Any], sink: GgufSink) -> None:
        """Raises FormatError where `destination` cannot be a GGUF file."""
        if destination.suffix != ".gguf" or destination.is_dir():
            raise FormatError(f"{destination}: a GGUF model is one file; give it a name that ends in .gguf")
        super().__init__(destination, {**job, "header": hashlib.sha256(sink.header).hexdigest()})
        self.file = self.path / self.destination.name
        self._header = sink.header
        self._places: dict[str, tuple[int, Planned]] = {}
        self._size = len(sink.header)
        for planned in sink.planned.values():
            self._places[planned.name] = self._size, planned
            self._size += planned.padded

    def _take_up(self) -> None:
        super()._take_up()
        if not self.file.is_file() or self.file.stat().st_size != self._size:
            self.done = {}
        with self.file.open("r+b" if self.file.is_file() else "w+b") as file:
            file.write(self._header)
            file.truncate(self._size)

    def is_finished(self, shard: Shard) -> bool:
        noted = self.done.get(shard.file)
        if noted is None:
            return False
        if noted.get("made_from") != made_from(shard) or noted.get("sha256") != self._digest(shard):
            del self.done[shard.file]
            return False
        return True

    def draft(self, shard: Shard) -> Path:
        return self.file

    def write(self, shard: Shard, source: TensorSource, sink: GgufSink, progress: Progress) -> str:
        """Write a stretch, a matrix or a block of rows in memory; its SHA-256. Raises FormatError and OSError."""
        with self.file.open("r+b") as file:
            for info in shard.tensors:
                start, planned = self._places[sink.planned[info.name].name]
                for rows in info.blocks():
                    for _, at, data in sink.pieces(source, info, rows):
                        file.seek(start + at)
                        file.write(data.numpy().data)
                        progress(self.destination.name, data.numel())
                progress(self.destination.name, planned.padded - planned.bytes)
            file.flush()
            os.fsync(file.fileno())
        return self._digest(shard)

    def finish(self, shard: Shard, sha256: str) -> None:
        self.done[shard.file] = {"sha256": sha256, "made_from": made_from(shard)}
        self._note()

    def publish(self) -> None:
        """Give the file its final name. Raises FormatError when something has taken it meanwhile."""
        require_free(self.destination)
        self.file.rename(self.destination)
        shutil.rmtree(self.path)
        handle = os.open(self.destination.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _digest(self, shard: Shard) -> str:
        left = shard.bytes
        found = hashlib.sha256()
        with self.file.open("rb") as file:
            file.seek(self._places[shard.entries[0].name][0])
            while left and (data := file.read(min(left, 1 << 20))):
                found.update(data)
                left -= len(data)
        return found.hexdigest()

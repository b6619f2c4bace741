"""The files a checkpoint is written as: which tensors go into which, and writing one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lindos.model.formats.pipeline import in_order
from lindos.model.formats.sinks import Piece, Sink
from lindos.model.formats.source import TensorInfo, TensorSource
from lindos.model.formats.tensorfiles import INDEX, Entry, ShardWriter

SHARD_BYTES = 4 << 30
Progress = Callable[[str, int], None]
"""Called with the file being written and the bytes just added to it."""


@dataclass(frozen=True)
class Shard:
    """One file and Lindos's tensors in it, with what they become there."""

    file: str
    tensors: tuple[TensorInfo, ...]
    entries: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)


def plan_shards(tensors: Iterable[TensorInfo], sink: Sink, limit: int = SHARD_BYTES) -> list[Shard]:
    """Fill files in order up to `limit` bytes; a tensor, or a unit of the sink, larger than that has one of its own."""
    groups: list[list[tuple[TensorInfo, list[Entry]]]] = [[]]
    filled = 0
    for unit in sink.units(list(tensors)):
        entries = [(info, sink.entries(info)) for info in unit]
        size = sum(entry.bytes for _, some in entries for entry in some)
        if groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1] += entries
        filled += size
    many = len(groups) > 1
    return [
        Shard(
            file=f"model-{number:05d}-of-{len(groups):05d}.safetensors" if many else "model.safetensors",
            tensors=tuple(info for info, _ in group),
            entries=tuple(entry for _, entries in group for entry in entries),
        )
        for number, group in enumerate(groups, 1)
    ]


def write_shard(path: Path, shard: Shard, source: TensorSource, sink: Sink, progress: Progress | None = None) -> str:
    """Write one file and return its SHA-256: a matrix or a block of rows in memory at a time, or some more where the
    sink has threads. Raises FormatError and OSError."""

    def ready(block: tuple[TensorInfo, slice]) -> Iterable[Piece]:
        pieces = sink.pieces(source, *block)
        return list(pieces) if sink.threads else pieces

    with ShardWriter(path, sink.ordered(shard.entries), sink.alignment) as writer:
        for pieces in in_order(_blocks(shard, sink), ready, sink.threads):
            for name, row, piece in pieces:
                writer.put(name, row, piece)
                if progress is not None:
                    progress(shard.file, piece.numel() * piece.element_size())
    return writer.sha256


def _blocks(shard: Shard, sink: Sink) -> list[tuple[TensorInfo, slice]]:
    """What is read at a time, in the order in which it lies in the file, so that this is written from front to back."""
    place = {entry.name: number for number, entry in enumerate(sink.ordered(shard.entries))}
    found: list[tuple[int, TensorInfo, slice]] = []
    for info in shard.tensors:
        names = [entry.name for entry in sink.entries(info)]
        for number, rows in enumerate(info.blocks()):
            apart = len(info.shape) == 3 and len(names) == info.shape[0]  # an entry for each expert
            found.append((place[names[number if apart else 0]], info, rows))
    return [(info, rows) for _, info, rows in sorted(found, key=lambda one: one[0])]


def write_index(directory: Path, shards: list[Shard]) -> None:
    """The index of a checkpoint in several files; nothing for one in a single file."""
    if len(shards) > 1:
        places = {entry.name: shard.file for shard in shards for entry in shard.entries}
        index = {"metadata": {"total_size": sum(shard.bytes for shard in shards)}, "weight_map": places}
        write_json(directory / INDEX, index)


def write_json(path: Path, table: object) -> None:
    """Replace a small file at once, so that no reader or crash ever sees half of it."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)

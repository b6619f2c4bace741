"""The first half of preparing: every source read, cleaned, checked and put into the order of its documents' hashes."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lindos.data.errors import DataError
from lindos.data.harvest import Harvest, harvest, place, start_worker, tasks
from lindos.data.mix import Mix, Source
from lindos.data.overlap import index_evaluations
from lindos.data.shards import disk_errors

_HELD_SEPARATE = 150  # characters: a paragraph at least this long is kept once in the whole mix


@dataclass
class Tally:
    """What became of one source."""

    source: str
    group: str
    licence: str
    attribution: str
    epochs: float
    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0
    heldout_documents: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)


class _Workers:
    """Harvests tasks in processes of their own, or in this one when only one worker is wanted."""

    def __init__(self, count: int, index: Path | None):
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, context, initializer=start_worker, initargs=(index,))
        else:
            start_worker(index)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        else:
            start_worker(None)

    def harvested(self, source: Source, path: Path, size: int) -> Iterator[Harvest]:
        """Results in the order of the rows, with only a few tasks under way at a time: memory stays small."""
        if self._pool is None:
            yield from map(harvest, tasks(source, path, size))
            return
        waiting: deque[Future[Harvest]] = deque()
        try:
            for task in tasks(source, path, size):
                waiting.append(self._pool.submit(harvest, task))
                if len(waiting) > 2 * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(f"{path}: a worker process died (out of memory?); try again with --workers 1") from None


def gather(mix: Mix, root: Path, spool: Path, workers: int, console: Console) -> list[Tally]:
    """Clean every source into a file `spool/NAME` of JSON strings, in the order of the documents' hashes.

    Raises DataError for files that are missing or damaged, and for a source of which nothing is left.
    """
    index: Path | None = None
    if mix.keep_out is not None:
        with console.status("hashing the evaluations to keep out"):
            index = spool / "overlaps.npz"
            index_evaluations(root / mix.keep_out.folder, mix.keep_out.words).save(index)
    tallies = []
    seen: set[int] = set()
    with _Workers(workers, index) as pool, progress_bar(console) as progress:
        for source in mix.source:
            tally = Tally(source.name, source.group, source.licence, source.attribution, source.epochs)
            line = progress.add_task(f"cleaning {source.name}", total=None)
            documents: list[str] = []
            for found in pool.harvested(source, root / source.path, mix.document_characters):
                tally.dropped.update(found.dropped)
                tally.overlaps.update(found.overlaps)
                documents += _unseen(found.documents, seen, tally, source.least)
                progress.update(line, completed=len(documents))
            documents = _joined(sorted(documents, key=lambda text: place(text)[8:]), source.join)
            documents = _limited(documents, source, tally)
            if not documents:
                raise DataError(f"{root / source.path}: no document is left of source '{source.name}' after cleaning")
            progress.update(line, completed=len(documents), total=len(documents))
            with disk_errors(spool), (spool / source.name).open("w", encoding="ascii") as file:
                file.writelines(json.dumps(text) + "\n" for text in documents)
            tallies.append(tally)
    return tallies


def _unseen(documents: list[str], seen: set[int], tally: Tally, least: int) -> Iterator[str]:
    """Documents without the long paragraphs that the mix already has; short documents are compared whole."""
    for text in documents:
        parts = text.split("\n\n")
        marks = [hash_of(part) for part in parts]
        kept = [
            part
            for part, mark in zip(parts, marks, strict=True)
            if mark not in seen or (len(part) < _HELD_SEPARATE and len(parts) > 1)
        ]
        seen.update(marks)
        if len(kept) < len(parts):
            tally.dropped["paragraphs seen before"] += len(parts) - len(kept)
        joined = "\n\n".join(kept)
        if len(joined) >= least:
            yield joined


def hash_of(text: str) -> int:
    """A paragraph's identity: its letters and digits, whatever their case and the signs between them."""
    return int.from_bytes(place("".join(filter(str.isalnum, text.lower())))[:8], "little")


def _joined(documents: list[str], size: int) -> list[str]:
    if not size:
        return documents
    joined: list[str] = []
    held: list[str] = []
    length = 0
    for text in documents:
        held.append(text)
        length += len(text)
        if length >= size:
            joined.append("\n".join(held))
            held, length = [], 0
    return joined + (["\n".join(held)] if held else [])


def _limited(documents: list[str], source: Source, tally: Tally) -> list[str]:
    if source.megabytes is None:
        return documents
    left = source.megabytes * 1e6
    for number, text in enumerate(documents):
        left -= len(text.encode())
        if left < 0:
            tally.dropped["beyond the size wanted"] += len(documents) - number
            return documents[:number]
    return documents


def progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents"),
        TimeElapsedColumn(),
        console=console,
    )

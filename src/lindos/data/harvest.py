"""The part of preparing that runs in worker processes: from rows to clean documents, the unwanted dropped, counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lindos.data.clean import has_slur
from lindos.data.files import is_jsonl, parse_row, read_lines, read_rows
from lindos.data.mix import Source
from lindos.data.overlap import Overlaps
from lindos.data.readers import READERS, Row

_TASK_BYTES = 1 << 20

_overlaps: Overlaps | None = None


@dataclass
class Task:
    """Some rows of a source: JSONL lines still to be parsed, or ready rows."""

    source: Source
    file: str
    size: int
    lines: list[tuple[int, str]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


@dataclass
class Harvest:
    """What a task gave: the documents, and what was dropped (by reason; by evaluation set)."""

    documents: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)


def start_worker(overlaps: Path | None) -> None:
    """Load what all tasks of this process share."""
    global _overlaps
    _overlaps = Overlaps.load(overlaps) if overlaps else None


def tasks(source: Source, path: Path, size: int) -> Iterator[Task]:
    """The rows of a file in pieces of about a megabyte. Raises DataError."""
    task, held = Task(source, str(path), size), 0
    if is_jsonl(path):
        for number, line in read_lines(path):
            if line.strip():
                task.lines.append((number, line))
                held += len(line)
            if held > _TASK_BYTES:
                yield task
                task, held = Task(source, str(path), size), 0
    else:
        for row in read_rows(path):
            yield Task(source, str(path), size, rows=[row])
    if task.lines:
        yield task


def harvest(task: Task) -> Harvest:
    """Read, filter and check one task's rows. Raises DataError for a damaged row."""
    found = Harvest()
    reader = READERS[task.source.reader]
    rows = task.rows or [parse_row(line, task.file, number) for number, line in task.lines]
    for row in rows:
        if not _wanted(row, task.source):
            found.dropped["not chosen"] += 1
            continue
        for text in reader(row, task.size):
            if len(text) < task.source.least:
                found.dropped["too short"] += 1
            elif has_slur(text):
                found.dropped["unwanted words"] += 1
            else:
                found.documents.append(text)
    if _overlaps is not None and found.documents:
        _drop_overlaps(found, _overlaps)
    return found


def _drop_overlaps(found: Harvest, overlaps: Overlaps) -> None:
    shared = overlaps.find(found.documents)
    for names in shared:
        found.overlaps.update(names)
    found.dropped["shares text with an evaluation"] += sum(map(bool, shared))
    found.documents = [text for text, names in zip(found.documents, shared, strict=True) if not names]


def _wanted(row: Row, source: Source) -> bool:
    level = row.get("words_per_sentence")
    limit = source.max_words_per_sentence
    if limit is not None and isinstance(level, int | float) and level > limit:
        return False
    if not source.leave_out and not source.keep_only:
        return True
    labels = [str(row[key]) for key in ("title", "author", "book", "task", "src") if key in row]
    if any(name in label for name in source.leave_out for label in labels):
        return False
    return not source.keep_only or any(name in label for name in source.keep_only for label in labels)


def place(text: str) -> bytes:
    """16 bytes that decide a document's place: the first 8 whether it is held out, the last 8 its order."""
    return hashlib.blake2b(text.encode("utf-8", errors="replace"), digest_size=16).digest()

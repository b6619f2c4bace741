"""Rows out of files: JSONL or plain text, bare, gzipped or zstandard, with errors that name file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from lindos.data.errors import DataError

_READ = 1 << 20
_WINDOW = 2**27
_LONGEST_LINE = 1 << 28


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of a text file, `.zst` and `.gz` unpacked on the way.

    Raises DataError for a missing, truncated or damaged file, and for bytes that are no UTF-8.
    """
    number, rest = 0, b""
    try:
        for block in _blocks(path):
            parts = (rest + block).split(b"\n")
            rest = parts.pop()
            if len(rest) > _LONGEST_LINE:
                raise DataError(f"{path}: line {number + 1} is longer than {_LONGEST_LINE} bytes; is this a text file?")
            for part in parts:
                number += 1
                yield number, _decoded(part, path, number)
        if rest:
            yield number + 1, _decoded(rest, path, number + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"{path}: damaged or truncated after line {number}: {error}; fetch the file again") from None


def parse_row(line: str, path: Path | str, number: int) -> dict[str, Any]:
    """One JSONL line as an object. Raises DataError."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected an object with fields, found {type(row).__name__}")
    return row


def is_jsonl(path: Path) -> bool:
    """Whether the file's name (before .zst or .gz) says JSON lines; anything else is read as plain text."""
    return any(suffix in (".jsonl", ".ndjson") for suffix in path.suffixes)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, or a plain text file as rows {"text": ...} of about a megabyte cut at blank lines.

    Raises DataError.
    """
    if is_jsonl(path):
        for number, line in read_lines(path):
            if line.strip():
                yield parse_row(line, path, number)
        return
    lines: list[str] = []
    size = 0
    for _, line in read_lines(path):
        lines.append(line)
        size += len(line) + 1
        if size > _READ and not line.strip():
            yield {"text": "\n".join(lines)}
            lines, size = [], 0
    if lines:
        yield {"text": "\n".join(lines)}


def _decoded(part: bytes, path: Path, number: int) -> str:
    try:
        return part.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: is no UTF-8: {error}") from None


def _blocks(path: Path) -> Iterator[bytes]:
    if path.suffix == ".zst":
        yield from _zst_blocks(path)
        return
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(_READ):
            yield block


def _zst_blocks(path: Path) -> Iterator[bytes]:
    """zstandard's own reader takes a truncated file for a short one, so frames are followed by hand."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    frame = decompressor.decompressobj()
    begun = False
    with path.open("rb") as file:
        while block := file.read(_READ):
            while block:
                yield frame.decompress(block)
                begun = True
                block = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame, begun = decompressor.decompressobj(), False
    if begun:
        raise EOFError("the compressed data ends early")

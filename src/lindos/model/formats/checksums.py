"""`checksums.json`: size and SHA-256 of every file of a directory that Lindos wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from lindos.model.formats.fields import read_table
from lindos.model.formats.shards import write_json
from lindos.model.formats.source import FormatError
from lindos.model.formats.tensorfiles import digest

CHECKSUMS = "checksums.json"


def write_checksums(
    directory: Path, known: Mapping[str, str] | None = None, leave_out: frozenset[str] = frozenset()
) -> None:
    """Note every file but `leave_out`; `known` gives digests that need not be computed again."""
    known = known or {}
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": known.get(path.name) or digest(path)}
        for path in sorted(directory.iterdir())
        if path.is_file() and path.name != CHECKSUMS and path.name not in leave_out
    }
    write_json(directory / CHECKSUMS, {"files": files})


def note_changed(directory: Path, *names: str) -> None:
    """Note these files anew, those that are there, where the directory has checksums."""
    if not (directory / CHECKSUMS).is_file():
        return
    document = read_table(directory / CHECKSUMS)
    files = document.get("files")
    if not isinstance(files, dict):
        raise FormatError(f"{directory / CHECKSUMS}: has no table 'files'")
    for path in (directory / name for name in names):
        if path.is_file():
            files[path.name] = {"bytes": path.stat().st_size, "sha256": digest(path)}
    write_json(directory / CHECKSUMS, {**document, "files": dict(sorted(files.items()))})


def weights_digest(directory: Path | str) -> str:
    """One SHA-256 for all weights of a model directory, from its `checksums.json` where Lindos wrote one.

    Where it did not, names, sizes and times stand for the contents, which may be hundreds of gigabytes.
    """
    directory = Path(directory)
    noted: object = {}
    if (directory / CHECKSUMS).is_file():
        noted = read_table(directory / CHECKSUMS).get("files")
    known = noted if isinstance(noted, dict) else {}
    parts = []
    for path in sorted(path for path in directory.rglob("*") if path.suffix == ".safetensors" or "tensor" in path.name):
        entry = known.get(path.name)
        status = path.stat()
        sha256 = entry.get("sha256") if isinstance(entry, dict) else None
        parts.append(f"{path.name} {sha256 or (status.st_size, status.st_mtime_ns)}\n")
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def check_directory(directory: Path | str, progress: Callable[[str, int, int], None] | None = None) -> int:
    """Hold every file against `checksums.json`; how many there were.

    `progress` is called with a file's name, the bytes read before it and the bytes in all.
    Raises FormatError naming the first file that is missing, of another size or changed.
    """
    directory = Path(directory)
    if not (directory / CHECKSUMS).is_file():
        raise FormatError(f"{directory}: has no {CHECKSUMS}; only directories that Lindos wrote can be checked")
    files = read_table(directory / CHECKSUMS).get("files")
    if not isinstance(files, dict):
        raise FormatError(f"{directory / CHECKSUMS}: has no table 'files'")
    done, total = 0, sum(_check_size(directory, name, noted) for name, noted in files.items())
    for name, noted in files.items():
        if progress is not None:
            progress(name, done, total)
        if digest(directory / name) != noted.get("sha256"):
            raise FormatError(f"{directory / name}: its contents have changed since it was written (SHA-256 differs)")
        done += noted["bytes"]
    if progress is not None:
        progress("all files", done, total)
    return len(files)


def _check_size(directory: Path, name: str, noted: object) -> int:
    """The file's size in bytes, held against the note: what is missing or cut is found before anything is read."""
    path = directory / name
    if Path(name).name != name or not isinstance(noted, dict):
        raise FormatError(f"{directory / CHECKSUMS}: entry '{name}' is not a file's name, size and sha256")
    if not path.is_file():
        raise FormatError(f"{path}: is missing")
    size = path.stat().st_size
    if size != noted.get("bytes"):
        raise FormatError(f"{path}: {size} bytes, expected {noted.get('bytes')}")
    return size

"""How fast a folder's disk is read: large reads side by side, past the system's cache where it allows that."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lindos.kernels.directfile import PIECE as BLOCK
from lindos.kernels.directfile import READERS

LARGEST = 1 << 30
SMALLEST = 64 << 20


@dataclass(frozen=True)
class DiskReading:
    """Bytes per second (0: not measured), bytes free, and how it was read or why not."""

    bandwidth: float
    free: float
    note: str


def measure_disk(folder: Path | None, seconds: float) -> DiskReading:
    """Write a temporary file for half of the time and read it for the other half.

    The file loses its name the moment it is opened, so nothing stays behind, whatever happens. The cache of a
    hypervisor or of the disk itself is not passed by: a virtual disk may look faster than it is over terabytes.
    """
    if folder is None:
        return DiskReading(0.0, 0.0, "not measured: no folder was given")
    try:
        free = shutil.disk_usage(folder).free
        if free < 4 * SMALLEST:
            return DiskReading(0.0, free, f"not measured: only {free / 1e6:.0f} MB are free in {folder}")
        if in_memory(folder):
            return DiskReading(0.0, free, f"not measured: {folder} lies in memory, not on a disk")
        file, direct = _open(folder)
    except OSError as error:
        return DiskReading(0.0, 0.0, f"not measured: {folder}: {error.strerror}")
    try:
        size = _fill(file, min(LARGEST, free // 4), seconds / 2)
        how = "read past the system's cache" if direct else "read through the system's cache, emptied before"
        return DiskReading(_read(file, size, direct, seconds / 2), free, f"{how}, {READERS} readers")
    except OSError as error:
        return DiskReading(0.0, free, f"not measured: {folder}: {error.strerror}")
    finally:
        os.close(file)


def in_memory(folder: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the folder's file system lives in memory, as far as the system tells."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    place = folder.resolve()
    over = [row for row in lines if len(row) > 2 and place.is_relative_to(row[1])]
    return bool(over) and max(over, key=lambda row: len(row[1]))[2] in {"tmpfs", "ramfs"}


def _open(folder: Path) -> tuple[int, bool]:
    """A nameless file in the folder, and whether it is read and written past the system's cache (O_DIRECT)."""
    path = folder / f".lindos-probe-{secrets.token_hex(8)}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    direct = getattr(os, "O_DIRECT", 0)
    try:
        file = os.open(path, flags | direct, 0o600)
    except OSError as error:
        if not direct or error.errno != errno.EINVAL:
            raise
        path.unlink(missing_ok=True)  # some file systems make the file before they refuse the flag
        direct = 0
        file = os.open(path, flags, 0o600)
    path.unlink()
    return file, bool(direct)


def _fill(file: int, most: int, seconds: float) -> int:
    """Write until the time is over, `SMALLEST` at least; the bytes written."""
    until, size = time.perf_counter() + seconds, 0
    with mmap.mmap(-1, BLOCK) as buffer:  # mapped memory begins at a page, as O_DIRECT wants it
        buffer.write(os.urandom(1 << 16) * (BLOCK >> 16))  # disks that compress or skip zeros must not
        while size + BLOCK <= most and (size < SMALLEST or time.perf_counter() < until):
            size += os.pwrite(file, buffer, size)
    os.fsync(file)
    return size


def _read(file: int, size: int, direct: bool, seconds: float) -> float:
    """Bytes per second of whole passes over the file, the best of those that fit the time."""
    starts = range(0, size - BLOCK + 1, BLOCK)
    until, best = time.perf_counter() + seconds, 0.0
    with ThreadPoolExecutor(READERS) as pool:
        buffers = [mmap.mmap(-1, BLOCK) for _ in range(READERS)]

        def read(reader: int) -> int:
            return sum(os.preadv(file, [buffers[reader]], start) for start in starts[reader::READERS])

        try:
            while not best or time.perf_counter() < until:
                if not direct and hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                started = time.perf_counter()
                done = sum(pool.map(read, range(READERS)))
                best = max(best, done / (time.perf_counter() - started))
        finally:
            for buffer in buffers:
                buffer.close()
    return best

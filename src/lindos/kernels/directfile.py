"""Files that are read in large pieces again and again, past the system's cache, and that must not change meanwhile.

Unbuffered (O_DIRECT) reads want file offset, length and memory aligned; `aligned` says how much of a file holds some of
its bytes, `Region` gives the memory. Where a file system refuses them, reads go through its cache, which is then told
to forget.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lindos.specs import LindosError

ALIGNMENT = 4096
PIECE = 8 << 20
"""Bytes of one read; more made no difference on the disks tried."""
READERS = 4
"""Reads under way at a time."""


class ReadError(LindosError):
    """A file that does not give what stood in it."""


def aligned(offset: int, size: int) -> tuple[int, int]:
    """Where an aligned read begins that holds `size` bytes from `offset` on, and how long it is."""
    first = offset // ALIGNMENT * ALIGNMENT
    return first, -(-(offset + size) // ALIGNMENT) * ALIGNMENT - first


class Region:
    """Aligned memory of the system's own, not taken before it is written to, and given back by `close`."""

    def __init__(self, size: int) -> None:
        """`size` bytes, rounded up to whole pages. Raises ReadError when the system has no such room."""
        # Python's own choice, memory to be shared with other processes, gets no large pages.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        try:
            self._map = mmap.mmap(-1, max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT), **private)
        except OSError as error:
            raise ReadError(f"{size:,} bytes of memory are not to be had: {error.strerror}") from None
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # fewer, larger pages: what is swept is looked up less
                self._map.madvise(mmap.MADV_HUGEPAGE)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)


class DirectFile:
    """One open file. Reads may run in several threads."""

    def __init__(self, path: Path) -> None:
        """Raises ReadError."""
        self.path = path
        self._direct = getattr(os, "O_DIRECT", 0)
        try:
            self._file = self._open()
            self._state = _state(self._file)
        except OSError as error:
            raise ReadError(f"{path}: cannot be read: {error.strerror}") from None

    def read(self, offset: int, into: NDArray[np.uint8], needed: int | None = None) -> None:
        """Fill `into` from `offset` on, both aligned; the file may end after `needed` bytes (None: all).

        Raises ReadError for a disk that fails, a file that ends before, and one changed since it was opened.
        """
        done = self.fill(offset, into)
        if _state(self._file) != self._state:
            raise ReadError(f"{self.path}: was changed while the model ran; start it again")
        if done < (into.size if needed is None else needed):
            raise ReadError(f"{self.path}: ends at byte {offset + done:,}, where the model has more; it was truncated")

    def fill(self, offset: int, into: NDArray[np.uint8]) -> int:
        """Read into `into` from `offset` on, both aligned; how many bytes there were. Raises ReadError."""
        done = 0
        try:
            while done < into.size:
                count = os.preadv(self._file, [into[done:].data], offset + done)
                done += count
                if count == 0 or (done < into.size and done % ALIGNMENT):
                    break  # its end
        except OSError as error:
            if error.errno == errno.EINVAL and self._direct:  # a file system that lets O_DIRECT pass and means it not
                self._reopen()
                return self.fill(offset, into)
            raise ReadError(f"{self.path}: cannot be read at byte {offset:,}: {error.strerror}") from None
        if not self._direct and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, offset, into.size, os.POSIX_FADV_DONTNEED)
        return done

    def close(self) -> None:
        """No read may be under way."""
        os.close(self._file)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | self._direct)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct:
                raise
            self._direct = 0
            return os.open(self.path, os.O_RDONLY)

    def _reopen(self) -> None:
        """Without O_DIRECT, under the same number, so that reads under way are not disturbed."""
        self._direct = 0
        plain = os.open(self.path, os.O_RDONLY)
        os.dup2(plain, self._file)
        os.close(plain)


class DirectReader:
    """Reads pieces of files side by side, in the order in which they were asked for."""

    def __init__(self, readers: int = READERS) -> None:
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._files: dict[Path, DirectFile] = {}

    def file(self, path: Path) -> DirectFile:
        """An open file, opened once. Raises ReadError."""
        if path not in self._files:
            self._files[path] = DirectFile(path)
        return self._files[path]

    def start(self, file: DirectFile, offset: int, into: NDArray[np.uint8], needed: int) -> list[Future[None]]:
        """Begin to fill `into` from `offset` on, both aligned, of which `needed` bytes must be there."""
        return [
            self._pool.submit(file.read, offset + at, into[at : at + PIECE], min(PIECE, needed - at))
            for at in range(0, needed, PIECE)
        ]

    def fetch(self, path: Path, offset: int, size: int) -> NDArray[np.uint8]:
        """Some bytes of a file in memory of their own. Raises ReadError."""
        first, length = aligned(offset, size)
        region = Region(length)
        for piece in self.start(self.file(path), first, region.bytes[:length], offset + size - first):
            piece.result()
        return region.bytes[offset - first : offset - first + size]

    def close(self) -> None:
        """After the reads that are under way."""
        self._pool.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _state(file: int) -> tuple[int, ...]:
    """What changes with a file: when it is written to or cut, its times are set back, or another takes its place."""
    found = os.fstat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

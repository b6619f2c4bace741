"""A limit on memory that the system enforces: a control group below this process's own, for one contender."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Self

MOUNT = Path("/sys/fs/cgroup")


class LimitError(RuntimeError):
    """Control groups cannot be made here; the text says what refused."""


class MemoryLimit:
    """A group whose processes together get so many bytes, file cache included. Use as a context manager."""

    def __init__(self, name: str, limit: int) -> None:
        """Raises LimitError."""
        parent, self._second = _own_group()
        self.path = parent / f"lindos-benchmark-{name}-{os.getpid()}"
        try:
            self.path.mkdir()
        except OSError as error:
            raise LimitError(f"no control group can be made in {parent}: {error.strerror}") from None
        try:
            (self.path / ("memory.max" if self._second else "memory.limit_in_bytes")).write_text(str(limit))
            if self._second:
                with contextlib.suppress(OSError):  # a system without swap has no such file
                    (self.path / "memory.swap.max").write_text("0")
        except OSError as error:
            self.path.rmdir()
            raise LimitError(f"memory cannot be limited in {self.path}: {error.strerror}") from None

    @property
    def peak(self) -> int:
        """Most bytes the group ever held; 0 where the system does not tell."""
        try:
            return int((self.path / ("memory.peak" if self._second else "memory.max_usage_in_bytes")).read_text())
        except OSError:
            return 0

    @property
    def kills(self) -> int:
        """How many of its processes were killed for want of memory."""
        lines = (self.path / ("memory.events" if self._second else "memory.oom_control")).read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _attempt in range(50):  # a process that has just ended may still be counted
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.1)


def _own_group(groups: Path = Path("/proc/self/cgroup")) -> tuple[Path, bool]:
    """Where this process stands in the hierarchy that limits memory, and whether that is of the second version."""
    try:
        lines = [line.split(":", 2) for line in groups.read_text(encoding="ascii").splitlines()]
    except OSError as error:
        raise LimitError(f"{groups}: {error.strerror}") from None
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            return MOUNT / "memory" / path.lstrip("/"), False
    for number, _, path in lines:
        if number == "0" and (MOUNT / "cgroup.controllers").is_file():
            return MOUNT / path.lstrip("/"), True
    raise LimitError("this system has no control groups for memory")


def forget_files(place: Path) -> None:
    """Drop a file, or the files of a directory, from the system's cache, so that reading them reads the disk."""
    for path in [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)

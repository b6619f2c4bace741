"""What this process may take of the machine: memory and cores, within the limits of its control group (a container's,
a service's). Torch-free.

Linux keeps those in files: one tree for everything in version 2 of control groups, one tree a controller in version 1
(https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can still be taken without swapping, as far as the system tells; else all of its memory."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    system = _table(root / "proc/meminfo")
    if "MemAvailable:" in system:
        found.append(system["MemAvailable:"] * 1024)
    for group in _groups("memory", root):
        limit = _number(group / "memory.max", group / "memory.limit_in_bytes")
        used = _number(group / "memory.current", group / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            found.append(limit - used + _cached(group))
    return max(0, min(found))


def usable_cores(root: Path = ROOT) -> int:
    """Cores this process may keep busy: those it may run on, and no more than its share of processor time fills."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu", root):
        quota, period = _quota(group)
        if quota > 0 and period > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(1, cores)


def _cached(group: Path) -> int:
    """What a group's usage counts but the system gives back by itself: files it has read."""
    table = _table(group / "memory.stat")
    names = ("inactive_file", "active_file")
    prefix = "total_" if "total_inactive_file" in table else ""  # version 1 counts its subgroups apart
    return sum(table.get(prefix + name, 0) for name in names)


def _quota(group: Path) -> tuple[int, int]:
    """(microseconds of processor time, in so many microseconds); (0, 0) without a limit."""
    parts = _text(group / "cpu.max").split()
    if len(parts) == 2 and parts[0].isdigit():
        return int(parts[0]), int(parts[1])
    return _number(group / "cpu.cfs_quota_us") or 0, _number(group / "cpu.cfs_period_us") or 0


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups this process is in, innermost first: each may set a limit."""
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        tree = next((t for t in (mounts / controllers, mounts / controller) if controllers and t.is_dir()), mounts)
        group = tree / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder == tree or tree in folder.parents)


def _number(*paths: Path) -> int | None:
    for path in paths:
        text = _text(path).strip()
        if text.isdigit():
            return int(text)
    return None


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

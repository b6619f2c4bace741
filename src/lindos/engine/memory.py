"""How much memory processes hold."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def resident_bytes(number: int | None = None) -> int:
    """Memory this process, or process `number`, holds, where the system tells; else the most this one ever held."""
    try:
        pages = int(Path(f"/proc/{number or 'self'}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

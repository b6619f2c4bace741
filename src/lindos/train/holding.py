"""Who writes a run's folder: its only group, or that one of several which holds the folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lindos.train.checkpoint import CheckpointError
from lindos.train.ranks import Ranks
from lindos.train.saving import held


class Holder:
    """The hold of this group on a run's folder. All ranks call the same methods, and have the same answers."""

    def __init__(self, folder: Path, ranks: Ranks, *, shared: bool) -> None:
        """`shared`: other groups of the run may hold the folder; this one then takes it when it can, and keeps it."""
        self.folder, self.ranks, self.shared = folder, ranks, shared
        self.mine = not shared
        """Whether this group writes."""
        self._kept = ExitStack()

    @contextmanager
    def during(self) -> Iterator[bool]:
        """Within it nobody else trains in the folder, unless shared: then whether it has just become this group's.
        Raises CheckpointError where someone does."""
        with ExitStack() as lock:
            taken = self.shared and self.take()
            if not self.shared:
                self.ranks.together(lambda: lock.enter_context(held(self.folder)) if self.ranks.first else None)
            yield taken

    def take(self, seconds: float = 0.0) -> bool:
        """Whether a shared folder has just become this group's, within `seconds`."""
        if self.mine:
            return False
        self.mine = self.ranks.share(self.ranks.together(lambda: self.ranks.first and self._taken(seconds)))
        return self.mine

    def _taken(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            try:
                self._kept.enter_context(held(self.folder))
            except CheckpointError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.1)
            else:
                return True

    def drop(self) -> None:
        """Let others have a shared folder."""
        self._kept.close()
        self.mine = not self.shared

"""Checkpoints beside the training: a copy is taken, and written while the next steps go on."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lindos.train.checkpoint import CheckpointError, Part, Parts, prune, save_checkpoint
from lindos.train.ranks import Ranks


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A run's folder, made and held. Raises CheckpointError where another process holds it: two that train in one place
    would ruin each other's run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CheckpointError(
                f"{folder}: another process trains there; wait for it, or name another --out"
            ) from None
        yield


class Saver:
    """Writes one checkpoint at a time, and keeps the newest few."""

    def __init__(self, folder: Path, keep: int, ranks: Ranks, *, background: bool = True) -> None:
        self.folder, self.keep, self.ranks, self.background = folder, keep, ranks, background
        self.held_up = 0.0
        """Seconds that training waited for checkpoints."""
        self._thread: threading.Thread | None = None
        self._trouble: Exception | None = None
        self._copies: dict[str, Tensor] = {}

    def save(self, step: int, parts: Parts, meta: dict[str, Any]) -> None:
        """Begin to write; waits for the checkpoint before, if that is still being written. Raises CheckpointError."""
        began = time.perf_counter()
        self.wait()
        if self.background:
            copied = {name: part._replace(values=self._copy(name, part)) for name, part in parts.items()}
            self._thread = threading.Thread(target=self._write, args=(step, copied, meta), name="checkpoint")
            self._thread.start()
        else:
            self._write(step, parts, meta)
            self._raise()
        self.held_up += time.perf_counter() - began

    def wait(self) -> None:
        """Return when nothing is being written. Raises CheckpointError where that went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def _raise(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def _copy(self, name: str, part: Part) -> Tensor:
        """The values in memory of their own, which later checkpoints use again; nothing where others write them."""
        if not part.writes:
            return part.values
        held = self._copies.get(name)
        if held is None or held.shape != part.values.shape:
            held = self._copies[name] = part.values.detach().cpu().clone()
        return held.copy_(part.values.detach())

    def _write(self, step: int, parts: Parts, meta: dict[str, Any]) -> None:
        try:
            save_checkpoint(self.folder, step, parts, meta, self.ranks)
            if self.ranks.first:
                prune(self.folder, self.keep)
        except Exception as error:  # noqa: BLE001 - raised in the training's own thread
            self._trouble = error

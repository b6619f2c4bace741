"""Checkpoints in processor memory: each rank's part in its own machine's and in that of a partner on another one.

They are taken far more often than those on disk: a copy in memory costs what copying costs, and the way to the partner
goes beside the training. A killed process finds its part where it was, since a file system in memory outlives it; the
ranks of a machine that is lost find theirs with their partners. What is written has one rule: nothing of it may end a
run, whose checkpoints on disk are as they would be without. `peer_files` has the files, `peer_exchange` the
way to the partner, `peer_recall` the way back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from lindos.specs import SpecError
from lindos.train.checkpoint import CheckpointError, Parts
from lindos.train.journal import Journal
from lindos.train.machine import local_processes
from lindos.train.origin import check_origin
from lindos.train.peer_exchange import Partners
from lindos.train.peer_files import (
    Draft,
    Slots,
    copies,
    filled,
    open_home,
    remove,
    remove_all,
    remove_drafts,
)
from lindos.train.peer_recall import Remembered, recall
from lindos.train.ranks import ElsewhereError, Ranks
from lindos.train.run_file import CheckpointSection

KEPT = 2
"""Whole steps that are kept, besides room for the one that is written."""


@dataclass(frozen=True)
class Taken:
    """What became of one checkpoint."""

    step: int
    bytes: int = 0
    """Of this rank's part; its partner's copy is as large."""
    waited: float = 0.0
    """Seconds that training waited for the copy."""
    seconds: float = 0.0
    """Until the partner's copy was confirmed, beside the training."""
    failed: str = ""
    passed_over: int = 0
    """Steps that came meanwhile and were passed over."""


class PeerMemory:
    """One rank's checkpoints in memory. All of it does nothing where `every` is 0.

    Methods are called on all ranks, by the training's own thread.
    """

    def __init__(self, section: CheckpointSection, folder: Path, ranks: Ranks, journal: Journal) -> None:
        """Of the run in `folder`; `ranks` are those of the training. Raises SpecError where there is no such memory."""
        self.every, self.folder, self.journal = section.memory_every, folder, journal
        self.home = home_of(Path(section.memory_folder), folder)
        self._training, self._ranks = ranks, Ranks()
        if self.every:
            ranks.together(lambda: _check(self.home.parent))
            # Its own exchanges, in a thread of their own: they must not mix with those of the training.
            self._ranks = Ranks.all()
        self._partners = Partners(self._ranks, max(ranks.share(ranks.gather(local_processes()))))
        self._key, self._began = "", 0
        self._thread: threading.Thread | None = None
        self._taken: Taken | None = None
        self._whole: list[int] = []
        self._keep = KEPT
        drafts = self.home / f"rank-{self._ranks.rank:05d}"
        self._own, self._kept = Slots(drafts / ".writing-own"), Slots(drafts / ".writing-kept")
        self._passed, self._failing, self._warned, self._broken = 0, False, False, False

    def newest(self, after: int, origin: dict[str, Any]) -> tuple[Remembered | None, list[str]]:
        """The newest checkpoint beyond step `after` that this run can go on from, and why others were passed over."""
        key = self._training.share(self._training.together(lambda: _key(self.folder))) if self.every else ""
        if not key:
            return None, []
        layout, world = origin["run"]["layout"], self._ranks.size

        def check(meta: dict[str, Any]) -> None:
            if meta["key"] != key:
                raise CheckpointError("it is of a run that was in this folder before")
            if meta["world"] != world:
                raise CheckpointError(f"it was made by {meta['world']} processes, now there are {world}")
            if meta["layout"] != layout:
                raise CheckpointError("it was made in another layout")
            check_origin(meta, origin)

        found, passed = recall(self.home, self._ranks, after, check)
        self._whole = [] if found is None else [found.step]
        return found, passed

    def begin(self, step: int) -> None:
        """The run goes on from `step`: what is newer would mix with what comes, and is removed."""
        if not self.every:
            remove_all(self.home)
            return
        first = self._training.first
        key = self._training.together(lambda: _key(self.folder, make=True) if first else "")
        self._key, self._began = self._training.share((key, time.time_ns()))
        newest = max((copy.step for copy in copies(self.home)), default=0)
        with suppress(OSError):  # what cannot be removed is told when nothing can be written, either
            remove(self.home, range(step + 1, newest + 1))
            remove_drafts(self.home)
        self._training.any(False)  # nobody writes before all have removed

    def forget(self, after: int) -> None:
        """The run has gone back to step `after`, and on by another way: what is newer is of the way it left."""
        if not self.every:
            return
        self.wait()
        with suppress(OSError):
            for step in [*(step for step in self._whole if step > after), -1]:  # and what is to be filled next
                self._own.discard(step)
                self._kept.discard(step)
        self._whole = [step for step in self._whole if step <= after]
        self.begin(after)

    def due(self, step: int) -> bool:
        """Whether `step` is one to be kept."""
        return self.every > 0 and step % self.every == 0

    def save(self, step: int, parts: Parts, meta: dict[str, Any]) -> None:
        """Copy `parts` and begin to spread them. Passed over while any rank is still at the one before."""
        if self._training.any(self._broken or (self._thread is not None and self._thread.is_alive())):
            self._passed += 1
            return
        self.wait()
        began = time.perf_counter()
        own = self._copied(parts, {**meta, **self._marks(step)})
        taken = Taken(step, waited=time.perf_counter() - began)
        self._thread = threading.Thread(target=self._work, args=(taken, own), name="memory checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being spread; how that went is noted."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread, taken = None, self._taken
        assert taken is not None
        taken, self._passed = replace(taken, passed_over=self._passed), 0
        if not taken.failed:
            told = {name: value for name, value in asdict(taken).items() if name != "failed"}
            self.journal.write("checkpoint", where="memory", **told)
        elif not self._failing:  # a memory that is full is so at the next step as well
            self.journal.write("checkpoint", where="memory", step=taken.step, failed=taken.failed)
            self._warn(taken)
        self._failing = bool(taken.failed)

    def end(self) -> None:
        """The leg has ended and is on disk: everything in memory of this run is removed."""
        if not self.every:
            return
        self.wait()
        self._training.any(False)
        self._own.clear()
        self._kept.clear()
        remove_all(self.home)
        self._whole = []

    def _marks(self, step: int) -> dict[str, Any]:
        """What tells a copy's step, leg and run from those of others."""
        return {"step": step, "world": self._ranks.size, "key": self._key, "began": self._began}

    def _copied(self, parts: Parts, meta: dict[str, Any]) -> Draft | str:
        """A copy of `parts`, or why there is none: that is told to all in the background, by its own exchanges."""
        try:
            open_home(self.home)
            return filled(self._own, parts, meta)
        except Exception as error:  # noqa: BLE001 - nothing of this may end a run
            return str(error)

    def _warn(self, taken: Taken) -> None:
        if not self._warned:
            self.journal.console.print(
                f"[yellow]no checkpoint in memory of step {taken.step}: {escape(taken.failed)}; the run goes on, those "
                "on disk are written as ever[/yellow]"
            )
        self._warned = True

    def _work(self, taken: Taken, own: Draft | str) -> None:
        began = time.perf_counter()
        try:
            size = self._spread(taken.step, own)
            self._taken = replace(taken, bytes=size, seconds=time.perf_counter() - began)
        except (OSError, CheckpointError, ElsewhereError) as error:  # all ranks know, and have come as far
            self._taken = replace(taken, failed=str(error))
            self._discard(taken.step)
        except Exception as error:  # noqa: BLE001 - exchanges that broke off cannot be taken up again
            self._broken = True
            self._taken = replace(taken, failed=f"{error}; none is tried again")

    def _spread(self, step: int, own: Draft | str) -> int:
        """Exchange copies with the partners; the number of bytes of this rank's. A step counts when all have both."""
        ranks = self._ranks
        draft = ranks.together(lambda: _drawn(own))
        drafts = self._partners.exchange(draft, self._kept.room)
        ranks.together(lambda: [each.finish(step, owner) for owner, each in drafts.items()])
        self._whole = [*self._whole, step][-self._keep :]
        self._release(self._whole[0])
        ranks.any(False)  # nobody removes what others of this machine are to fill again
        with suppress(OSError):
            remove(self.home, range(self._whole[0]))
        return len(draft.bytes)

    def _discard(self, step: int) -> None:
        """Give the memory of a step that failed back. From then on one step is kept: where there is no room for three,
        the older one makes room for the next."""
        self._keep = 1
        self._whole = self._whole[-1:]
        with suppress(OSError):
            self._own.discard(step)
            self._kept.discard(step)
            remove(self.home, range(step, step + 1))
        for newest in self._whole:
            self._release(newest)

    def _release(self, before: int) -> None:
        self._own.release(before)
        self._kept.release(before)


def home_of(memory: Path, folder: Path) -> Path:
    """Where copies of the run in `folder` lie: two runs, or two users, never see each other's."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return memory / f"lindos-{os.getuid()}-{digest[:16]}"


def _check(memory: Path) -> None:
    if not memory.is_dir():
        raise SpecError(
            f"checkpoint.memory_folder: {memory} is no folder here; name that of a file system in memory, or leave "
            "memory_every at 0"
        )
    if not os.access(memory, os.W_OK | os.X_OK):
        raise SpecError(f"checkpoint.memory_folder: {memory} cannot be written to; name another one")


def _key(folder: Path, *, make: bool = False) -> str:
    """What tells a run from another one that was in the same folder before; empty where none was noted yet."""
    path = folder / ".memory-key"
    held = path.read_text(encoding="utf-8") if path.exists() else ""
    if make and not held:
        held, draft = secrets.token_hex(16), path.with_suffix(".writing")
        draft.write_text(held, encoding="utf-8")
        os.replace(draft, path)
    return held


def _drawn(own: Draft | str) -> Draft:
    if isinstance(own, str):
        raise CheckpointError(own)
    return own

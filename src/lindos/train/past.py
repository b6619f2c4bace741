"""What earlier legs of a run left, in its folder and in other machines' memory, and whether it goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from lindos.train.checkpoint import Checkpoint, free_name, mark_damaged, newest_checkpoint
from lindos.train.exporting import TrainingError
from lindos.train.holding import Holder
from lindos.train.journal import JOURNAL
from lindos.train.optimizer import state_kinds
from lindos.train.origin import ChangedRun, check_origin
from lindos.train.peers import PeerMemory
from lindos.train.ranks import Ranks
from lindos.train.run_file import RunFile
from lindos.train.worker import whole_shapes


class Past:
    """The past of the run in `folder`. All ranks call the same methods, and have the same answers."""

    def __init__(
        self,
        run: RunFile,
        folder: Path,
        origin: dict[str, Any],
        *,
        ranks: Ranks,
        memory: PeerMemory,
        holder: Holder,
        console: Console,
    ) -> None:
        """`origin` is what the run begins with now (`origin_of`)."""
        self.run, self.folder, self.origin = run, folder, origin
        self.ranks, self.memory, self.holder, self.console = ranks, memory, holder, console
        self._damaged: list[str] = []

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def on_disk(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint on disk, and why newer ones were passed over."""
        checkpoint, passed = newest_checkpoint(self.checkpoints, self.ranks)
        self._damaged = [line.partition(" ")[0] for line in passed]
        return checkpoint, passed

    def newest(self, *, resume: bool) -> Checkpoint | None:
        """The newest one on disk, or with `resume` in memory; what is passed over is told.

        Raises TrainingError, where this group writes the folder, if there is a run in it and it is not to be resumed,
        or if it is and none of its checkpoints is whole.
        """
        checkpoint, passed = self.on_disk()
        remembered, told = None, []
        if resume:
            remembered, told = self.memory.newest(checkpoint.step if checkpoint else 0, self.origin)
        for line in [*passed, *told]:
            self.console.print(f"[yellow]{escape(line)}[/yellow]")
        found = remembered or checkpoint
        if self.holder.mine:
            self._require_wanted(found, resume, whole=found is not None or not passed)
        return found

    def _require_wanted(self, found: Checkpoint | None, resume: bool, *, whole: bool) -> None:
        if resume and not whole:
            raise TrainingError(f"{self.checkpoints}: no checkpoint is whole; start anew without --resume")
        if not resume and (found is not None or (self.folder / JOURNAL).exists()):
            held = "a run already" if found is None else f"a run at step {found.step}"
            raise TrainingError(f"{self.folder} holds {held}; continue it with --resume or name another --out")

    def admits(self, checkpoint: Checkpoint, *, renew: bool) -> bool:
        """Whether the run goes on from there; with `renew` one that began otherwise is put aside, and it does not.

        Raises ChangedRun without, and CheckpointError where the tensors are those of another model.
        """
        try:
            check_origin(checkpoint.meta, self.origin)
        except ChangedRun as error:
            if not renew:
                raise
            self.console.print(f"{escape(str(error))}: the run begins anew, the old one is in {self._put_aside()}")
            return False
        self.ranks.together(lambda: checkpoint.check_names(_names(self.run)))
        return True

    def _put_aside(self) -> Path:
        aside = self.ranks.share(free_name(self.folder.with_name(f"{self.folder.name}.before")))
        self.ranks.together(lambda: self.folder.rename(aside) if self.ranks.first else None)
        self.holder.drop()  # what it held has another name now
        self.holder.take()
        return aside

    def mark_damaged(self) -> None:
        """Once the run has gone on from an older one: those passed over must not pass for newer ones."""
        writes = self.ranks.first and self.holder.mine
        self.ranks.together(lambda: mark_damaged(self.checkpoints, self._damaged) if writes else None)


def _names(run: RunFile) -> Iterator[str]:
    """Every tensor in a checkpoint of the run."""
    for name, shape in whole_shapes(run.spec).items():
        yield f"master.{name}"
        yield from (f"state.{name}.{kind}" for kind in state_kinds(name, len(shape), run.optimizer))

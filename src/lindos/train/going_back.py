"""What a run does about a spike when it goes back: `detours` says how far, here it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lindos.train.checkpoint import Checkpoint, newest_checkpoint, remove_after
from lindos.train.detours import MOST, Detours
from lindos.train.exporting import TrainingError
from lindos.train.journal import Journal
from lindos.train.peers import PeerMemory
from lindos.train.ranks import Ranks
from lindos.train.run_file import RunFile
from lindos.train.saving import Saver
from lindos.train.watch.watch import Watch
from lindos.train.worker import Worker


class Going(Protocol):
    """A run under way: what going back wants of it."""

    run: RunFile
    ranks: Ranks
    worker: Worker
    saver: Saver
    memory: PeerMemory
    journal: Journal
    watch: Watch
    detours: Detours
    step: int
    saved: int

    @property
    def checkpoints(self) -> Path: ...

    def take(self, checkpoint: Checkpoint) -> None: ...

    def skip(self) -> None: ...


def go_back(going: Going, spike: str) -> bool:
    """To a checkpoint before a spike, and on with other batches; where there is none, the step is skipped.

    Whether the run is a step further. Raises TrainingError where it has gone back too often from the same place.
    """
    going.saver.wait()
    left, before = going.step, going.detours
    if before.tries_from(left) > MOST:
        raise TrainingError(
            f"step {left}: {spike}; the run has gone back {MOST} times from there. Lower optimizer.lr, raise "
            "watch.spike or set watch.on_spike to skip, and go on with --resume"
        )
    # Of those that are written however a run is interrupted: it must go back to the same.
    latest, every = before.latest(left), going.run.checkpoint.every
    checkpoint, _ = newest_checkpoint(going.checkpoints, going.ranks, until=latest, every=every)
    if checkpoint is None:
        going.watch.tell("spike", f"{spike}; there is no checkpoint to go back to, the step is skipped")
        going.skip()
        return True
    going.watch.tell("spike", f"{spike}; back to step {checkpoint.step}, and on with the batches after this one")
    going.worker.weights.clear()
    going.take(checkpoint)
    going.saved = checkpoint.step
    going.detours = before.after(left, checkpoint.step)
    going.worker.weights.publish()
    going.ranks.together(lambda: _forget_after(going, checkpoint) if going.ranks.first else None)
    going.memory.forget(checkpoint.step)
    going.journal.write("rewind", step=left, to=checkpoint.step, shift=going.detours.shift)
    return False


def _forget_after(going: Going, checkpoint: Checkpoint) -> None:
    remove_after(going.checkpoints, checkpoint)
    going.journal.rewind(checkpoint.step)

"""What a run does about a spike when it goes back: `detours` says how far, here it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lindos.train.checkpoint import Checkpoint, newest_checkpoint, remove_after
from lindos.train.detours import MOST
from lindos.train.exporting import TrainingError

if TYPE_CHECKING:
    from lindos.train.loop import Trainer


def go_back(trainer: Trainer, spike: str) -> bool:
    """To a checkpoint before a spike, and on with other batches; where there is none, the step is skipped.

    Whether the run is a step further. Raises TrainingError where it has gone back too often from the same place.
    """
    trainer.saver.wait()
    left, before = trainer.step, trainer.detours
    if before.tries_from(left) > MOST:
        raise TrainingError(
            f"step {left}: {spike}; the run has gone back {MOST} times from there. Lower optimizer.lr, raise "
            "watch.spike or set watch.on_spike to skip, and go on with --resume"
        )
    # Of those that are written however a run is interrupted: it must go back to the same.
    latest, every = before.latest(left), trainer.run.checkpoint.every
    checkpoint, _ = newest_checkpoint(trainer.checkpoints, trainer.ranks, until=latest, every=every)
    if checkpoint is None:
        trainer.watch.tell("spike", f"{spike}; there is no checkpoint to go back to, the step is skipped")
        trainer.skip()
        return True
    trainer.watch.tell("spike", f"{spike}; back to step {checkpoint.step}, and on with the batches after this one")
    trainer.master.clear()
    trainer.take(checkpoint)
    trainer.saved = checkpoint.step
    trainer.detours = before.after(left, checkpoint.step)
    trainer.master.publish()
    trainer.ranks.together(lambda: _forget_after(trainer, checkpoint) if trainer.ranks.first else None)
    trainer.memory.forget(checkpoint.step)
    trainer.journal.write("rewind", step=left, to=checkpoint.step, shift=trainer.detours.shift)
    return False


def _forget_after(trainer: Trainer, checkpoint: Checkpoint) -> None:
    remove_after(trainer.checkpoints, checkpoint)
    trainer.journal.rewind(checkpoint.step)

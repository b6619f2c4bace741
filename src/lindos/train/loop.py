"""The training loop: a pure function of the run file, the data and the step number, however often it is interrupted."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape

from lindos.data import BatchPlan
from lindos.model import Transformer
from lindos.model.formats import require_replaceable
from lindos.model.hardware import product_dtype
from lindos.train.checkpoint import Checkpoint
from lindos.train.detours import Detours
from lindos.train.exporting import TrainingError, export_model
from lindos.train.going_back import go_back
from lindos.train.holding import Holder
from lindos.train.journal import JOURNAL, Journal
from lindos.train.machine import local_processes, prepare_platform
from lindos.train.optimizer import Optimizer
from lindos.train.origin import check_start, origin_of
from lindos.train.past import Past
from lindos.train.peers import PeerMemory
from lindos.train.ranks import ElsewhereError, Ranks
from lindos.train.run_file import RunFile, learning_rate
from lindos.train.sample import sample_text
from lindos.train.saving import Saver
from lindos.train.step import StepResult, purpose_of, step_fields
from lindos.train.tensorboard import board_of
from lindos.train.texts import held_out_batches, start_token_of, training_data
from lindos.train.turns import Alone, Among, Turns, check_replicas, fingerprint_of
from lindos.train.watch.spikes import Spikes
from lindos.train.watch.watch import Watch
from lindos.train.worker import Worker, make_worker, start_spec

MOST_SKIPS = 5
"""So many steps in a row without a finite gradient end the run."""


class Trainer:
    """One process's part of a run. `train` does its steps; everything else is preparation."""

    def __init__(
        self,
        run: RunFile,
        folder: Path,
        *,
        resume: bool = False,
        renew: bool = False,
        console: Console | None = None,
    ) -> None:
        """`resume` continues what `folder` holds; with `renew` a run there that began otherwise is put aside instead.

        Where several processes run, all make one, after `init_process_group`; the first one writes and speaks for all.
        Raises SpecError, CheckpointError or the data room's errors; nothing is written before all is in order."""
        check_replicas(run)
        self.run, self.folder = run, folder
        self.ranks = Ranks.all()
        self.console = (console or Console()) if self.ranks.first else Console(quiet=True)
        self.step = self.saved = 0
        self._skips = 0
        self._stopping = self._writing = False
        self.platform = prepare_platform(run.machine, processes=local_processes())
        products = str(product_dtype(self.platform.device))
        self.ranks.alike({"precision": str(self.platform.dtype), "fused": self.platform.fused, "products": products})
        if run.machine.compile and not self.platform.fused:
            self.console.print(
                "no working C++ compiler with Python's headers here: element-wise work runs unfused (slower, rounded "
                "otherwise)"
            )
        self.data = training_data(run)
        self.plan = BatchPlan(self.data, sequence=run.data.sequence, batch=run.data.batch, seed=run.data.seed)
        self.start_token = start_token_of(run, self.data)
        if run.start:
            check_start(run, start_spec(run), self.data)
        purpose = purpose_of(run, start_token=self.start_token, pad_token=self.data.tokenizer.pad)
        self.worker: Worker = make_worker(run, self.platform, purpose)
        self.master = self.worker.weights
        self.optimizer = Optimizer(self.master, run.optimizer)
        self.held_out = held_out_batches(run, self.data, self.worker)
        if not self.held_out:
            self.console.print(f"{run.data.path} holds no held-out text: the run goes without evaluations")
        board = board_of(run.log, folder) if self.ranks.first else None
        self.journal = Journal(folder / JOURNAL, self.console, writes=False, board=board)
        alike = run.layout.stage_ranks
        self.watch = Watch(run.watch, self.ranks, self.journal, self.console, alike=alike, step=lambda: self.step)
        self.detours = Detours()
        self.turns: Turns = Alone(run, self.plan, self.worker)
        self.memory = PeerMemory(run.checkpoint, folder, self.ranks, self.journal)
        self.holder = Holder(folder, self.ranks, shared=bool(run.replicas.lighthouse))
        self.past = Past(
            run,
            folder,
            origin_of(run, self.data, self.plan),
            ranks=self.ranks,
            memory=self.memory,
            holder=self.holder,
            console=self.console,
        )
        # Its own exchanges: those of a writer in the background must not mix with the training's.
        self.saver = Saver(self.checkpoints, run.checkpoint.keep, Ranks.all(), background=run.checkpoint.background)
        with self.holder.during():  # before anything there is renamed or rewound: another run may be at it
            self._begin(resume, renew)

    @property
    def model(self) -> Transformer:
        """The whole network. Only a run of one process has it."""
        assert self.worker.model is not None, "this process has a part of the network only"
        return self.worker.model

    @property
    def checkpoints(self) -> Path:
        return self.past.checkpoints

    def _begin(self, resume: bool, renew: bool) -> None:
        checkpoint = self.past.newest(resume=resume)
        if checkpoint is not None and self.holder.mine:
            self._continue(checkpoint, renew=renew)
        elif checkpoint is not None:
            self._come_in(checkpoint)
        # Masters are fp32 copies of what the model was made with; the model is always their cast.
        self.master.publish()
        self._from = checkpoint.where if checkpoint and self.step else None
        self.saved = -1 if self._from == "memory" else self.step
        if not self.holder.shared:  # else when it is known at which step
            self._write_on()

    def _come_in(self, checkpoint: Checkpoint) -> None:
        """Another group may train here; it will have this one join it."""
        try:
            self._continue(checkpoint, renew=False)
        except (FileNotFoundError, ElsewhereError):
            self.step = 0  # removed while it was read: those who did that are further on, and heal this group

    def _write_on(self) -> None:
        """From here on this group writes what the run leaves."""
        self._writing = True
        self.ranks.together(self._open_folder)
        self.memory.begin(self.step)
        self.journal.write(
            "leg",
            step=self.step,
            environment=self.platform.environment(),
            processes=self.ranks.size,
            where=self._from,
            run=self.run.model_dump(mode="json"),
        )

    def _open_folder(self) -> None:
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)  # where the run of before was put aside
            self.journal.take_over(self.step)
            require_replaceable(self.folder / "model")

    def _continue(self, checkpoint: Checkpoint, *, renew: bool) -> None:
        if not self.past.admits(checkpoint, renew=renew):
            return
        self.take(checkpoint)
        self.past.mark_damaged()
        if changed := self.platform.changed(checkpoint.meta["environment"]):
            told = f"resumed on another machine or version ({changed}): losses continue, but not bit for bit"
            self.console.print(told, markup=False)

    def take(self, checkpoint: Checkpoint) -> None:
        """Go on from there."""
        meta = checkpoint.meta
        self.ranks.together(lambda: checkpoint.restore(self.optimizer.parts()))
        self.step, self._skips, self.detours = checkpoint.step, meta.get("skips", 0), Detours.of(meta)
        self.watch.spikes = Spikes(self.run.watch.spike, meta.get("recent"))

    def train(self, *, steps: int | None = None, minutes: float | None = None) -> int:
        """Run until the schedule ends, or this leg's `steps` or `minutes` do; returns the step reached.

        SIGINT and SIGTERM end the leg after the step at hand, with a checkpoint.
        """
        last = self.run.schedule.steps if steps is None else min(self.run.schedule.steps, self.step + steps)
        until = math.inf if minutes is None else time.monotonic() + 60 * minutes
        before = self._catch_signals()
        try:
            with self.holder.during() as taken, self.watch.running():
                try:
                    self._meet()
                    if taken:
                        self._catch_up()
                    self._steps(last, until)
                except BaseException:
                    self.journal.end(self.step, "error")
                    raise
                finally:
                    self.turns.close()
                done = self.step >= self.run.schedule.steps
                self.journal.end(self.step, "schedule" if done else "signal" if self._stopping else "leg")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return self.step

    def _meet(self) -> None:
        if self.holder.shared:
            self.detours.require_none()
            mark = fingerprint_of(self.past.origin, self.platform.dtype, product_dtype(self.platform.device))
            self.turns = Among(self.run, self.plan, self.worker, self.optimizer, self.ranks, mark, self.step)

    def _catch_up(self) -> None:
        """The group that wrote is gone; it may have left later weights than these."""
        checkpoint, _ = self.past.on_disk()
        self.saved = -1 if checkpoint is None else checkpoint.step
        if checkpoint is not None and checkpoint.step > self.step:
            self._continue(checkpoint, renew=False)
            self.master.publish()
            self.turns.go_to(self.step)

    def _steps(self, last: int, until: float) -> None:
        while self.step < last and not self.ranks.any(self._stopping or time.monotonic() >= until):
            if self.holder.take():
                self._catch_up()
                continue
            if not self._one_step():
                continue
            if self.step % self.run.evaluate.every == 0 or self.step == self.run.schedule.steps:
                self._evaluate()
            if self.step % self.run.sample.every == 0:
                self._sample()
            if self.step % self.run.checkpoint.every == 0:
                self._save()
            if self.memory.due(self.step) and self.step < last and not self._skips:
                self.memory.save(self.step, self.optimizer.parts(), self._meta())
        if self.step >= self.run.schedule.steps and self.holder.take(self.run.replicas.patience):
            self._catch_up()
            if self.saved < self.step:
                self._write_on()
        if self.saved != self.step:
            self._save()
        self.saver.wait()
        self.memory.end()

    def _one_step(self) -> bool:
        """Whether the run is a step further, and the step need not be done again by those who are left of groups."""
        began = time.perf_counter()
        self.watch.begin()
        turn = self.turns.begin(self.step, self.detours.shift)
        if turn.healed:
            self.console.print(f"went on from step {turn.step} with another group's weights", highlight=False)
        self.step = turn.step
        if self.holder.mine and not self._writing:
            self._write_on()
        result = self.worker.learner.learn(turn.batch, turn.whole)
        if not self.turns.commit():
            self.console.print(f"[yellow]step {self.step} is done again: a group was lost[/yellow]")
            return False
        norm = float(self.master.norm())
        if not math.isfinite(norm):
            self._skip_unfinite()
            return True
        spike = self.ranks.share(self.watch.spikes.seen(result.loss, norm)) if self.run.watch.spike else ""
        if spike and self.run.watch.on_spike == "rewind":
            return go_back(self, spike)
        if spike and self.run.watch.on_spike == "skip":
            self.watch.tell("spike", f"{spike}; skipped")
            self.skip()
            return True
        if spike:
            self.watch.tell("spike", spike)
            self.watch.spikes.accept(result.loss, norm)
        rate = learning_rate(self.run.schedule, self.step)
        self.optimizer.step(self.step, rate, norm=norm)
        self._skips = 0
        seconds = time.perf_counter() - began
        self._log(result, norm, rate, seconds)
        self.watch.end(seconds)
        self.step += 1
        return True

    def _skip_unfinite(self) -> None:
        found = self.ranks.gather(self.master.not_finite())
        names = [self._named(rank, name) for rank, tensors in enumerate(found) for name in tensors]
        self.console.print(f"[yellow]step {self.step}: gradient not finite in {', '.join(names[:3])}; skipped[/yellow]")
        self._skips += 1
        self.skip(names, counts=True)
        if self._skips >= MOST_SKIPS:
            self.saver.wait()  # a checkpoint may still be on its way
            raise TrainingError(
                f"{MOST_SKIPS} steps in a row had no finite gradient (last in {', '.join(names[:1])}); lower "
                "optimizer.lr and optimizer.matrix_lr in the run file and go on from the last checkpoint with --resume"
            )

    def skip(self, names: Sequence[str] = (), *, counts: bool = False) -> None:
        """Leave this step's gradient out; `names` are the tensors in which it is not finite, such steps count."""
        self.journal.write("skip", step=self.step, tensors=list(names))
        self.master.clear()
        self._skips = self._skips if counts else 0
        self.step += 1

    def _named(self, rank: int, name: str) -> str:
        return name if self.ranks.size == 1 else f"{name} of rank {rank}"

    def _log(self, result: StepResult, norm: float, rate: float, seconds: float) -> None:
        fields = {"step": self.step, **step_fields(self.run, self.step, result, seconds), "norm": norm, "rate": rate}
        self.journal.write("step", **fields)
        self.journal.tell_step(fields, self.run.schedule.steps)

    def _evaluate(self) -> None:
        if not self.held_out:
            return
        loss = self.worker.learner.measure(self.held_out)
        self.journal.write("evaluation", step=self.step - 1, tokens=self.step * self.run.tokens_per_step, loss=loss)
        self.console.print(f"held-out loss {loss:.4f} nats a token after {self.step:,} steps", highlight=False)

    def _sample(self) -> None:
        if self.worker.model is None or not self.holder.mine:  # a part of a network cannot speak
            return
        for prompt in self.run.sample.prompts:
            text = sample_text(self.worker.model, self.data.tokenizer, prompt, self.run.sample.tokens, seed=self.step)
            self.journal.write("sample", step=self.step - 1, prompt=prompt, text=text)
            shown = escape(f"{prompt!r} -> {text!r}")  # a model may well write what looks like markup
            self.console.print(f"  {shown}", highlight=False)

    def _save(self) -> None:
        if not self.holder.mine:
            return
        self.saved = self.step
        before = self.saver.held_up
        self.saver.save(self.step, self.optimizer.parts(), self._meta())
        self.journal.write("checkpoint", where="disk", step=self.step, seconds_held_up=self.saver.held_up - before)

    def _meta(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        return {
            **self.past.origin,
            "skips": self._skips,
            "detours": self.detours.model_dump(),
            "recent": self.watch.spikes.recent,
            "environment": self.platform.environment(),
            "layout": self.run.layout.model_dump(mode="json"),
        }

    def export(self, folder: Path) -> None:
        """Write the weights as a model directory with the data's tokenizer; the one of an earlier leg is replaced.

        Where a model is divided over processes the first of them reads it from the newest checkpoint.
        """
        self.ranks.together(lambda: self._export(folder) if self.ranks.first and self.holder.mine else None)
        self.holder.drop()

    def _export(self, folder: Path) -> None:
        path = self.checkpoints / f"step-{self.step:08d}"
        spec, dtype, data = self.run.spec, self.platform.dtype, Path(self.run.data.path)
        export_model(self.worker.model, folder, checkpoint=path, spec=spec, dtype=dtype, tokenizer=data)

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._stopping = True
            self.console.print("stopping after this step, with a checkpoint ...")

        return {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}

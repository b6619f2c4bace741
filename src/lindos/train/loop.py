"""The training loop: a pure function of the run file, the data and the step number, however often it is interrupted."""

from __future__ import annotations

import math
import signal
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape

from lindos.data import BatchPlan, TokenDataset
from lindos.model import Transformer
from lindos.model.formats import require_replaceable, save_model
from lindos.specs import LindosError, SpecError
from lindos.train.checkpoint import Checkpoint, free_name, mark_damaged, newest_checkpoint, remove_after
from lindos.train.detours import MOST as MOST_DETOURS
from lindos.train.detours import Detours
from lindos.train.export import model_of
from lindos.train.journal import Journal
from lindos.train.machine import local_processes, prepare_platform
from lindos.train.optimizer import Optimizer, state_kinds
from lindos.train.origin import ChangedRun, check_origin, check_start, origin_of
from lindos.train.peers import PeerMemory
from lindos.train.ranks import Ranks
from lindos.train.run_file import RunFile, learning_rate
from lindos.train.sample import sample_text
from lindos.train.saving import Saver, held
from lindos.train.step import StepResult, purpose_of
from lindos.train.tensorboard import board_of
from lindos.train.texts import held_out_batches, start_token_of
from lindos.train.watch.spikes import Spikes
from lindos.train.watch.watch import Watch
from lindos.train.worker import Worker, make_worker, start_spec, whole_shapes

MOST_SKIPS = 5
"""So many steps in a row without a finite gradient end the run."""


class TrainingError(LindosError):
    """Training cannot go on."""


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
        self.run, self.folder = run, folder
        self.ranks = Ranks.all()
        self.console = (console or Console()) if self.ranks.first else Console(quiet=True)
        self.step = 0
        self._skips = 0
        self._stopping = False
        self.platform = prepare_platform(run.machine, processes=local_processes())
        self.ranks.alike({"precision": str(self.platform.dtype), "fused": self.platform.fused})
        if run.machine.compile and not self.platform.fused:
            self.console.print(
                "no working C++ compiler with Python's headers here: element-wise work runs unfused (slower, rounded "
                "otherwise)"
            )
        self.data = TokenDataset.open(Path(run.data.path), split="train")
        self.plan = BatchPlan(self.data, sequence=run.data.sequence, batch=run.data.batch, seed=run.data.seed)
        if self.data.vocabulary > run.spec.vocabulary:
            raise SpecError(
                f"{run.data.path}: its tokenizer has {self.data.vocabulary} words, {run.spec.name} only "
                f"{run.spec.vocabulary}"
            )
        self.start_token = start_token_of(run, self.data)
        if run.start:
            check_start(run, start_spec(run), self.data)
        purpose = purpose_of(run, start_token=self.start_token, pad_token=self.data.tokenizer.pad)
        self.worker: Worker = make_worker(run, self.platform, purpose)
        self.master = self.worker.weights
        self.optimizer = Optimizer(self.master, run.optimizer)
        self.held_out = held_out_batches(run, self.worker)
        if not self.held_out:
            self.console.print(f"{run.data.path} holds no held-out text: the run goes without evaluations")
        # Its own exchanges: those of a writer in the background must not mix with the training's.
        self.saver = Saver(self.checkpoints, run.checkpoint.keep, Ranks.all(), background=run.checkpoint.background)
        board = board_of(run.log, folder) if self.ranks.first else None
        self.journal = Journal(folder / "metrics.jsonl", self.console, writes=self.ranks.first, board=board)
        alike = run.layout.stage_ranks
        self.watch = Watch(run.watch, self.ranks, self.journal, self.console, alike=alike, step=lambda: self.step)
        self.detours = Detours()
        self.memory = PeerMemory(run.checkpoint, folder, self.ranks, self.journal)
        self.origin = origin_of(run, self.data, self.plan)
        with ExitStack() as lock:  # before anything there is renamed or rewound: another run may be at it
            self.ranks.together(lambda: lock.enter_context(held(folder)) if self.ranks.first else None)
            self._begin(resume, renew)

    @property
    def model(self) -> Transformer:
        """The whole network. Only a run of one process has it."""
        assert self.worker.model is not None, "this process has a part of the network only"
        return self.worker.model

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _begin(self, resume: bool, renew: bool) -> None:
        checkpoint, passed = self._newest(resume)
        if checkpoint is None:
            if resume and passed:
                raise TrainingError(f"{self.checkpoints}: no checkpoint is whole; start anew without --resume")
            if self.journal.path.exists() and not resume:
                raise TrainingError(
                    f"{self.folder} holds a run already; continue it with --resume or name another --out"
                )
        elif not resume:
            raise TrainingError(
                f"{self.folder} holds a run at step {checkpoint.step}; continue it with --resume or name another --out"
            )
        else:
            self._continue(checkpoint, renew)
        # Masters are fp32 copies of what the model was made with; the model is always their cast.
        self.master.publish()
        self.ranks.together(self._open_folder)
        self.memory.begin(self.step)
        self.journal.write(
            "leg",
            step=self.step,
            environment=self.platform.environment(),
            processes=self.ranks.size,
            where=checkpoint.where if checkpoint and self.step else None,
            run=self.run.model_dump(mode="json"),
        )

    def _newest(self, resume: bool) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint, on disk or in memory, and why newer ones on disk were passed over."""
        checkpoint, passed = newest_checkpoint(self.checkpoints, self.ranks)
        remembered, told = None, []
        if resume:
            remembered, told = self.memory.newest(checkpoint.step if checkpoint else 0, self.origin)
        for line in [*passed, *told]:
            self.console.print(f"[yellow]{escape(line)}[/yellow]")
        return remembered or checkpoint, passed

    def _open_folder(self) -> None:
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)  # where the run of before was put aside
            self.journal.rewind(self.step)
            require_replaceable(self.folder / "model")

    def _continue(self, checkpoint: Checkpoint, renew: bool) -> None:
        try:
            check_origin(checkpoint.meta, self.origin)
        except ChangedRun as error:
            if not renew:
                raise
            self.console.print(f"{escape(str(error))}: the run begins anew, the old one is in {self._put_aside()}")
            return
        checkpoint.check_names(
            key
            for name, shape in whole_shapes(self.run.spec).items()
            for key in (
                f"master.{name}",
                *(f"state.{name}.{kind}" for kind in state_kinds(name, len(shape), self.run.optimizer)),
            )
        )
        self._take(checkpoint)
        self.ranks.together(lambda: mark_damaged(self.checkpoints, checkpoint) if self.ranks.first else None)
        self._tell_changes(checkpoint.meta["environment"])

    def _take(self, checkpoint: Checkpoint) -> None:
        """Go on from there."""
        meta = checkpoint.meta
        checkpoint.restore(self.optimizer.parts())
        self.step, self._skips, self.detours = checkpoint.step, meta.get("skips", 0), Detours.of(meta)
        self.watch.spikes = Spikes(self.run.watch.spike, meta.get("recent"))

    def _put_aside(self) -> Path:
        aside = self.ranks.share(free_name(self.folder.with_name(f"{self.folder.name}.before")))
        self.ranks.together(lambda: self.folder.rename(aside) if self.ranks.first else None)
        return aside

    def _tell_changes(self, before: dict[str, Any]) -> None:
        now = self.platform.environment()
        changed = [f"{key} {before[key]} then, {now[key]} now" for key in now if before.get(key, now[key]) != now[key]]
        if changed:
            self.console.print(
                f"resumed on another machine or version ({escape('; '.join(changed))}): losses continue, but not bit "
                "for bit"
            )

    def train(self, *, steps: int | None = None, minutes: float | None = None) -> int:
        """Run until the schedule ends, or this leg's `steps` or `minutes` do; returns the step reached.

        SIGINT and SIGTERM end the leg after the step at hand, with a checkpoint.
        """
        last = self.run.schedule.steps if steps is None else min(self.run.schedule.steps, self.step + steps)
        until = math.inf if minutes is None else time.monotonic() + 60 * minutes
        before = self._catch_signals()
        try:
            with held(self.folder) if self.ranks.first else nullcontext(), self.watch.running():
                try:
                    self._steps(last, until)
                except BaseException:
                    self.journal.end(self.step, "error")
                    raise
                done = self.step >= self.run.schedule.steps
                self.journal.end(self.step, "schedule" if done else "signal" if self._stopping else "leg")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return self.step

    def _steps(self, last: int, until: float) -> None:
        saved = self.step
        while self.step < last and not self.ranks.any(self._stopping or time.monotonic() >= until):
            if not self._one_step():
                continue
            if self.step % self.run.evaluate.every == 0 or self.step == self.run.schedule.steps:
                self._evaluate()
            if self.step % self.run.sample.every == 0:
                self._sample()
            if self.step % self.run.checkpoint.every == 0:
                self._save()
                saved = self.step
            if self.memory.due(self.step) and self.step < last:
                self.memory.save(self.step, self.optimizer.parts(), self._meta())
        if saved != self.step:
            self._save()
        self.saver.wait()
        self.memory.end()

    def _one_step(self) -> bool:
        """Whether the run is a step further."""
        began = time.perf_counter()
        self.watch.begin()
        worker, rows = self.worker, self.run.data.micro_batch
        at = self.step + self.detours.shift
        batch = self.plan.batch(at, rank=worker.data_index, world=worker.data_ranks, together=rows)
        result = worker.learner.learn(batch)
        norm = float(self.master.norm())
        if not math.isfinite(norm):
            self._skip_unfinite()
            return True
        spike = self.ranks.share(self.watch.spikes.seen(result.loss, norm)) if self.run.watch.spike else ""
        if spike and self.run.watch.on_spike == "rewind":
            return self._go_back(spike)
        if spike and self.run.watch.on_spike == "skip":
            self.watch.tell("spike", f"{spike}; skipped")
            self._skip([])
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

    def _go_back(self, spike: str) -> bool:
        """To a checkpoint before a spike, and on with other batches; where there is none, the step is skipped."""
        self.saver.wait()
        if self.detours.tries_from(self.step) > MOST_DETOURS:
            raise TrainingError(
                f"step {self.step}: {spike}; the run has gone back {MOST_DETOURS} times from there. Lower "
                "optimizer.lr, raise watch.spike or set watch.on_spike to skip, and go on with --resume"
            )
        checkpoint, _ = newest_checkpoint(self.checkpoints, self.ranks, until=self.detours.latest(self.step))
        if checkpoint is None:
            self.watch.tell("spike", f"{spike}; there is no checkpoint to go back to, the step is skipped")
            self._skip([])
            return True
        left, detours = self.step, self.detours.after(self.step, checkpoint.step)
        self.watch.tell("spike", f"{spike}; back to step {checkpoint.step}, and on with the batches after this one")
        self.master.clear()
        self._take(checkpoint)
        self.detours = detours
        self.master.publish()
        self.ranks.together(lambda: self._forget_after(checkpoint) if self.ranks.first else None)
        self.memory.forget(checkpoint.step)
        self.journal.write("rewind", step=left, to=checkpoint.step, shift=self.detours.shift)
        return False

    def _forget_after(self, checkpoint: Checkpoint) -> None:
        remove_after(self.checkpoints, checkpoint)
        self.journal.rewind(checkpoint.step)

    def _skip_unfinite(self) -> None:
        found = self.ranks.gather(self.master.not_finite())
        names = [self._named(rank, name) for rank, tensors in enumerate(found) for name in tensors]
        self.console.print(f"[yellow]step {self.step}: gradient not finite in {', '.join(names[:3])}; skipped[/yellow]")
        self._skip(names)
        if self._skips >= MOST_SKIPS:
            self.saver.wait()  # a checkpoint may still be on its way
            raise TrainingError(
                f"{MOST_SKIPS} steps in a row had no finite gradient (last in {', '.join(names[:1])}); lower "
                "optimizer.lr and optimizer.matrix_lr in the run file and go on from the last checkpoint with --resume"
            )

    def _skip(self, names: list[str]) -> None:
        """Leave this step's gradient out; `names` are the tensors in which it is not finite."""
        self.journal.write("skip", step=self.step, tensors=names)
        self.master.clear()
        self._skips += 1
        self.step += 1

    def _named(self, rank: int, name: str) -> str:
        return name if self.ranks.size == 1 else f"{name} of rank {rank}"

    def _log(self, result: StepResult, norm: float, rate: float, seconds: float) -> None:
        per_step = self.run.tokens_per_step
        flops = per_step * self.run.spec.training_flops_per_token(self.run.data.sequence)
        fields = {
            "step": self.step,
            "tokens": (self.step + 1) * per_step,
            "loss": result.loss,
            "router_loss": result.router_loss,
            "balance": result.balance,
            "counted": result.counted,
            "norm": norm,
            "rate": rate,
            "seconds": seconds,
            "tokens_per_s": per_step / seconds,
            "flops_per_s": flops / seconds,
        }
        self.journal.write("step", **fields)
        self.journal.tell_step(fields, self.run.schedule.steps)

    def _evaluate(self) -> None:
        if not self.held_out:
            return
        loss = self.worker.learner.measure(self.held_out)
        self.journal.write("evaluation", step=self.step - 1, tokens=self.step * self.run.tokens_per_step, loss=loss)
        self.console.print(f"held-out loss {loss:.4f} nats a token after {self.step:,} steps", highlight=False)

    def _sample(self) -> None:
        if self.worker.model is None:  # a part of a network cannot speak
            return
        for prompt in self.run.sample.prompts:
            text = sample_text(self.worker.model, self.data.tokenizer, prompt, self.run.sample.tokens, seed=self.step)
            self.journal.write("sample", step=self.step - 1, prompt=prompt, text=text)
            shown = escape(f"{prompt!r} -> {text!r}")  # a model may well write what looks like markup
            self.console.print(f"  {shown}", highlight=False)

    def _save(self) -> None:
        before = self.saver.held_up
        self.saver.save(self.step, self.optimizer.parts(), self._meta())
        self.journal.write("checkpoint", where="disk", step=self.step, seconds_held_up=self.saver.held_up - before)

    def _meta(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        return {
            **self.origin,
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
        self.ranks.together(lambda: self._export(folder) if self.ranks.first else None)

    def _export(self, folder: Path) -> None:
        newest = self.checkpoints / f"step-{self.step:08d}"
        model = self.worker.model or model_of(newest, self.run.spec, self.platform.dtype)
        save_model(model, folder, tokenizer=Path(self.run.data.path), replace=True)

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._stopping = True
            self.console.print("stopping after this step, with a checkpoint ...")

        return {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}

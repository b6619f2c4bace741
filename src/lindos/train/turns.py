"""Whose turn it is: which step comes next, which rows of its batch are this process's, and whether it counts.

A run of one group goes from step to step. Among replica groups that come and go, each step begins with who is there:
its batch is divided over them anew, and where one is lost on the way the step is done again by those who are left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lindos.data import Batch, BatchPlan
from lindos.specs import SpecError
from lindos.train.optimizer import Optimizer
from lindos.train.ranks import Ranks
from lindos.train.replicas import Replicas, Share
from lindos.train.run_file import RunFile
from lindos.train.step import Whole
from lindos.train.worker import Worker

ITS_OWN = ("name", "evaluate", "sample", "checkpoint", "log", "watch", "machine", "replicas", "start", "model")
"""Sections of a run file in which groups may differ; of model and start weights the content is compared."""


@dataclass(frozen=True)
class Turn:
    """What this process learns of a step."""

    step: int
    batch: Batch
    whole: Whole | None = None
    """The whole batch, where other groups learn the rest of it."""
    healed: bool = False
    """Whether weights and optimiser state were just taken from another group."""


class Turns(Protocol):
    def begin(self, step: int, shift: int) -> Turn:
        """The turn that comes after `step` steps, unless others are further on; `shift` batches were left out."""
        ...

    def commit(self) -> bool:
        """After `learn`: bring gradients together with the others. False where the step must be done again."""
        ...

    def go_to(self, step: int) -> None:
        """The weights are those after `step` steps now."""
        ...

    def close(self) -> None:
        """Nothing more is done here."""
        ...


class Alone:
    """Turns of a run of one group."""

    def __init__(self, run: RunFile, plan: BatchPlan, worker: Worker) -> None:
        self.plan, self.worker, self.rows = plan, worker, run.data.micro_batch

    def begin(self, step: int, shift: int) -> Turn:
        rank, world = self.worker.data_index, self.worker.data_ranks
        return Turn(step, self.plan.batch(step + shift, rank=rank, world=world, together=self.rows))

    def commit(self) -> bool:
        return True

    def go_to(self, step: int) -> None:
        pass

    def close(self) -> None:
        pass


class Among:
    """Turns of one group among others."""

    def __init__(
        self, run: RunFile, plan: BatchPlan, worker: Worker, optimizer: Optimizer, ranks: Ranks, fingerprint: bytes,
        step: int,
    ) -> None:  # fmt: skip
        """Opens the connection to the others. Raises SpecError and ReplicaError."""
        self.plan, self.worker, self.optimizer, self.rows = plan, worker, optimizer, run.data.micro_batch
        self.replicas = Replicas(run.replicas, ranks, self._state, fingerprint=fingerprint, step=step)
        self.idle = False

    def begin(self, step: int, shift: int) -> Turn:
        share = self.replicas.begin()
        if share.healed:
            self.worker.weights.publish()
        parts = self.plan.rows // self.rows
        most = parts // self.worker.data_ranks
        # With more groups than parts of a batch some learn what others do, too, and their sums are left out.
        self.idle = share.index >= most
        batch = self._rows(share, most)
        whole = Whole(int(self.plan.batch(share.step).loss_mask.sum()), parts, self._add_up)
        return Turn(share.step, batch, whole, share.healed)

    def _rows(self, share: Share, most: int) -> Batch:
        each, worker = self.worker.data_ranks, self.worker
        place = share.index % most * each + worker.data_index
        return self.plan.batch(share.step, rank=place, world=min(share.count, most) * each, together=self.rows)

    def commit(self) -> bool:
        self._add_up(list(self.worker.weights.gradients.values()))
        done = self.replicas.commit()
        if not done:
            self.worker.weights.clear()
        return done

    def go_to(self, step: int) -> None:
        self.replicas.go_to(step)

    def close(self) -> None:
        self.replicas.close()

    def _add_up(self, tensors: Sequence[Tensor]) -> None:
        if self.idle:
            for tensor in tensors:
                tensor.zero_()
        self.replicas.add_up(tensors)

    def _state(self) -> list[Tensor]:
        return [*self.worker.weights.masters.values(), *self.optimizer.state.values()]


def check_replicas(run: RunFile) -> None:
    """Raise SpecError for a run that cannot be one of several replica groups."""
    if run.replicas.name and not run.replicas.lighthouse:
        raise SpecError(
            f"replica group '{run.replicas.name}' has nowhere to look for the others: give --lighthouse, or "
            "replicas.lighthouse in the run file"
        )
    if run.replicas.lighthouse and not run.replicas.name:
        raise SpecError("replicas.lighthouse: the group needs a name; give --replica, another one in each group")
    apart = (
        (f"watch.on_spike = {run.watch.on_spike}", run.watch.spike > 0 and run.watch.on_spike != "tell"),
        ("checkpoint.memory_every", run.checkpoint.memory_every > 0),
    )
    for name, used in apart:
        if run.replicas.lighthouse and used:
            raise SpecError(f"{name} is not for replica groups that come and go: leave one of the two out")
    if run.replicas.lighthouse and run.layout.schedule in ("interleaved", "zero-bubble"):
        raise SpecError(
            f"layout: schedule = {run.layout.schedule} wants a fixed number of micro-batches, and replica groups that "
            "come and go change it; use 1f1b"
        )


def fingerprint_of(origin: dict[str, Any], *dtypes: torch.dtype) -> bytes:
    """32 bytes that are the same in groups which compute the same steps: of a run's origin, and what it computes in."""
    run = {key: value for key, value in origin["run"].items() if key not in ITS_OWN}
    run["data"] = {key: value for key, value in run["data"].items() if key != "path"}
    text = json.dumps({**origin, "run": run, "dtypes": [str(dtype) for dtype in dtypes]}, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()

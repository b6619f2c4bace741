"""Replica groups: copies of a run that add up their gradients, and of which any may die and come back, by torchft.

To torch each group is a run of its own (one process, or those of one torchrun); between groups only this module speaks.
A step goes

    share = replicas.begin()        who takes part in which step; a group that is behind has been healed
    learn(batch of share)           the step's batch is divided over those who take part, so none of it is lost
    replicas.add_up(gradients)      plain sums between groups; never raises
    if replicas.commit(): step      else the same step again, with those who are left

and what a step computes depends on (seed, step) only, up to rounding: not on who was there.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ReduceOp, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from lindos.specs import LindosError, SpecError
from lindos.train.ranks import Ranks
from lindos.train.run_file import ReplicasSection
from lindos.train.visiting import connection_of, own_address, transport_of

State = list[Tensor]
TRIES = 10
"""So many failures in a row to agree with the others, or to add up, end this group."""
LIGHTHOUSE_TRIES = 1000
"""How often a lighthouse that is away is asked again: without, one that is started again would end all groups."""


class ReplicaError(LindosError):
    """This group cannot work with the others; started again, it may."""


@dataclass(frozen=True)
class Share:
    """A group's part of a step."""

    step: int
    index: int
    """Which of the `count` groups that take part this is."""
    count: int
    healed: bool = False
    """Whether weights and state were just taken from another group."""


class Replicas:
    """This group among all. Made on all of its ranks, after `init_process_group`."""

    def __init__(
        self, section: ReplicasSection, ranks: Ranks, state: Callable[[], State], *, fingerprint: bytes, step: int = 0
    ) -> None:
        """`state` gives what another group needs to go on, always the same tensors, shapes and order on all groups;
        `fingerprint` (32 bytes) is that of all groups of the run. Raises SpecError where torchft is missing or no
        lighthouse answers."""
        torchft = require_torchft()
        # torchft calls Logger.warn where torch was built without NCCL, within a try: were it an error, no step would
        # ever be committed.
        warnings.filterwarnings("ignore", "The 'warn' method is deprecated", DeprecationWarning)
        logging.getLogger("torchft.manager").setLevel(logging.CRITICAL)  # a traceback for every tensor of a lost step
        self.section, self.ranks, self.state = section, ranks, state
        self._found: State | None = None
        self._begun = False
        host = ranks.together(lambda: own_address(section.lighthouse, section.patience) if ranks.first else "")
        # A store of this life of this group: torchrun's outlives its ranks, with the addresses of the dead.
        self.store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if ranks.first else None
        host, port = ranks.share((host, self.store.port if self.store else 0))
        patience = timedelta(seconds=section.patience)
        self.connection = connection_of(torchft, patience, fingerprint)
        self.manager: Any = torchft.Manager(
            pg=self.connection,
            load_state_dict=self._keep,
            state_dict=state,
            min_replica_size=1,  # with fewer than `least` nothing is tried, rather than tried in vain
            use_async_quorum=False,  # the batch is divided by who takes part, so that must be known before it is read
            timeout=patience,
            quorum_timeout=timedelta(seconds=section.wait),
            connect_timeout=patience,
            rank=ranks.rank,
            world_size=ranks.size,
            store_addr=host,
            store_port=port,
            lighthouse_addr=section.lighthouse,
            replica_id=section.name,
            hostname=host,
            checkpoint_transport=transport_of(self.connection, state),
            init_sync=False,  # fresh weights are a function of the seed
            max_retries=TRIES,
            quorum_retries=LIGHTHOUSE_TRIES,
        )
        self.share = Share(step, 0, 1)
        self.go_to(step)

    def go_to(self, step: int) -> None:
        """This group has done `step` steps, by a checkpoint say; the others will see."""
        self.manager.load_state_dict({"step": step, "batches_committed": 0})

    def begin(self) -> Share:
        """Wait until the others come to a step too, and agree who takes part. Raises SpecError where the others train
        another run, ReplicaError where agreeing fails for good."""
        healed, until = False, time.monotonic() + self.section.wait
        while True:
            try:
                while not self._agreed():
                    pass
            except (RuntimeError, TimeoutError) as error:
                raise ReplicaError(f"this group does not come together with the others: {error}") from None
            healed = self._take_found() or healed
            manager = self.manager
            rank, count = manager.participating_rank(), manager.num_participants()
            if count >= self.section.least:
                break
            if self.ranks.any(time.monotonic() >= until):
                told = f"{count} of at least {self.section.least} groups came within {self.section.wait:g} s"
                raise ReplicaError(f"{told} (replicas.least, replicas.wait)")
            time.sleep(0.2)
        self._begun = True
        self.share = Share(manager.current_step(), rank, count, healed)
        return self.share

    def _take_found(self) -> bool:
        found, self._found = self._found, None
        for mine, theirs in zip(self.state(), found or [], strict=found is not None):
            mine.copy_(theirs)
        return found is not None

    def _agreed(self) -> bool:
        """Try once to join the others on all ranks of this group: not even one may keep what it was healed with, unless
        all can."""
        before = self.manager.state_dict()
        self._found = None
        self.manager.start_quorum()
        if not self.ranks.any(self.manager.errored() is not None):
            return True
        if self.ranks.any(self.connection.strange) and not self._begun:  # who was there before stays
            raise SpecError(
                "this group and the others train different runs: model, start weights, data, micro_batch, optimizer, "
                "schedule, layout and precision must be the same in all of them"
            )
        self.manager.load_state_dict(before)
        self.manager.report_error(RuntimeError("a rank of this group could not join the others"))
        self.connection.abort()  # its neighbours need not wait for it
        self.manager.should_commit()
        return False

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over the groups that take part, in one exchange. After a failure
        they hold anything; `commit` says so."""
        if self.share.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]).cpu()  # gloo's way between processors' memories
        self.manager.allreduce(flat, reduce_op=ReduceOp.SUM).wait()
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def commit(self) -> bool:
        """Whether the sums are good on all ranks of this group; the step counts as done then. Raises ReplicaError when
        that was not so too often in a row, or a rank of this group is gone."""
        try:
            return self.manager.should_commit()
        except (RuntimeError, TimeoutError) as error:
            raise ReplicaError(f"this group's sums with the others fail again and again: {error}") from None

    def close(self) -> None:
        """Leave the others, who go on without this group."""
        self.manager.shutdown(wait=False)

    def _keep(self, found: State) -> None:
        self._found = found


def require_torchft() -> Any:
    """The package. Raises SpecError where it is not installed."""
    os.environ.setdefault("RUST_LOG", "error")  # what its servers log of every group at every step is for its makers
    try:
        import torchft
    except ImportError as error:
        raise SpecError(
            f'replica groups that come and go: {error}; pip install "lindos[torchft]" (Linux on x86-64, Python before '
            "3.14)"
        ) from None
    return torchft

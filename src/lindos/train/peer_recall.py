"""After a restart: which step lies in the machines' memories whole, and who sends whom what.

Ranks may be numbered otherwise than before and machines may be others, so nobody relies on where a copy was put: all
tell what they see. Checksums are only computed where they matter: of a rank's own part, and of what another wants.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch.distributed as dist
from safetensors import SafetensorError

from lindos.specs import LindosError
from lindos.train.checkpoint import Checkpoint, CheckpointError, Parts
from lindos.train.machine import local_processes
from lindos.train.peer_files import Copy, Draft, copies, mapped, open_home, pieces, restore_copy
from lindos.train.ranks import ElsewhereError, Ranks

DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError)


class Moment(NamedTuple):
    """What copies must share to be put together: the step, and the leg that did it.

    A machine may come back with copies of a step that the run has done again since, in a leg with other rates.
    """

    step: int
    began: int
    """When the leg began, in nanoseconds since 1970 of two legs that did a step, the later holds."""


class Transfer(NamedTuple):
    """A part that a rank wants and another one has."""

    receiver: int
    """Which is its owner."""
    sender: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Remembered(Checkpoint):
    """A checkpoint from memory. Its `path` is this rank's own part: the others are where they are wanted."""

    where: ClassVar[str] = "memory"

    def check_names(self, names: Iterable[str]) -> None:
        """Nothing to ask of the whole: copies of another model, optimiser or layout were passed over."""

    def restore(self, parts: Parts) -> None:
        """Copy this rank's part into `parts`. Raises CheckpointError where they are not of the same tensors."""
        restore_copy(self.path, parts)


def newest_whole(told: Iterable[Mapping[Moment, Iterable[int]]], world: int) -> Moment | None:
    """The newest moment of which the parts of all ranks are somewhere; each of `told` is what one rank sees."""
    found: defaultdict[Moment, set[int]] = defaultdict(set)
    for seen in told:
        for moment, owners in seen.items():
            found[moment].update(owners)
    return max((moment for moment, owners in found.items() if owners >= set(range(world))), default=None)


def transfers(wanting: Sequence[int], offers: Sequence[Mapping[int, tuple[int, str]]]) -> list[Transfer] | None:
    """One sender for each rank that wants its part, the one with the least to send; None where nobody has one.

    `offers` are, by rank, the owners whose parts it has, with size and checksum.
    """
    plan: list[Transfer] = []
    load: Counter[int] = Counter()
    for owner in wanting:
        having = [rank for rank, offered in enumerate(offers) if owner in offered]
        if not having:
            return None
        sender = min(having, key=lambda rank: (load[rank], rank))
        load[sender] += 1
        plan.append(Transfer(owner, sender, *offers[sender][owner]))
    return plan


def recall(
    home: Path, ranks: Ranks, after: int, check: Callable[[dict[str, Any]], None]
) -> tuple[Remembered | None, list[str]]:
    """The newest checkpoint in memory that is newer than step `after`, and why newer ones were passed over.

    The same on all ranks, which then have their own part at hand. `check` raises LindosError for the meta of a copy
    that this run cannot go on from. A step with a part of which no copy is whole is passed over.
    """
    seen, passed = _seen(home, after, check)
    while (moment := ranks.share(newest_whole(ranks.gather(_owners(seen)), ranks.size))) is not None:
        try:
            own = _obtain(home, moment, seen.pop(moment, []), ranks, passed)
            return Remembered(own.path, own.meta), _all_of(passed, ranks)
        except (OSError, ElsewhereError, CheckpointError) as error:
            passed.append(f"step {moment.step} in memory is passed over: {ranks.share(str(error))}")
    return None, _all_of(passed, ranks)


def _seen(
    home: Path, after: int, check: Callable[[dict[str, Any]], None]
) -> tuple[dict[Moment, list[Copy]], list[str]]:
    seen: dict[Moment, list[Copy]] = {}
    passed: list[str] = []
    for copy in copies(home):
        if copy.step <= after:
            continue
        try:
            check(copy.meta)
            seen.setdefault(Moment(copy.step, int(copy.meta["began"])), []).append(copy)
        except LindosError as error:
            passed.append(f"step {copy.step} in memory is passed over: {error}")
        except DAMAGED:
            passed.append(_damaged(copy))
    return seen, passed


def _owners(seen: dict[Moment, list[Copy]]) -> dict[Moment, set[int]]:
    return {moment: {copy.owner for copy in found} for moment, found in seen.items()}


def _obtain(home: Path, moment: Moment, found: list[Copy], ranks: Ranks, passed: list[str]) -> Copy:
    """This rank's own part, verified; it is sent to those whose machine has none.

    Raises CheckpointError on all ranks where a part is nowhere whole, OSError or ElsewhereError where one cannot be
    taken in.
    """
    own = next((copy for copy in found if copy.owner == ranks.rank and _whole(copy, passed)), None)
    wanting = ranks.share([rank for rank, has in enumerate(ranks.gather(own is not None)) if not has])
    if not wanting:
        assert own is not None
        return own
    offered = _offered(found, set(wanting), passed)
    told = ranks.gather({owner: (copy.size, copy.sha256) for owner, copy in offered.items()})
    plan = ranks.share(transfers(wanting, told))
    if plan is None:
        raise CheckpointError("a part of it is nowhere whole")
    own = _carry_out(plan, home, moment, offered, ranks) or own
    assert own is not None
    return own


def _offered(found: list[Copy], wanted: set[int], passed: list[str]) -> dict[int, Copy]:
    """By owner: a whole copy that this rank can send. Ranks of one machine, who see the same, look at some each."""
    index = int(os.environ.get("LOCAL_RANK", "0"))
    candidates = [copy for copy in found if copy.owner in wanted][index :: local_processes()]
    return {copy.owner: copy for copy in candidates if _whole(copy, passed)}


def _carry_out(plan: list[Transfer], home: Path, moment: Moment, offered: dict[int, Copy], ranks: Ranks) -> Copy | None:
    """Send and receive, all ranks in the order of the plan, so that nobody waits in a circle. What this rank got."""
    wanted = next((each for each in plan if each.receiver == ranks.rank), None)
    path = home / f"rank-{ranks.rank:05d}" / ".writing-own"
    draft = ranks.together(lambda: _room(path, wanted.size) if wanted else None)
    for each in plan:
        if ranks.rank == each.sender:
            for piece in pieces(mapped(offered[each.receiver].path)):
                dist.send(piece, each.receiver, group=ranks.group)
        elif draft is not None and ranks.rank == each.receiver:
            for piece in pieces(draft.bytes):
                dist.recv(piece, each.sender, group=ranks.group)
                draft.add(piece)
    return ranks.together(lambda: _taken(draft, wanted, moment) if draft and wanted else None)


def _room(path: Path, size: int) -> Draft:
    open_home(path.parent.parent)
    return Draft(path, size)


def _taken(draft: Draft, wanted: Transfer, moment: Moment) -> Copy:
    if draft.sha256 != wanted.sha256:
        raise CheckpointError(f"what rank {wanted.sender} sent of it is damaged")
    return Copy(draft.finish(moment.step, wanted.receiver), moment.step, wanted.receiver, draft.sha256)


def _whole(copy: Copy, passed: list[str]) -> bool:
    if copy.whole():
        return True
    passed.append(_damaged(copy))
    copy.path.unlink(missing_ok=True)
    return False


def _damaged(copy: Copy) -> str:
    return f"step {copy.step} in memory: the copy of rank {copy.owner}'s part in {copy.path.parent} is damaged"


def _all_of(passed: list[str], ranks: Ranks) -> list[str]:
    """What all ranks passed over, once each."""
    return ranks.share(sorted({line for told in ranks.gather(passed) for line in told}))

"""A rank and its partners: whoever keeps its copies, and whose copies it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch
import torch.distributed as dist
from torch import Tensor

from lindos.train.checkpoint import CheckpointError
from lindos.train.peer_files import Draft, pieces
from lindos.train.ranks import Ranks


@dataclass(frozen=True)
class Partners:
    """Everybody sends to the rank `distance` further on: on another machine, where there are several."""

    ranks: Ranks
    distance: int
    """As many as the largest machine has ranks."""

    @property
    def keeper(self) -> int:
        """Who keeps this rank's copies."""
        return (self.ranks.rank + self._distance) % self.ranks.size

    @property
    def kept(self) -> int:
        """Whose copies this rank keeps; itself where it is alone."""
        return (self.ranks.rank - self._distance) % self.ranks.size

    @property
    def _distance(self) -> int:
        return self.distance if self.distance < self.ranks.size else 1

    def exchange(self, own: Draft, room: Callable[[int], Draft]) -> dict[int, Draft]:
        """Send `own` and receive another's into what `room` gives for its size. By owner, what this rank then has.

        Raises on all ranks where one has no room (OSError, ElsewhereError) or a copy arrived damaged (CheckpointError,
        ElsewhereError), and RuntimeError where somebody is gone.
        """
        if self.ranks.size == 1:
            for piece in pieces(own.bytes):
                own.add(piece)
            return {self.ranks.rank: own}
        size = torch.zeros(1, dtype=torch.int64)
        self._swap(torch.tensor([len(own.bytes)]), size)
        kept = self.ranks.together(lambda: room(int(size)))
        for out, into in _side_by_side(own, kept):
            self._swap(out, into, own)
            kept.add(into)
        told = torch.zeros(32, dtype=torch.uint8)
        self._swap(torch.frombuffer(bytearray.fromhex(own.sha256), dtype=torch.uint8), told)
        self.ranks.together(lambda: _confirm(kept, bytes(told.tolist()).hex()))
        return {self.ranks.rank: own, self.kept: kept}

    def _swap(self, out: Tensor, into: Tensor, draft: Draft | None = None) -> None:
        """Send and receive at once; what is sent of `draft` joins its checksum meanwhile."""
        group = self.ranks.group
        works = [dist.isend(out, self.keeper, group=group)] if len(out) else []
        works += [dist.irecv(into, self.kept, group=group)] if len(into) else []
        if draft is not None:
            draft.add(out)
        for work in works:
            assert work is not None
            work.wait()


def _side_by_side(own: Draft, kept: Draft) -> Iterator[tuple[Tensor, Tensor]]:
    """What to send and what to receive at once; of the shorter one, nothing in the end."""
    nothing = torch.empty(0, dtype=torch.uint8)
    return zip_longest(pieces(own.bytes), pieces(kept.bytes), fillvalue=nothing)


def _confirm(kept: Draft, sha256: str) -> None:
    if kept.sha256 != sha256:
        raise CheckpointError("a copy arrived damaged")

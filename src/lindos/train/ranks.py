"""What processes tell each other besides tensors: who has written what, what went wrong, which checkpoint to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from lindos.specs import LindosError, SpecError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all; alone by default. Objects go over a group of their own, beside the tensors' ones."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    @classmethod
    def all(cls) -> Ranks:
        """Everybody, over processor memory whatever the tensors' exchanges use. Opens a group: call it on all ranks."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def first(self) -> bool:
        """Whether this is the rank that speaks for all."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """What everybody has, in the order of ranks, on the first rank; an empty list elsewhere."""
        if self.size == 1:
            return [mine]
        found: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(mine, found, dst=0, group=self.group)
        return found or []

    def share(self, mine: T) -> T:
        """What the first rank has."""
        if self.size == 1:
            return mine
        box: list[Any] = [mine]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def any(self, mine: bool) -> bool:
        """Whether it is so on any rank."""
        if self.size == 1:
            return mine
        votes = torch.tensor(int(mine))
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self.group)
        return bool(votes)

    def alike(self, mine: dict[str, Any]) -> None:
        """Raise SpecError, on all ranks, where any has something else than the first one."""
        told = self.gather(mine)
        odd = [
            f"rank {rank} has {key} {each[key]}, rank 0 {told[0][key]}"
            for rank, each in enumerate(told)
            for key in each
            if each[key] != told[0][key]
        ]
        first = self.share(odd[0] if odd else "")
        if first:
            raise SpecError(f"the machines of this run differ: {first}; say what to take in the run file's [machine]")

    def together(self, work: Callable[[], T]) -> T:
        """`work()`, where it went well on all ranks. Else all raise: their own error, or the first of others."""
        trouble: Exception | None = None
        result: T | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again below, when all know
            trouble = error
        if not self.any(trouble is not None):
            return result  # type: ignore[return-value]
        told = self.gather("" if trouble is None else f"rank {self.rank}: {trouble}")
        first = self.share(next((text for text in told if text), ""))
        if trouble is not None:
            raise trouble
        if first:
            raise ElsewhereError(first)
        return result  # type: ignore[return-value]


class ElsewhereError(LindosError):
    """Another rank failed; the text says which, and how."""

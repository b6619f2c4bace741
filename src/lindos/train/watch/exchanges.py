"""What this rank waits for: every exchange of PyTorch's process groups is noted while it lasts.

The groups' own methods are wrapped, for FSDP and pipelines call them as well as this room does. On processors an
exchange lasts until the call or its `wait` returns; on accelerators both return at once, and what is noted there is
when something was last asked for.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch.distributed as dist
from torch import Tensor

ASIDE = ("checkpoint", "memory checkpoint")
"""Names of threads whose exchanges are not the training's."""
OPERATIONS = {
    "allreduce": "all-reduce", "_allgather_base": "all-gather", "all_gather_single": "all-gather",
    "allgather": "all-gather", "_reduce_scatter_base": "reduce-scatter", "reduce_scatter_single": "reduce-scatter",
    "alltoall_base": "all-to-all", "all_to_all_single": "all-to-all", "broadcast": "broadcast", "gather": "gather",
    "scatter": "scatter", "send": "send", "recv": "receive", "barrier": "barrier",
}  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """One exchange this rank takes part in."""

    operation: str
    group: Any
    """The process group."""
    peer: int | None
    """Of a send or receive: the other one's number in the group."""
    bytes: int
    began: float
    """On the monotonic clock: when this rank began to wait for it."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Whom it is among, of a send or receive the other one alone; empty for a group that torch does not list, as
        those that join replica groups."""
        try:
            ranks = dist.get_process_group_ranks(self.group)
        except (KeyError, ValueError, RuntimeError):
            return ()
        return tuple(ranks) if self.peer is None else (ranks[self.peer],)


@dataclass
class Exchanges:
    """The exchanges of this process."""

    waited: float = 0.0
    """Seconds that the training has spent in exchanges."""
    moved: float = field(default_factory=time.monotonic)
    """When an exchange last began or ended."""
    now: Exchange | None = None
    """The one that the training waits for."""
    _asked: dict[int, Exchange] = field(default_factory=dict)

    @contextmanager
    def noted(self) -> Iterator[Exchanges]:
        """Within it, all exchanges are."""
        plain: dict[tuple[type, str], Any] = {}
        for name, operation in OPERATIONS.items():
            if hasattr(dist.ProcessGroup, name):
                # From the class's own table: what `getattr` gives no longer binds when it is put back.
                plain[dist.ProcessGroup, name] = vars(dist.ProcessGroup)[name]
                setattr(dist.ProcessGroup, name, self._asking(operation, getattr(dist.ProcessGroup, name)))
        plain[dist.Work, "wait"] = vars(dist.Work)["wait"]
        dist.Work.wait = self._waiting(dist.Work.wait)  # type: ignore[method-assign]
        try:
            yield self
        finally:
            for (kind, name), method in plain.items():
                setattr(kind, name, method)

    def _asking(self, operation: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def call(group: dist.ProcessGroup, *args: Any, **kwargs: Any) -> Any:
            exchange = Exchange(operation, group, _peer(operation, args), _bytes(args), time.monotonic())
            work = self._through(exchange, lambda: plain(group, *args, **kwargs))
            if work is not None:
                self._asked[id(work)] = exchange
            return work

        return call

    def _waiting(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def wait(work: dist.Work, *args: Any, **kwargs: Any) -> Any:
            asked = self._asked.pop(id(work), None)
            if asked is None:
                return plain(work, *args, **kwargs)
            waiting = replace(asked, began=time.monotonic())
            return self._through(waiting, lambda: plain(work, *args, **kwargs))

        return wait

    def _through(self, exchange: Exchange, call: Callable[[], Any]) -> Any:
        if threading.current_thread().name in ASIDE:
            return call()
        self.now, self.moved = exchange, exchange.began
        try:
            return call()
        finally:
            self.now, self.moved = None, time.monotonic()
            self.waited += self.moved - exchange.began

    def forget(self) -> None:
        """What was asked for in a step and never waited for."""
        self._asked.clear()


def _peer(operation: str, args: tuple[Any, ...]) -> int | None:
    if operation not in ("send", "receive") or len(args) < 2:
        return None
    return args[1] if isinstance(args[1], int) else None


def _bytes(args: tuple[Any, ...]) -> int:
    """Of the first tensors among the arguments."""
    for arg in args:
        tensors = [each for each in (arg if isinstance(arg, list) else [arg]) if isinstance(each, Tensor)]
        if tensors:
            return sum(each.numel() * each.element_size() for each in tensors)
    return 0

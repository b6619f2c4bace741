"""What training code does, watched operation by operation: floating-point operations, exchanges, memory.

The same watcher sees a rehearsal on tensors without values and a real step, so that one can be held against the other.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KINDS = ("weights", "gradients", "optimizer", "activations", "buffers")


class Exchanged(NamedTuple):
    """A kind of exchange: what, and among which ranks."""

    operation: str
    ranks: tuple[int, ...]


@dataclass
class Event:
    """Memory taken (a positive number of bytes) or given back."""

    storage: int
    bytes: int
    backward: bool
    """Whether a backward pass was running."""
    phase: str


@dataclass
class Observer:
    """What was seen so far."""

    flops: Counter[str] = field(default_factory=Counter)
    """By operation."""
    counts: Counter[Exchanged] = field(default_factory=Counter)
    moved: Counter[Exchanged] = field(default_factory=Counter)
    """Bytes that passed through this rank's link: of a gather or scatter among n ranks (n-1)/n of the whole."""
    events: list[Event] = field(default_factory=list)
    kinds: dict[int, str] = field(default_factory=dict)
    """What storages are for, where somebody said it, by their numbers."""
    times: float = 1.0
    """How often what is watched now would happen: a rehearsal may do one of several like things."""
    phase: str = ""
    """What the code watched is at, for whoever wants to tell events apart."""
    on_mark: Callable[[str], object] = str
    """Called with the name of every stretch of code that PyTorch marks for its profiler."""
    _numbers: dict[int, int] = field(default_factory=dict)

    def tell(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Say what the memory of these tensors is for."""
        for tensor in tensors:
            number = self._numbers.get(tensor.untyped_storage()._cdata)
            if number is not None:
                self.kinds[number] = kind

    def timeline(self) -> list[dict[str, int]]:
        """Bytes by kind after every event. What nobody spoke of are activations where a forward pass leaves them to a
        backward pass, else buffers."""
        taken = {event.storage: event for event in self.events if event.bytes > 0}
        freed = {event.storage: event for event in self.events if event.bytes < 0}
        held: dict[str, int] = dict.fromkeys(KINDS, 0)
        found = []
        for event in self.events:
            kind = self.kinds.get(event.storage)
            if kind is None:
                end = freed.get(event.storage)
                kept = not taken[event.storage].backward and end is not None and end.backward
                kind = "activations" if kept else "buffers"
            held[kind] += event.bytes
            found.append(dict(held))
        return found

    def peaks(self) -> dict[str, dict[str, int]]:
        """Bytes by kind when most are held, of every phase."""
        found: dict[str, dict[str, int]] = {}
        for event, held in zip(self.events, self.timeline(), strict=True):
            if event.phase not in found or sum(held.values()) > sum(found[event.phase].values()):
                found[event.phase] = held
        return found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """All that happens within is seen."""
        mode, plain = _Watching(self), torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            before = storage.nbytes()
            done = plain(storage, size)
            mode.resized(storage, before)
            return done

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign]
        try:
            with mode:
                yield
        finally:
            torch.UntypedStorage.resize_ = plain  # type: ignore[method-assign]


class _Watching(TorchDispatchMode):
    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self.observer = observer
        self._sizes: dict[int, int] = {}
        self._next = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name == "profiler._record_function_enter_new.default":
            self.observer.on_mark(args[0])
        result = func(*args, **(kwargs or {}))
        if any(issubclass(kind, DTensor) for kind in types):
            return result  # what it does with its local parts is seen on its own
        formula = FLOPS.get(name)
        if formula is not None:
            self.observer.flops[name.split(".")[1].strip("_")] += round(formula(*args) * self.observer.times)
        if func.namespace == "c10d":
            self._exchange(name.split(".")[1], args)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not isinstance(tensor, DTensor):
                self._taken(tensor.untyped_storage())
        return result

    def _exchange(self, operation: str, args: Any) -> None:
        group = next(a for a in args if isinstance(a, torch.ScriptObject) and "ProcessGroup" in str(a._type()))
        ranks = tuple(dist.get_process_group_ranks(dist.ProcessGroup.unbox(group)))
        kind = Exchanged(NAMES.get(operation, operation), ranks)
        self.observer.counts[kind] += 1
        self.observer.moved[kind] += _moved(operation, args, len(ranks))

    def _taken(self, storage: torch.UntypedStorage) -> None:
        address, numbers = storage._cdata, self.observer._numbers
        if address in numbers:
            return
        number = numbers[address] = self._next  # addresses are used again, numbers are not
        self._next += 1
        self._sizes[number] = storage.nbytes()
        self._note(number, storage.nbytes())
        weakref.finalize(storage, self._given_back, address, number)

    def _given_back(self, address: int, number: int) -> None:
        self.observer._numbers.pop(address, None)
        self._note(number, -self._sizes.pop(number, 0))

    def resized(self, storage: torch.UntypedStorage, before: int) -> None:
        """A storage has grown or shrunk in place."""
        number = self.observer._numbers.get(storage._cdata)
        if number is None:
            self._taken(storage)
            return
        self._sizes[number] = storage.nbytes()
        self._note(number, storage.nbytes() - before)

    def _note(self, number: int, size: int) -> None:
        if size:
            backward = torch._C._current_graph_task_id() != -1
            self.observer.events.append(Event(number, size, backward, self.observer.phase))


def _product(x: Tensor, w: Tensor, *_rest: Any) -> int:
    return 2 * math.prod(x.shape) * w.shape[-1]


def _added_product(_into: Tensor, x: Tensor, w: Tensor, *_rest: Any) -> int:
    return _product(x, w)


FLOPS: dict[str, Callable[..., int]] = {
    "aten.mm.default": _product,
    "aten.mm.out": _product,
    "aten.bmm.default": _product,
    "aten.addmm.default": _added_product,
    "aten.addmm_.default": _added_product,
    "aten._grouped_mm.default": _product,
}
"""Multiplications and additions of products; the rest is not worth counting. Rows of a grouped product meet one matrix
each, and those of its weight gradient one row of the other side."""

NAMES = {
    "_allgather_base_": "all-gather",
    "_reduce_scatter_base_": "reduce-scatter",
    "allreduce_": "all-reduce",
    "alltoall_base_": "all-to-all",
    "send": "send",
    "recv_": "receive",
    "broadcast_": "broadcast",
}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _moved(operation: str, args: Any, ranks: int) -> int:
    """Bytes through this rank's link, by ring algorithms (https://doi.org/10.1177/1094342005051521)."""
    first = args[0] if isinstance(args[0], list) else [args[0]]
    if operation == "_allgather_base_":
        return _bytes(first) * (ranks - 1) // ranks
    if operation == "_reduce_scatter_base_":
        return _bytes([args[1]]) * (ranks - 1) // ranks
    if operation == "allreduce_":
        return 2 * _bytes(first) * (ranks - 1) // ranks
    if operation == "alltoall_base_":
        return _bytes([args[1]]) * (ranks - 1) // ranks
    return 0 if operation == "recv_" else _bytes(first)

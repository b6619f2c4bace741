"""Experts in memory, as many as there is room for, and the rest on the disk.

What a layer's router has chosen is fetched: experts that are in memory are given out first, and computed with while the
others are read. Each layer has its share of memory. Of it, what a step does not use gives way to what it reads, the
one unused for longest first; what finds no place there goes through a few places that all layers share. So a single
conversation, which often chooses the same experts again, finds the last ones in memory, and a *sweep*, a step of so
many tokens that it goes through nearly all experts of every layer, finds as many as fit and does not push them out. A
sweep also reads ahead of the layer that computes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from lindos.kernels.directfile import DirectReader, Region, aligned
from lindos.kernels.packing import Packed
from lindos.kernels.products import ExpertTable
from lindos.kernels.twins import PackedExpert
from lindos.model.formats.packedfiles import ExpertPlace

PASSING = 64 << 20
"""Bytes of the places that all layers share, and two places more: enough for a disk to be busy all the time."""
SWEEP = 3
"""Choices a step makes for each expert of a layer, from which on it is a sweep: 95% of the experts are then chosen
where routing is even (1 - e^-3)."""

Key = tuple[int, int]
"""Layer and expert."""


@dataclass
class StoreStats:
    """What the store has done since its start."""

    hits: int = 0
    """Experts chosen that were in memory."""
    misses: int = 0
    """Experts chosen that had to be read, or were being read."""
    bytes_read: int = 0
    bytes_needed: int = 0
    """Of the misses: what reading nothing in vain and nothing twice would have read."""

    def counts(self) -> dict[str, int]:
        """As the engine's statistics name them."""
        return {f"expert_{name}": count for name, count in asdict(self).items()}


@dataclass(eq=False)
class _Slot:
    """Room for one expert, and what is in it."""

    bytes: NDArray[np.uint8]
    reads: list[Future[None]] = field(default_factory=list)
    """Not yet looked at; empty once the expert stands in its table."""
    pinned: bool = False
    """Waits to be computed with."""

    @property
    def arrived(self) -> bool:
        return all(read.done() for read in self.reads)


class ExpertStore:
    """The experts of all layers. One thread."""

    def __init__(
        self, reader: DirectReader, places: Sequence[Sequence[ExpertPlace]], tables: Sequence[ExpertTable], slots: int
    ) -> None:
        """`places[layer][expert]`, all of one size; experts that are in memory stand in their layer's table.

        Raises ReadError when the system has no room for so many `slots`.
        """
        self.stats = StoreStats()
        self._reader = reader
        self._places = places
        self._tables = tables
        self.slots = max(1, min(slots, self.experts))
        self._region = Region(self.slots * self.slot_bytes)
        room = [self._slot(index) for index in range(self.slots)]
        self._empty: list[list[_Slot]] = [[room.pop() for _ in range(share)] for share in self._shares()]
        self._kept: list[OrderedDict[int, _Slot]] = [OrderedDict() for _ in places]  # the longest unused in front
        self._idle = room  # of the places that all layers share
        self._passing: OrderedDict[Key, _Slot] = OrderedDict()
        self._early: set[Key] = set()
        """Those of `_passing` that were read for a layer that has not come yet."""
        self._pinned: list[_Slot] = []

    @property
    def experts(self) -> int:
        """Of all layers together."""
        return sum(map(len, self._places))

    @property
    def complete(self) -> bool:
        """Whether there is room for all."""
        return self.slots == self.experts

    @property
    def slot_bytes(self) -> int:
        """Memory one expert takes."""
        return aligned(0, self._places[0][0].size)[1]

    def load(self, report: Callable[[int], None]) -> None:
        """Read the first experts of each layer, as many as stay in memory; `report` gets the bytes of each.

        Raises ReadError.
        """
        keys = [(layer, expert) for layer, slots in enumerate(self._empty) for expert in range(len(slots))]
        started = 0
        for number, key in enumerate(keys):
            while started < min(len(keys), number + 4):
                layer, expert = keys[started]
                self._start((layer, expert), self._empty[layer].pop(), keep=True)
                started += 1
            self._finish(key)
            report(self._place(key).size)

    def fetch(self, layer: int, chosen: Sequence[int], choices: int) -> Iterator[list[int]]:
        """Give out the experts chosen in a layer, each once, as they are in memory.

        What was given out may leave memory when the next are asked for. `choices` is how many the step's tokens made
        together. Raises ReadError; experts already given out stay valid.
        """
        self._release(self._pinned)  # of a step that failed
        present = self._look_up(layer, chosen)
        waiting = [expert for expert in chosen if expert not in present]
        sweep = choices >= SWEEP * len(self._places[layer])
        used = frozenset(chosen)
        self._read(layer, waiting, used, sweep)
        while present or waiting:
            present = present or self._arrived(layer, waiting)
            yield present
            self._release([slot for expert in present if (slot := self._find((layer, expert)))])
            present = []
            self._read(layer, waiting, used, sweep)

    def close(self) -> None:
        """After the reads that are under way."""
        self._reader.close()

    def _shares(self) -> list[int]:
        """How many experts of each layer stay in memory."""
        if self.complete:
            return [len(found) for found in self._places]
        passing = max(2, min(self.slots // 3, -(-PASSING // self.slot_bytes) + 2))
        each, more = divmod(max(0, self.slots - passing), len(self._places))
        return [each + (layer < more) for layer in range(len(self._places))]

    def _look_up(self, layer: int, chosen: Sequence[int]) -> list[int]:
        """Those in memory; all that are there or on their way stay until they are computed with. Counts."""
        present = []
        for expert in chosen:
            key = layer, expert
            slot = self._find(key)
            hit = slot is not None and key not in self._early
            self.stats.hits += hit
            self.stats.misses += not hit
            self.stats.bytes_needed += 0 if hit else self._place(key).size
            if slot is not None:
                self._pin(slot)
                if expert in self._kept[layer]:
                    self._kept[layer].move_to_end(expert)
                if slot.arrived:
                    self._finish(key)
                    present.append(expert)
        self._early -= {key for key in self._early if key[0] == layer}
        return present

    # Which are read next, and where to.

    def _read(self, layer: int, waiting: Sequence[int], used: frozenset[int], sweep: bool) -> None:
        """Begin to read what is waited for, and in a sweep what will be, as far as there is room."""
        for expert in waiting:
            if self._find((layer, expert)) is None:
                slot = self._own_room(layer, used)
                keep = slot is not None
                if slot is None and (slot := self._shared_room() or self._early_room()) is None:
                    return
                self._start((layer, expert), slot, keep=keep)
                self._pin(slot)
        if sweep and not self.complete:
            for key in self._ahead(layer):
                if (slot := self._shared_room()) is None:
                    return
                self._start(key, slot, keep=False)
                self._early.add(key)

    def _ahead(self, layer: int) -> Iterator[Key]:
        """What the layers after this one lack, in the order in which it will be wanted; they go round."""
        layers = len(self._places)
        for later in [*range(layer + 1, layers), *range(layer)]:
            yield from ((later, e) for e in range(len(self._places[later])) if self._find((later, e)) is None)

    def _own_room(self, layer: int, used: frozenset[int]) -> _Slot | None:
        """A place of the layer's own: an empty one, or that of an expert the step does not use."""
        if self._empty[layer]:
            return self._empty[layer].pop()
        for expert, slot in self._kept[layer].items():
            if expert not in used and slot.arrived:
                return self._let_go((layer, expert))
        return None

    def _shared_room(self) -> _Slot | None:
        """A place that all layers share: an idle one, or that of an expert which was computed with."""
        if self._idle:
            return self._idle.pop()
        for key, slot in self._passing.items():
            if not slot.pinned and key not in self._early and slot.arrived:
                return self._let_go(key)
        return None

    def _early_room(self) -> _Slot | None:
        """That of an expert read ahead, which then was read in vain."""
        for key, slot in self._passing.items():
            if not slot.pinned:
                wait(slot.reads)
                return self._let_go(key)
        return None

    def _let_go(self, key: Key) -> _Slot:
        layer, expert = key
        self._tables[layer].drop(expert)
        self._early.discard(key)
        slot = self._passing.pop(key, None) or self._kept[layer].pop(expert)
        slot.reads = []
        return slot

    def _pin(self, slot: _Slot) -> None:
        slot.pinned = True
        self._pinned.append(slot)

    def _release(self, slots: Sequence[_Slot]) -> None:
        for slot in slots:
            slot.pinned = False
        self._pinned = [slot for slot in self._pinned if slot.pinned]

    def _find(self, key: Key) -> _Slot | None:
        return self._kept[key[0]].get(key[1]) or self._passing.get(key)

    # Reading.

    def _start(self, key: Key, slot: _Slot, *, keep: bool) -> None:
        place = self._place(key)
        try:
            slot.reads = self._reader.start(self._reader.file(place.path), place.offset, slot.bytes, place.size)
        except BaseException:
            (self._empty[key[0]] if keep else self._idle).append(slot)
            raise
        self.stats.bytes_read += place.size
        if keep:
            self._kept[key[0]][key[1]] = slot
        else:
            self._passing[key] = slot

    def _arrived(self, layer: int, waiting: list[int]) -> list[int]:
        """Wait for the first of those that are being read; it and all that have come with it leave `waiting`."""
        slots = {expert: slot for expert in waiting if (slot := self._find((layer, expert)))}
        wait(next(iter(slots.values())).reads)
        come = [expert for expert, slot in slots.items() if slot.arrived]
        for expert in come:
            self._finish((layer, expert))
            waiting.remove(expert)
        return come

    def _finish(self, key: Key) -> None:
        """Have an expert that has been read in its table. Raises ReadError, and then it is not held any more."""
        slot = self._find(key)
        assert slot is not None
        wait(slot.reads)
        errors = [error for read in slot.reads if (error := read.exception()) is not None]
        if errors:
            slot.pinned = False
            (self._idle if key in self._passing else self._empty[key[0]]).append(self._let_go(key))
            raise errors[0]
        if slot.reads:
            self._tables[key[0]].put(key[1], _expert(self._place(key), slot.bytes))
        slot.reads = []

    def _place(self, key: Key) -> ExpertPlace:
        return self._places[key[0]][key[1]]

    def _slot(self, index: int) -> _Slot:
        return _Slot(self._region.bytes[index * self.slot_bytes : (index + 1) * self.slot_bytes])


def _expert(place: ExpertPlace, whole: NDArray[np.uint8]) -> PackedExpert:
    """An expert whose matrices lie in `whole`, one behind the other."""
    parts, at = [], 0
    for part in place.parts:
        data = whole[at : at + part.bytes]
        parts.append(Packed(part.format, part.rows, part.columns, data, part.multiplier))
        at += part.bytes
    return PackedExpert(*parts)

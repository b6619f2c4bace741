"""Experts in memory, as many as there is room for, and the rest on the disk.

What a layer's router has chosen is fetched: experts that are in memory are given out first, and computed with while the
others are read. Single tokens choose a few experts, often the same ones again: then the ones unused for longest make
room. A step of many tokens needs nearly all, layer after layer; going round like that, the ones unused for longest are
those needed next, so such a *sweep* keeps a fixed part of each layer and reads the rest through few places, ahead of
the layer that computes.
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
    expert: PackedExpert
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
        self._free = [self._slot(index) for index in reversed(range(self.slots))]
        self._kept: OrderedDict[Key, _Slot] = OrderedDict()  # those unused for longest in front
        self._passing: OrderedDict[Key, _Slot] = OrderedDict()  # what a sweep does not keep
        self._pinned: list[_Slot] = []
        self._early: set[Key] = set()
        """Those of `_kept` and `_passing` that were read for a layer that has not come yet."""

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
        """Read experts until memory is full, the first of each layer first; `report` gets the bytes of each.

        Raises ReadError.
        """
        by_number = sorted(((e, layer) for layer, found in enumerate(self._places) for e in range(len(found))))
        keys = [(layer, e) for e, layer in by_number[: self.slots]]
        for number, key in enumerate(keys):
            for later in keys[number : number + 4]:
                if later not in self._kept:
                    self._start(later, self._free.pop(), self._kept)
            self._finish(key)
            report(self._place(key).size)

    def fetch(self, layer: int, chosen: Sequence[int], choices: int) -> Iterator[list[int]]:
        """Give out the experts chosen in a layer, each once, as they are in memory.

        What was given out may leave memory when the next are asked for. `choices` is how many the step's tokens made
        together. Raises ReadError; experts already given out stay valid.
        """
        sweep = choices >= SWEEP * len(self._places[layer])
        self._release(self._pinned)  # of a step that failed
        present = self._look_up(layer, chosen, sweep)
        waiting = [expert for expert in chosen if expert not in present]
        self._read(layer, waiting, sweep)
        while present or waiting:
            present = present or self._arrived(layer, waiting)
            yield present
            self._release([slot for expert in present if (slot := self._find((layer, expert)))])
            present = []
            self._read(layer, waiting, sweep)

    def close(self) -> None:
        """After the reads that are under way."""
        self._reader.close()

    def _look_up(self, layer: int, chosen: Sequence[int], sweep: bool) -> list[int]:
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
                if not sweep:
                    self._passing.pop(key, None)
                    self._kept[key] = slot
                    self._kept.move_to_end(key)
                if slot.arrived:
                    self._finish(key)
                    present.append(expert)
        self._early -= {key for key in self._early if key[0] == layer}
        return present

    # Which are read next, and where to.

    def _read(self, layer: int, waiting: Sequence[int], sweep: bool) -> None:
        """Begin to read what is waited for, and in a sweep what will be, as far as there is room."""
        for expert in waiting:
            key = layer, expert
            if self._find(key) is None:
                if (slot := self._room(wanted=True)) is None:
                    return
                self._start(key, slot, self._kept if not sweep or self._stays(key) else self._passing)
                self._pin(slot)
        if sweep and not self.complete:
            for key in self._ahead(layer):
                if (slot := self._room(wanted=False)) is None:
                    return
                self._start(key, slot, self._kept if self._stays(key) else self._passing)
                self._early.add(key)

    def _ahead(self, layer: int) -> Iterator[Key]:
        """What the layers after this one lack, in the order in which it will be wanted; they go round."""
        layers = len(self._places)
        for later in [*range(layer + 1, layers), *range(layer)]:
            yield from ((later, e) for e in range(len(self._places[later])) if self._find((later, e)) is None)

    def _stays(self, key: Key) -> bool:
        """Whether a sweep keeps this expert in memory: as many of each layer, so that the disk is busy all the time."""
        layer, expert = key
        layers = len(self._places)
        through = min(self.slots, max(2, min(2 * len(self._places[layer]), self.slots // 4)))
        each, more = divmod(self.slots - through, layers)
        return expert < each + (layer < more)

    def _room(self, *, wanted: bool) -> _Slot | None:
        """A slot to read into: a free one, or that of the first that may go. None while all are needed.

        For what is wanted now, one that a sweep would keep goes too, and at last one read ahead.
        """
        if self._free:
            return self._free.pop()
        for held in (self._passing, self._kept) if wanted else (self._passing,):
            for key, slot in held.items():
                if not slot.pinned and key not in self._early and slot.arrived:
                    return self._let_go(key, held)
        if wanted:
            for held in (self._passing, self._kept):
                for key, slot in held.items():
                    if not slot.pinned:
                        wait(slot.reads)
                        return self._let_go(key, held)
        return None

    def _let_go(self, key: Key, held: OrderedDict[Key, _Slot]) -> _Slot:
        self._tables[key[0]].drop(key[1])
        slot = held.pop(key)
        self._early.discard(key)
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
        return self._kept.get(key) or self._passing.get(key)

    # Reading.

    def _start(self, key: Key, slot: _Slot, held: OrderedDict[Key, _Slot]) -> None:
        place = self._place(key)
        try:
            slot.reads = self._reader.start(self._reader.file(place.path), place.offset, slot.bytes, place.size)
        except BaseException:
            self._free.append(slot)
            raise
        self.stats.bytes_read += place.size
        held[key] = slot

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
        held = self._kept if key in self._kept else self._passing
        slot = held[key]
        wait(slot.reads)
        errors = [error for read in slot.reads if (error := read.exception()) is not None]
        if errors:
            slot.pinned = False
            self._free.append(self._let_go(key, held))
            raise errors[0]
        if slot.reads:
            self._tables[key[0]].put(key[1], slot.expert)
        slot.reads = []

    def _place(self, key: Key) -> ExpertPlace:
        return self._places[key[0]][key[1]]

    def _slot(self, index: int) -> _Slot:
        place = self._places[0][0]
        whole = self._region.bytes[index * self.slot_bytes : (index + 1) * self.slot_bytes]
        parts, at = [], 0
        for matrix in place.parts:
            parts.append(Packed(matrix.format, matrix.rows, matrix.columns, whole[at : at + matrix.bytes]))
            at += matrix.bytes
        return _Slot(whole, PackedExpert(*parts))

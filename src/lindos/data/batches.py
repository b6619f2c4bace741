"""Which tokens step number s trains on: a pure function of the data set, the seed and s.

One pass shows every source its number of epochs, all windows of all sources shuffled together; the next pass shuffles
anew. Nothing is remembered between steps, so a run resumes at any step, on any number of ranks, with the same batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lindos.data.dataset import TokenDataset, TokenPart
from lindos.data.errors import DataError
from lindos.data.permutation import Permutation, derived
from lindos.data.windows import PAD, PackedWindows, Windows, windows_of

ALGORITHM = 1  # part of a plan's fingerprint: raised when the same seed and step begin to mean other tokens


@dataclass(frozen=True)
class Batch:
    """`tokens` int64 [B, T+1]; `loss_mask` bool [B, T], its entry t is about predicting token t+1 from tokens 0..t."""

    tokens: np.ndarray
    loss_mask: np.ndarray


@dataclass(frozen=True)
class _Share:
    """A part's place in a pass: `whole` readings of all its windows, then `rest` windows of one more."""

    windows: Windows
    name: str
    whole: int
    rest: int
    start: int


class BatchPlan:
    """Batches of `batch` windows of `sequence` + 1 tokens; `batch(step)` for any step >= 0.

    Raises DataError for sizes that make no batch.
    """

    def __init__(self, dataset: TokenDataset, *, sequence: int, batch: int, seed: int):
        if sequence < 1 or batch < 1:
            raise DataError(f"a batch needs at least one row of one token, not {batch} rows of {sequence}")
        self.sequence, self.rows, self.seed = sequence, batch, seed
        self._shares: list[_Share] = []
        start = 0
        for part in dataset.parts:
            windows = windows_of(part, sequence, seed)
            whole = int(part.epochs)
            rest = max(round((part.epochs - whole) * windows.count), 0 if whole else 1)  # no source is never shown
            self._shares.append(_Share(windows, part.name, whole, rest, start))
            start += whole * windows.count + rest
        self.windows_per_pass = start
        self._bounds = np.array([share.start for share in self._shares[1:]])
        self.tokens_per_step = batch * sequence
        self.steps_per_pass = max(1, start // batch)
        plan = f"{dataset.fingerprint}:{dataset.split}:{sequence}:{batch}:{seed}:{ALGORITHM}"
        self.fingerprint = hashlib.sha256(plan.encode()).hexdigest()
        self._permutation = lru_cache(maxsize=64)(self._make_permutation)

    def batch(self, step: int, *, rank: int = 0, world: int = 1, together: int = 1) -> Batch:
        """One rank's rows of step `step`'s batch: `together` of them at a time are dealt out to the ranks in turn.

        So a micro-batch holds the same rows however many ranks there are. Raises DataError where they do not divide.
        """
        if step < 0 or not 0 <= rank < world:
            raise DataError(f"there is no batch for step {step}, rank {rank} of {world}")
        if world * together > self.rows:
            raise DataError(
                f"{world} ranks cannot share a batch of {self.rows} rows, {together} at a time; raise the batch size"
            )
        places = np.arange(self.rows)
        rows = step * self.rows + places[places // together % world == rank]
        tokens = np.empty((len(rows), self.sequence + 1), np.int64)
        loss_mask = np.empty((len(rows), self.sequence), bool)
        for row, virtual in enumerate(rows.tolist()):
            share, window, epoch = self.locate(virtual)
            self._shares[share].windows.fill(window, epoch, tokens[row], loss_mask[row])
        return Batch(tokens, loss_mask)

    def locate(self, virtual: int) -> tuple[int, int, int | str]:
        """Which part, window and reading the `virtual`-th row of the whole run shows."""
        number, place = divmod(virtual, self.windows_per_pass)
        place = self._entry(self.windows_per_pass, ("pass", number), place)
        index = int(np.searchsorted(self._bounds, place, side="right"))
        share = self._shares[index]
        count = share.windows.count
        reading, window = divmod(place - share.start, count)
        if reading < share.whole:
            return index, window, number * share.whole + reading
        # Part of a reading: each pass goes on where the pass before it stopped, so that all windows have their turn.
        cycle, window = divmod(number * share.rest + window, count)
        return index, self._entry(count, ("rest", share.name, cycle), window), f"rest {cycle}"

    def _entry(self, size: int, key: tuple[int | str, ...], index: int) -> int:
        return int(self._permutation(size, key)(np.array([index]))[0])

    def _make_permutation(self, size: int, key: tuple[int | str, ...]) -> Permutation:
        return Permutation(size, derived(self.seed, *key))


def sequential_batches(part: TokenPart, *, sequence: int, batch: int) -> Iterator[Batch]:
    """A part from beginning to end, each token predicted once (the very first never); for measuring.

    The last batch may have fewer rows; what is left of its last row is padded and masked. Bits per byte are the summed
    loss over `loss_mask`, divided by ln 2 and by `part.text_bytes`.
    """
    packed = PackedWindows(part, sequence) if part.packing == "whole" else None
    count = packed.count if packed else -(-(part.tokens - 1) // sequence)
    for first in range(0, count, batch):
        rows = min(batch, count - first)
        tokens = np.full((rows, sequence + 1), PAD, np.int64)
        loss_mask = np.zeros((rows, sequence), bool)
        for row in range(rows):
            if packed:
                packed.fill(first + row, 0, tokens[row], loss_mask[row])
                continue
            start = (first + row) * sequence
            length = min(sequence + 1, part.tokens - start)
            tokens[row, :length] = part.read(start, length)
            loss_mask[row, : length - 1] = part.read_mask(start, length)[1:]
        yield Batch(tokens, loss_mask)

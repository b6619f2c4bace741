"""Cutting a part into windows of T+1 tokens: the stream cut anywhere, or whole documents packed together."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lindos.data.dataset import TokenPart
from lindos.data.permutation import derived

PAD = 0
_OPEN_WINDOWS = 64


class Windows(Protocol):
    """`count` windows; `fill` writes window `index` of reading number `epoch` into a row of tokens and loss mask."""

    count: int

    def fill(self, index: int, epoch: int | str, tokens: np.ndarray, loss_mask: np.ndarray) -> None:
        """`tokens` is int64 [T+1], `loss_mask` bool [T]; the mask's entry t is about predicting token t+1."""
        ...


class StreamWindows:
    """The part's ring cut every T tokens (windows share one token), each reading starting at another place."""

    def __init__(self, part: TokenPart, sequence: int, seed: int):
        self._part, self._sequence, self._seed = part, sequence, seed
        self.count = max(1, part.tokens // sequence)

    def fill(self, index: int, epoch: int | str, tokens: np.ndarray, loss_mask: np.ndarray) -> None:
        start = self.offset(epoch) + index * self._sequence
        tokens[:] = self._part.read(start, self._sequence + 1)
        loss_mask[:] = self._part.read_mask(start + 1, self._sequence) if self._part.masked else True

    def offset(self, epoch: int | str) -> int:
        """Where this reading's first window begins; the very first reading begins at the beginning."""
        return 0 if epoch == 0 else derived(self._seed, "offset", self._part.name, epoch) % self._part.tokens


class PackedWindows:
    """Whole documents side by side, the rest of a window padded; only one longer than a window is cut.

    Documents are taken in order and put into the first of a few open windows that has room for them. The rest of a cut
    one begins a window: it has no start token that would tell it apart from a document before it.
    """

    def __init__(self, part: TokenPart, sequence: int):
        self._part, self._room = part, sequence + 1
        starts, ends = _pieces(part.starts, self._room)
        self._starts, self._lengths = starts, ends - starts
        self._order, self._bounds = _packed(self._lengths, np.isin(starts, part.starts), self._room)
        self.count = len(self._bounds) - 1

    def fill(self, index: int, epoch: int | str, tokens: np.ndarray, loss_mask: np.ndarray) -> None:
        tokens[:] = PAD
        loss_mask[:] = False
        at = 0
        for piece in self._order[self._bounds[index] : self._bounds[index + 1]]:
            start, length = int(self._starts[piece]), int(self._lengths[piece])
            tokens[at : at + length] = self._part.read(start, length)
            # The first token of a document is not predicted from the document before it.
            loss_mask[at : at + length - 1] = self._part.read_mask(start, length)[1:]
            at += length


def windows_of(part: TokenPart, sequence: int, seed: int) -> Windows:
    """The windows that suit how the part is packed."""
    return PackedWindows(part, sequence) if part.packing == "whole" else StreamWindows(part, sequence, seed)


def _pieces(starts: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of all documents, long ones as pieces that share a token, so that each token is predicted."""
    lefts: list[int] = []
    rights: list[int] = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        left = start
        while end - left > room:
            lefts.append(left)
            rights.append(left + room)
            left += room - 1
        lefts.append(left)
        rights.append(end)
    return np.array(lefts, np.int64), np.array(rights, np.int64)


def _packed(lengths: np.ndarray, whole: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """First fit over the latest open windows: pieces in window order, and where each window begins among them."""
    open_windows: list[tuple[int, list[int]]] = []
    closed: list[list[int]] = []
    for piece, length in enumerate(lengths.tolist()):
        for number, (left, held) in enumerate(open_windows):
            if length <= left and whole[piece]:
                held.append(piece)
                open_windows[number] = (left - length, held)
                break
        else:
            open_windows.append((room - length, [piece]))
            if len(open_windows) > _OPEN_WINDOWS:
                fullest = min(range(len(open_windows)), key=lambda number: open_windows[number][0])
                closed.append(open_windows.pop(fullest)[1])
    closed += [held for _, held in open_windows]
    order = np.array([piece for held in closed for piece in held], np.int64)
    return order, np.cumsum([0, *map(len, closed)])

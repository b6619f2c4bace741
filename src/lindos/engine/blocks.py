"""Who holds which blocks of the KV cache, and what stands in them; torch-free, so that scheduling can be tested alone.

A block is room for the keys and values of `BLOCK` tokens in all layers. A full one is never written again, so requests
that begin alike share it: it is found by the digest of its tokens and all tokens before them. A block that nobody holds
any more keeps its content until its room is needed, the one that was let go longest ago first.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence

BLOCK = 64
"""Tokens a block. As many as a 64-bit mask has bits, which tells the kernels what of a block is hidden."""


class Digests:
    """SHA-256 of a growing sequence's full blocks, each over its tokens and the digest of the block before.

    So a digest stands for all tokens up to the end of its block, and those of different tokens differ.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._found: list[bytes] = []

    def first(self, blocks: int) -> list[bytes]:
        """Of the first `blocks` blocks, which the tokens must fill."""
        for index in range(len(self._found), blocks):
            before = self._found[-1] if self._found else b""
            tokens = array("q", self._tokens[index * BLOCK : (index + 1) * BLOCK])
            self._found.append(hashlib.sha256(before + tokens.tobytes()).digest())
        return self._found[:blocks]


class BlockPool:
    """Blocks for `tokens` tokens: each held by a number of requests, or free; a free one may have content.

    Without `reuse` no content is ever found again.
    """

    def __init__(self, tokens: int, *, reuse: bool = True) -> None:
        self.total = self.needed(tokens)
        self._reuse = reuse
        self._holders = [0] * self.total
        self._digests: list[bytes | None] = [None] * self.total
        self._places: dict[bytes, int] = {}
        self._empty = list(range(self.total - 1, -1, -1))  # what was used last is at the end, and taken first
        self._kept: dict[int, None] = {}  # free ones with content, in the order in which they were let go

    @staticmethod
    def needed(tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // BLOCK)

    @property
    def free(self) -> int:
        """Blocks that can be taken."""
        return len(self._empty) + len(self._kept)

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.total - self.free

    @property
    def kept(self) -> int:
        """Free blocks whose content can be found again."""
        return len(self._kept)

    def holders(self, block: int) -> int:
        """How many hold a block."""
        return self._holders[block]

    def take(self, count: int) -> list[int]:
        """Free blocks, what stands in them forgotten.

        Raises RuntimeError when there are not that many: the scheduler must have looked first.
        """
        if count > self.free:
            raise RuntimeError(f"{count} blocks of KV cache asked for, {self.free} are free")
        return [self._take() for _ in range(count)]

    def _take(self) -> int:
        if self._empty:
            block = self._empty.pop()
        else:
            block = next(iter(self._kept))
            del self._kept[block]
            self.forget([block])
        self._holders[block] = 1
        return block

    def hold(self, blocks: Iterable[int]) -> None:
        """Hold blocks that were found, once more each."""
        for block in blocks:
            self._kept.pop(block, None)
            self._holders[block] += 1

    def give(self, blocks: Sequence[int]) -> None:
        """Let a sequence's blocks go, the last of them first: one is of no use without those before it."""
        for block in reversed(blocks):
            if not self._holders[block]:
                raise RuntimeError(f"block {block} of the KV cache is given back, but nobody holds it")
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if self._digests[block] is None:
                self._empty.append(block)
            else:
                self._kept[block] = None

    def keep(self, block: int, digest: bytes) -> None:
        """A held block is full of what the digest stands for; where another has the same, that one is found."""
        if self._reuse and self._digests[block] is None and digest not in self._places:
            self._places[digest] = block
            self._digests[block] = digest

    def forget(self, blocks: Iterable[int]) -> None:
        """What stands in held blocks shall not be found again."""
        for block in blocks:
            if (digest := self._digests[block]) is not None:
                del self._places[digest]
                self._digests[block] = None

    def find(self, digests: Iterable[bytes]) -> list[int]:
        """Blocks in which a sequence stands, from its beginning on as far as there are any; not held by this."""
        found: list[int] = []
        for digest in digests:
            if (block := self._places.get(digest)) is None:
                break
            found.append(block)
        return found

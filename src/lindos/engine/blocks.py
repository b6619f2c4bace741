"""The budget of the KV cache, counted in blocks of tokens; torch-free, so that scheduling can be tested on its own."""

from __future__ import annotations

BLOCK = 64
"""Tokens a request's cache grows by. Growing copies what is there, 1/64 of what attention reads meanwhile."""


class BlockPool:
    """How many blocks there are, enough for `tokens` tokens, and how many are taken."""

    def __init__(self, tokens: int) -> None:
        self.total = self.needed(tokens)
        self.used = 0

    @staticmethod
    def needed(tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // BLOCK)

    @property
    def free(self) -> int:
        return self.total - self.used

    def take(self, blocks: int) -> None:
        """Raises RuntimeError when there are not that many: the scheduler must have looked first."""
        if blocks > self.free:
            raise RuntimeError(f"{blocks} blocks of KV cache asked for, {self.free} are free")
        self.used += blocks

    def give(self, blocks: int) -> None:
        if blocks > self.used:
            raise RuntimeError(f"{blocks} blocks of KV cache given back, {self.used} were taken")
        self.used -= blocks

"""What one answer may go on with, guessed from what stands in it already.

Answers that quote, edit or list often repeat what stood before: where the last tokens stood once already, those that
followed are guessed to follow again (prompt lookup decoding: Saxena, https://github.com/apoorvumang/prompt-lookup-decoding).
Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

MATCHED = 3
"""Tokens that must have stood before."""
HOPE = 0.6
"""How likely a first guess is taken to be right where nothing is known."""
LEARN, FORGET = 0.2, 0.02
"""How far what happened, and what did not, moves that."""


class Lookup:
    """What followed the last time that the end of a growing list stood in it."""

    def __init__(self, tokens: Sequence[int]) -> None:
        """`tokens` is the list itself, which others append to."""
        self._tokens = tokens
        self._next: dict[tuple[int, ...], int] = {}  # by MATCHED tokens, where the one after them stands
        self._known = MATCHED

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens; where the list ends meanwhile, it goes on with the proposal itself."""
        tokens = self._tokens
        for place in range(self._known, len(tokens)):
            self._next[tuple(tokens[place - MATCHED : place])] = place
        self._known = max(self._known, len(tokens))
        place = self._next.get(tuple(tokens[-MATCHED:]))
        if place is None:
            return []
        found: list[int] = []
        while len(found) < most:
            found.append(tokens[place] if place < len(tokens) else found[place - len(tokens)])
            place += 1
        return found


class Guesses:
    """What one request's guesses are, and how good they were."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.lookup = Lookup(tokens)
        self.chance = HOPE
        """That a guess is right where those before it were."""

    def learn(self, tried: int, right: int) -> None:
        """`right` of `tried` guesses were right, and the next one, where there was one, was not."""
        for outcome in [1.0] * right + [0.0] * (right < tried):
            self.chance += LEARN * (outcome - self.chance)

    def pass_over(self) -> None:
        """Guesses were not worth it: what was learnt wears off, so that they are tried again some time."""
        self.chance += FORGET * (HOPE - self.chance)

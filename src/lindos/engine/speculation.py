"""Guessing what an answer goes on with, from what stands in it already, so that one step checks several tokens.

A step computes the guesses (`guesses.py`) along, as if they had been sampled; then each is sampled as always, with the
request's own random numbers, from the logits after those before it, and the first that differs from its guess ends it.
So the answer is the one without guesses, token by token, and what a guess costs is a row of a step.

A row is worth its cost where (tokens + p) / (cost + c) > tokens / cost: p is how likely the guess and all before it are
right, c what a row adds to a step in parts of a step of one row, both learnt from what happens. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

from lindos.engine.guesses import Guesses
from lindos.engine.request import Request

MOST = 8
"""Guesses of a request in a step."""
ROW_COST = 0.3
"""What a row adds to a step of one, until measured: as with 408M parameters in int4 on AVX2."""
MEMORY = 0.98
"""Of measured steps, what the next one leaves."""
PRIOR = 4.0
"""Squared rows around the mean that the first estimate counts for: some steps of two rows more or less."""


class RowCost:
    """What a row adds to a step, in parts of a step of one row: a line through the steps of late."""

    def __init__(self, cost: float = ROW_COST) -> None:
        self._first = cost
        self._count = self._rows = self._seconds = self._squares = self._products = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        values = (1.0, rows, seconds, rows * rows, rows * seconds)
        sums = (self._count, self._rows, self._seconds, self._squares, self._products)
        self._count, self._rows, self._seconds, self._squares, self._products = (
            MEMORY * old + new for old, new in zip(sums, values, strict=True)
        )

    @property
    def value(self) -> float:
        """Between 0.02 and 1, drawn to the first estimate while steps are few or alike."""
        if self._count == 0 or self._seconds <= 0:
            return self._first
        mean_rows, mean_seconds = self._rows / self._count, self._seconds / self._count
        spread = self._squares - self._count * mean_rows**2
        slope = self._products - self._rows * mean_seconds
        # The first estimate as steps around the mean: what a step of mean_rows takes by it, seconds a row.
        expected = mean_seconds * self._first / (1 + self._first * (mean_rows - 1))
        slope = (slope + PRIOR * expected) / (spread + PRIOR)
        single = mean_seconds - slope * (mean_rows - 1)
        return min(1.0, max(0.02, slope / single)) if single > 0 else 1.0


def worth(chances: Sequence[float], offered: Sequence[int], cost: float, room: int) -> list[int]:
    """How many guesses of each request are worth their rows in a step, `room` in all.

    `chances[n]` is the chance of each of request n's guesses, of which there are `offered[n]`; every request has a row
    beside them. The likeliest guess of all is taken first, as long as it makes tokens a second more.
    """
    taken = [0] * len(chances)
    tokens, spent = float(len(chances)), 1 + cost * (len(chances) - 1)
    while sum(taken) < room:
        likely = [c ** (n + 1) if n < most else 0.0 for c, n, most in zip(chances, taken, offered, strict=True)]
        best = max(range(len(likely)), key=likely.__getitem__, default=None)
        if best is None or likely[best] * spent <= cost * tokens:
            break
        taken[best] += 1
        tokens += likely[best]
        spent += cost
    return taken


class Speculation:
    """The guesses of all requests, what they are worth, and what became of them."""

    def __init__(self, pad: int | None, cost: float = ROW_COST) -> None:
        """`pad` is the token that is never guessed, as it is not looked at; `cost` is of a row, until measured."""
        self.row_cost = RowCost(cost)
        self.guessed = self.right = 0
        self._pad = pad

    def guess(self, requests: Sequence[Request], most: Sequence[int], room: int) -> list[list[int]]:
        """What each request may go on with: `most[n]` tokens of request n, `room` in all; nothing where it is not
        worth it."""
        offers = []
        for request, limit in zip(requests, most, strict=True):
            if request.guesses is None:
                request.guesses = Guesses(request.tokens)
            found = request.guesses.lookup.propose(max(0, min(MOST, limit)))
            offers.append(found[: found.index(self._pad)] if self._pad in found else found)
        chances = [request.guesses.chance if request.guesses else 0.0 for request in requests]
        taken = worth(chances, list(map(len, offers)), self.row_cost.value, room)
        for request, offer, count in zip(requests, offers, taken, strict=True):
            if offer and not count and request.guesses is not None:
                request.guesses.pass_over()
        return [offer[:count] for offer, count in zip(offers, taken, strict=True)]

    def learn(self, request: Request, tried: int, right: int) -> None:
        """`right` of the `tried` guesses of a request were right, one after the other."""
        self.guessed += tried
        self.right += right
        if request.guesses is not None:
            request.guesses.learn(tried, right)

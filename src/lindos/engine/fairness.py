"""Who is next among those who wait: priorities first, then clients in turn by what they were given. Torch-free.

Within a priority this is the Virtual Token Counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI
2024, arXiv 2401.00588, algorithm 2). Each client has a counter of the tokens it was served, a prompt's once and an
answer's twice, as they cost more; the client with the lowest counter is next, with its oldest request. A client that
comes anew starts no lower than the lowest of those who wait, so that nobody saves up by staying away.

Beyond the paper: requests that were sent back go before those that never ran, what is computed again is charged to
nobody, and the oldest request of a priority is passed over `PATIENCE` times at most. So within a priority every wait is
bounded, even where ever new clients come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from lindos.engine.request import Request

PROMPT_WEIGHT, ANSWER_WEIGHT = 1, 2
"""What a token costs on its client's counter; the paper's values."""
PATIENCE = 64
"""Admissions of younger requests of its priority that a waiting request sees at most, once it is the oldest."""
REMEMBERED = 256
"""Counters, or priorities, beyond which those are forgotten that make no difference."""


class Level:
    """One priority: what waits in it, and what its clients were served."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Request]] = {}  # by client, oldest first; no empty ones
        self._served: dict[str, int] = {}
        self._floor = 0  # where a new client starts; it never falls
        self._last = ""  # the client whose request was taken out last
        self._passed = 0  # admissions that the oldest request has seen since it was that

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        for line in self._waiting.values():
            yield from line

    def add(self, request: Request) -> None:
        """Put a request into its client's line; one that was sent back has its old place in it."""
        client = request.client
        if client not in self._waiting:
            self._raise_floor()
            self._served[client] = max(self._served.get(client, 0), self._floor)
        line = self._waiting.setdefault(client, deque())
        place = len(line)
        while place and line[place - 1].order > request.order:
            place -= 1
        line.insert(place, request)

    def remove(self, request: Request) -> None:
        """Take a request out, wherever it stands in its line."""
        if request is self._oldest():
            self._passed = 0
        line = self._waiting[request.client]
        line.remove(request)
        self._last = request.client
        if not line:
            del self._waiting[request.client]

    def next(self) -> Request:
        """The request to be admitted next.

        Those that were sent back come first: else new ones could take their places again and again.
        """
        firsts = [line[0] for line in self._waiting.values()]
        sent_back = [request for request in firsts if request.charged]
        if sent_back or self._passed >= PATIENCE:
            return min(sent_back or firsts, key=lambda r: r.order)
        # Among equals who came first.
        return min(firsts, key=lambda r: (self._served[r.client], r.order))

    def admit(self, request: Request) -> None:
        """Take a request out because it starts; what must be computed of its prompt is charged the first time."""
        self._passed += 1
        self.remove(request)
        if not request.charged:
            request.charged = True
            self.charge(request.client, PROMPT_WEIGHT * (request.prompt_tokens - request.reused))

    def charge(self, client: str, cost: int) -> None:
        """Add to what a client was served."""
        self._served[client] = self._served.get(client, self._floor) + cost

    def _oldest(self) -> Request:
        return min((line[0] for line in self._waiting.values()), key=lambda r: r.order)

    def _raise_floor(self) -> None:
        """To the lowest counter of those who wait; where nobody does, to that of the last who did."""
        waiting = [self._served[client] for client in self._waiting]
        self._floor = max(self._floor, min(waiting) if waiting else self._served.get(self._last, 0))
        if len(self._served) > REMEMBERED + 2 * len(waiting):
            # Who is below the floor starts at the floor when coming back, remembered or not.
            self._served = {c: n for c, n in self._served.items() if n > self._floor or c in self._waiting}


class FairQueue:
    """All that wait, a Level for each priority."""

    def __init__(self) -> None:
        self._levels: dict[int, Level] = {}
        self._count = 0

    def __len__(self) -> int:
        """Another thread may ask."""
        return self._count

    def __iter__(self) -> Iterator[Request]:
        for level in self._levels.values():
            yield from level

    def add(self, request: Request) -> None:
        """Let a request wait, or wait again."""
        if len(self._levels) > REMEMBERED:
            self._levels = {priority: level for priority, level in self._levels.items() if level}
        self._level(request).add(request)
        self._count += 1

    def remove(self, request: Request) -> None:
        """Take out a request that is here."""
        self._level(request).remove(request)
        self._count -= 1

    def next(self) -> Request | None:
        """The request to be admitted next, which is of the highest priority there is."""
        highest = max((priority for priority, level in self._levels.items() if level), default=None)
        return None if highest is None else self._levels[highest].next()

    def admit(self, request: Request) -> None:
        """Take out a request that starts, at its client's cost."""
        self._level(request).admit(request)
        self._count -= 1

    def charge_answer(self, request: Request, tokens: int) -> None:
        """Charge tokens of an answer to its client."""
        self._level(request).charge(request.client, ANSWER_WEIGHT * tokens)

    def _level(self, request: Request) -> Level:
        return self._levels.setdefault(request.priority, Level())

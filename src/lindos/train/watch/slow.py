"""Ranks slower than others: each rank's own time, without what it waits for others, against that of its like."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from statistics import median

from lindos.train.ranks import Ranks
from lindos.train.watch.exchanges import Exchanges


@dataclass(frozen=True)
class Slow:
    """A rank that holds up others."""

    rank: int
    host: str
    times: float
    """So many times as long as the median of its like its own work takes."""


@dataclass
class SlowRanks:
    """Measures this rank, and compares all now and then."""

    exchanges: Exchanges
    ranks: Ranks
    alike: int
    """So many ranks following each other do the same work: those of a pipeline stage."""
    limit: float
    """How many times the median is too slow."""
    _own: list[float] = field(default_factory=list)
    _waited: float = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._waited = self.exchanges.waited

    def end(self, seconds: float) -> None:
        """It took so long."""
        self._own.append(max(0.0, seconds - (self.exchanges.waited - self._waited)))

    def found(self) -> list[Slow]:
        """Who was slow since the last call; a gathering of all ranks. Only the first rank is answered."""
        mine = (median(self._own) if self._own else 0.0, socket.gethostname())
        self._own = []
        return slower(self.ranks.gather(mine), self.alike, self.limit)


def slower(told: list[tuple[float, str]], alike: int, limit: float) -> list[Slow]:
    """Ranks that take more than `limit` times the median of the `alike` around them. Of (seconds, host) by rank."""
    found = []
    for first in range(0, len(told), alike):
        group = told[first : first + alike]
        # Of two, the median would lie half way to the slower one.
        usual = sorted(seconds for seconds, _ in group)[(len(group) - 1) // 2]
        for index, (seconds, host) in enumerate(group):
            if usual > 0 and seconds > limit * usual:
                found.append(Slow(first + index, host, seconds / usual))
    return found

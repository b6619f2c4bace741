"""Which replica takes a request, and when one that failed is tried again: pure decisions, on numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST_ASIDE_SECONDS = 0.5
LONGEST_ASIDE_SECONDS = 30.0
LATENCY_WEIGHT = 0.2
"""Of the newest time to a first token in the average."""
LATENCY_HALVES_AFTER = 30.0
"""Seconds in which what is known of a replica's latency is worth half: one that was slow is tried again some day."""


@dataclass
class Load:
    """What is known of one replica."""

    ready: bool = True
    under_way: int = 0
    """Answers."""
    waiting: int = 0
    """Those of them that have not begun."""
    failures: int = 0
    """In a row."""
    aside_until: float = 0.0
    latency: float = 0.0
    """Average seconds to a first token as of `latency_at`."""
    latency_at: float = 0.0

    def began(self, seconds: float, now: float) -> None:
        """An answer had its first token after `seconds`: all is well."""
        self.failures, self.aside_until = 0, 0.0
        known = self.latency_now(now)
        self.latency = seconds if known == 0 else known + LATENCY_WEIGHT * (seconds - known)
        self.latency_at = now

    def kept_waiting(self, seconds: float, now: float) -> None:
        """No first token came within `seconds`: its latency is no less than that."""
        if seconds > self.latency_now(now):
            self.latency, self.latency_at = seconds, now

    def failed(self, now: float) -> None:
        """It failed: it is left alone for a while, twice as long each time in a row."""
        # Those that were under way when it broke fail together: that is one failure.
        if now >= self.aside_until:
            self.failures += 1
            self.aside_until = now + min(FIRST_ASIDE_SECONDS * 2 ** (self.failures - 1), LONGEST_ASIDE_SECONDS)

    def latency_now(self, now: float) -> float:
        """As far as it still says anything."""
        return self.latency * 0.5 ** ((now - self.latency_at) / LATENCY_HALVES_AFTER)

    def expected(self, now: float, usual: float) -> float:
        """Seconds to a first token: what is known fades to what is `usual`, not to nothing.

        One that was never asked is asked: 0.
        """
        if not self.latency:
            return 0.0
        worth = 0.5 ** ((now - self.latency_at) / LATENCY_HALVES_AFTER)
        return self.latency * worth + usual * (1.0 - worth)

    def fit(self, now: float) -> bool:
        """Whether it should get requests; after a failure only one, until that has begun."""
        return self.ready and now >= self.aside_until and (self.failures == 0 or self.waiting == 0)


class Seat:
    """The place of one answer at a replica, counted from when it is asked for."""

    def __init__(self, load: Load, now: float) -> None:
        self._load = load
        self._asked_at = now
        self._waiting = self._held = True
        load.under_way += 1
        load.waiting += 1

    def begin(self, now: float) -> None:
        """Its first token came."""
        if self._waiting:
            self._waiting = False
            self._load.waiting -= 1
            self._load.began(now - self._asked_at, now)

    def give_up(self, now: float) -> None:
        """Its client left before the first token: how long that took is more than this, at least."""
        if self._waiting and self._held:
            self._load.kept_waiting(now - self._asked_at, now)

    def leave(self) -> None:
        """It ended, or never came to be; harmless the second time."""
        if self._held:
            self._held = False
            self._load.under_way -= 1
            self._load.waiting -= self._waiting


def choose(loads: Iterable[Load], now: float, tried: frozenset[int] = frozenset()) -> int | None:
    """The number of the replica for the next request, or None when all that are ready were `tried`.

    Of the fit ones that with the fewest answers under way, of equals the fastest lately. When none is fit, what was put
    aside is better than nothing: the one whose time is up first.
    """
    ready = [(number, load) for number, load in enumerate(loads) if load.ready and number not in tried]
    usual = _usual([load for _, load in ready])
    fit = [(load.under_way, load.expected(now, usual), number) for number, load in ready if load.fit(now)]
    if fit:
        return min(fit)[2]
    aside = [(load.aside_until, load.under_way, number) for number, load in ready]
    return min(aside)[2] if aside else None


def _usual(loads: list[Load]) -> float:
    """The mean latency of those that have one."""
    known = [load.latency for load in loads if load.latency]
    return sum(known) / len(known) if known else 0.0

"""Events together: what follows from all of their casts, worked out once for all the answers that are under way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from lindos.assistant.settlement.names import COMMON, Cast, words_of
from lindos.assistant.settlement.standing import Standing


class Together:
    """Several events as they stand; see `together`."""

    def __init__(self, standings: tuple[Standing, ...]) -> None:
        self._standings = standings
        casts = [standing.cast for standing in standings]
        self._everybody = Cast(
            frozenset().union(*(cast.places for cast in casts)),
            frozenset().union(*(cast.people for cast in casts)),
            tuple(name for cast in casts for name in cast.names),
            frozenset().union(*(cast.sources for cast in casts)),
        )
        self._known = self._everybody.with_people(())
        self._by_word: dict[str, list[int]] = {}
        for place, cast in enumerate(casts):
            # A common word is no name, whoever's place it belongs to.
            for word in cast.people | ((cast.places | cast.sources) - COMMON):
                self._by_word.setdefault(word, []).append(place)

    def cast(self, named: Sequence[str]) -> Cast:
        """Everybody and every place that is known of any of them, and those who are `named` besides."""
        return self._everybody.with_people(named) if named else self._known

    def near(self, sentence: str) -> tuple[Standing, ...]:
        """Those some word of whose casts stands in a sentence; seen from the others all its names are alike."""
        found = {place for word in words_of(sentence) for place in self._by_word.get(word, ())}
        return tuple(self._standings[place] for place in sorted(found))


def together(standings: tuple[Standing, ...]) -> Together:
    """The same object for the same objects: from one change of them to the next, answers share it."""
    return _together(_Same(standings))


class _Same:
    """Standings compared by what they are, not by what they say, which would take as long as the work saved."""

    def __init__(self, standings: tuple[Standing, ...]) -> None:
        self.standings = standings
        self._hash = hash(tuple(map(id, standings)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or len(self.standings) != len(other.standings):
            return False
        return all(one is another for one, another in zip(self.standings, other.standings, strict=True))


@lru_cache(maxsize=64)
def _together(same: _Same) -> Together:
    return Together(same.standings)

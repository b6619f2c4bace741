"""Ranking: which words of a question tell something, and which posts fit them best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lindos.knowledge.words import STOP_WORDS, is_beginning, words

MOST_SOUGHT = 12
"""Words of a question that are looked up, the rarest of them."""
MOST_MATCHES = 4000
"""Posts that the words looked up may have together, as far as that is known; a word that has more is common."""
# As in Robertson, Zaragoza, "The Probabilistic Relevance Framework" (2009), 3.1, but for b, there 0.5 to 0.8: with that
# a post of two words, one of them asked for, beats a sentence that has all that was asked.
_K1, _B = 1.2, 0.3


@dataclass(frozen=True, slots=True)
class Shares:
    """In what share of the posts each word is, measured on some of them."""

    sampled: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    length: float = 20.0
    """Of the mean post, in words."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Shares:
        counts: Counter[str] = Counter()
        sampled = total = 0
        for text in texts:
            found = words(text)
            counts.update(set(found))
            sampled += 1
            total += len(found)
        # What is met once is as rare as what is not met.
        often = {word: count for word, count in counts.items() if count > 1}
        return cls(sampled, often, max(total / sampled, 1.0) if sampled else 20.0)

    def share(self, word: str) -> float:
        """Between 0 and 1; of a word that was not met, what is likely."""
        if not self.sampled:
            return 1e-3
        if is_beginning(word):
            count = sum(count for longer, count in self.counts.items() if longer[0] == word)
        else:
            count = self.counts.get(word, 0)
        return min(1.0, (count + 0.5) / (self.sampled + 2))

    def weight(self, word: str) -> float:
        """How much a word tells: its inverse document frequency, above 0."""
        return max(-math.log(self.share(word)), 0.01)


@dataclass(frozen=True, slots=True)
class Sought:
    """A question's words."""

    rare: tuple[str, ...]
    """Those by which posts are found, wherever they are in time."""
    common: tuple[str, ...]
    """Those that too many posts have: they find only the latest, and tell those found apart."""

    @property
    def all(self) -> tuple[str, ...]:
        return self.rare + self.common


def sought(question: Sequence[str], shares: Shares, posts: int) -> Sought:
    """What to look up of a question in a store of so many posts."""
    telling = [word for word in question if word not in STOP_WORDS] or list(question)
    telling = sorted(telling, key=shares.share)[:MOST_SOUGHT]
    rare: list[str] = []
    matches = 0.0
    for word in telling:
        matches += shares.share(word) * posts
        if matches > MOST_MATCHES:
            break
        rare.append(word)
    return Sought(tuple(rare), tuple(telling[len(rare) :]))


def relevance(weights: Mapping[str, float], text: str, shares: Shares) -> float:
    """BM25 of a text for a question's words."""
    found = words(text)
    counts = Counter(found)
    slower = _K1 * (1 - _B + _B * len(found) / shares.length)
    score = 0.0
    for word, weight in weights.items():
        count = sum(n for other, n in counts.items() if other[0] == word) if is_beginning(word) else counts[word]
        score += weight * count * (_K1 + 1) / (count + slower)
    return score


def fused(rankings: Iterable[Sequence[int]], constant: int = 60) -> dict[int, float]:
    """Scores of what stands in several rankings, best first in each: the sum of 1 / (60 + rank).

    Reciprocal rank fusion: Cormack, Clarke, Büttcher (SIGIR 2009).
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1 / (constant + rank)
    return scores

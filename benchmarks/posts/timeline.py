"""Posts as a seeded generator makes them: words by Zipf's law, lengths and times as on a public network.

Words come with probability proportional to 1 / (rank + 2.7)^1.05 (Mandelbrot's form of the law, with constants near
those of English): first those of words.txt, in its order, then made-up names, those that the questions ask for among
them. Lengths are log-normal with a median of 16 words, 3 to 60; times are a Poisson process, faster by day; authors
follow Zipf's law, too. One post in seven has a link, one in five a tag.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import pi, sin
from pathlib import Path

from lindos.knowledge import Post

HERE = Path(__file__).parent
VOCABULARY = 60_000
AUTHORS = 30_000
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
POSTS_A_SECOND = 1.5
ASKED_FOR = range(1000, 9000, 20)
"""Ranks at which made-up names of the questions stand."""


def questions() -> dict[str, list[str]]:
    """The questions of questions.txt: those with common words, those without."""
    parts: dict[str, list[str]] = {"with common words": [], "without": []}
    part = parts["with common words"]
    for line in (HERE / "questions.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# Without"):
            part = parts["without"]
        elif line and not line.startswith("#"):
            part.append(line)
    return parts


def vocabulary(randomly: random.Random) -> list[str]:
    """All words, by rank."""
    known = (HERE / "words.txt").read_text(encoding="utf-8").split()
    asked = {word.strip("?.").lower() for part in questions().values() for line in part for word in line.split()}
    names = sorted(asked - {word.lower() for word in known})
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvwz" for vowel in "aeiou"]
    made: dict[str, None] = {}
    while len(made) < VOCABULARY - len(known) - len(names):
        made["".join(randomly.choices(syllables, k=randomly.randint(2, 5)))] = None
    found = known + list(made)
    for rank, name in zip(ASKED_FOR, names, strict=False):
        found.insert(rank, name)
    return found


def timeline(count: int, *, seed: int = 0, batch: int = 1000, first: datetime = FIRST) -> Iterator[list[Post]]:
    """So many posts since `first`, some at a time."""
    randomly = random.Random(seed)
    words = vocabulary(randomly)
    weights = list(accumulate(1 / (rank + 2.7) ** 1.05 for rank in range(1, len(words) + 1)))
    authors = list(accumulate(1 / (rank + 10) for rank in range(AUTHORS)))
    now = first
    for start in range(0, count, batch):
        found: list[Post] = []
        for number in range(start, min(start + batch, count)):
            by_day = 1 + 0.8 * sin(2 * pi * (now.hour - 8) / 24)
            now += timedelta(seconds=randomly.expovariate(POSTS_A_SECOND * by_day))
            length = min(max(round(randomly.lognormvariate(2.77, 0.7)), 3), 60)
            found.append(_post(number, now, randomly.choices(words, cum_weights=weights, k=length), randomly, authors))
        yield found


def _post(number: int, now: datetime, said: list[str], randomly: random.Random, authors: list[float]) -> Post:
    author = f"did:plc:{randomly.choices(range(AUTHORS), cum_weights=authors)[0]:024x}"
    links: tuple[str, ...] = ()
    if randomly.random() < 0.2:
        said[-1] = f"#{said[-1]}"
    if randomly.random() < 1 / 7:
        links = (f"https://{said[0].strip('#')}.example/{number:x}",)
        said.append(links[0])
    return Post(
        source="bluesky",
        uri=f"at://{author}/app.bsky.feed.post/{number:013x}",
        author=author,
        text=" ".join(said).capitalize() + ".",
        seen_at=now,
        created_at=now - timedelta(seconds=randomly.random()),
        language="en",
        links=links,
        cursor=str(number),
    )

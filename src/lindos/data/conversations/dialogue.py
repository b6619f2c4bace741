"""Talk between people as talk with an assistant: bookings, and five-sentence stories told on request."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from lindos.data.clean import normalise
from lindos.data.conversations.asked import alternating, turns_of
from lindos.data.conversations.voice import Exchange, fill, large, pick
from lindos.data.readers.base import Row, ends_sentence, field


def _turns(row: Row) -> list[tuple[str, str]]:
    said = [(who, " ".join(normalise(text).split())) for who, text in turns_of(row)]
    return alternating([(who, text) for who, text in said if text])


def bookings(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Task dialogues, cut after two to five exchanges; the assistant in them has a role of its own."""
    for row in rows:
        said = _turns(row)
        if said and said[0][0] != "user":
            said = said[1:]
        exchanges = [(asked, answer) for (_, asked), (_, answer) in zip(said[::2], said[1::2], strict=False)]
        if len(exchanges) >= 2:
            yield [(large(asked), large(answer)) for asked, answer in exchanges[: 2 + int(rng.random() * 4)]]


_NAMED = re.compile(
    r"^([A-Z][a-z]+) (?:was|had|wanted|went|is|loved|needed|decided|got|liked|bought|and|took|found|felt)\b"
)


def short_stories(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Five-sentence stories, told on request or continued from their beginning."""
    for row in rows:
        given = re.sub(r"\s+", " ", re.sub(r"Sentence\d:\s*", "\n", field(row, "input"))).strip()
        parts = [
            normalise(part).strip() for part in re.split(r"\n", re.sub(r"Sentence\d:\s*", "\n", field(row, "input")))
        ]
        parts = [part for part in parts if part] + [normalise(field(row, "output"))]
        if len(parts) != 5 or not given or not all(ends_sentence(part) for part in parts):
            continue
        roll = rng.random()
        if roll < 0.3:
            asked = pick(rng, ("Continue this story: {s}", "Finish this story: {s}", "How does this go on? {s}"))
            cut = 1 + int(rng.random() * 3)
            yield [(fill(asked, {"s": " ".join(parts[:cut])}), " ".join(parts[cut:]))]
            continue
        named = _NAMED.match(parts[0])
        subject = f"someone called {named[1]}" if named and named[1] not in _NOT_NAMES else _subject(parts)
        asks = (
            "Tell me a short story about {s}.",
            "Write a short story about {s}.",
            "A story about {s}, please.",
            "Tell me a story about {s}.",
        )
        anything = (
            "Tell me a short story.",
            "Tell me a story.",
            "Write a five sentence story.",
            "Make up a short story.",
        )
        asked = fill(pick(rng, asks), {"s": subject}) if subject and roll < 0.85 else pick(rng, anything)
        yield [(asked, " ".join(parts))]


_NOT_NAMES = frozenset(
    ("The", "My", "She", "He", "They", "We", "It", "This", "Our", "His", "Her", "There", "One", "Today")
)
_COMMON = re.compile(
    r"about|after|again|also|always|around|back|because|been|before|could|decided|didn't|every|everyone"
    r"|felt|finally|found|friend|from|going|have|home|into|just|knew|later|like|little|looked|loved|made"
    r"|many|more|much|needed|never|next|nice|night|other|over|really|right|same|some|soon|started|that"
    r"|their|them|then|there|they|thing|things|thought|time|told|took|tried|very|wanted|week|well|went"
    r"|were|what|when|where|while|with|work|would|year|years|yesterday|morning"
)


def _subject(parts: list[str]) -> str:
    """What the story repeats and names with its article: "baked a cake." gives "a cake"."""
    text = " ".join(parts).lower()
    found = re.findall(r"\b(an?) ([a-z]{3,10})(?=[.,!?]| (?:and|in|on|at|to|for|with|of|was|from|that)\b)", text)
    counted = {f"{article} {word}": text.count(word) for article, word in found if not _COMMON.fullmatch(word)}
    best = max(counted, key=lambda each: (counted[each], each), default="")
    return best if best and counted[best] >= 2 else ""

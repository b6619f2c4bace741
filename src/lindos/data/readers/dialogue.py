"""Talk between two people, written down in the several ways that people write talk down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lindos.data.clean import capitalised, normalise
from lindos.data.readers.base import Row, choose, items

_CHAT = (
    ("A", "B"),
    ("Anna", "Tom"),
    ("Ben", "Lucy"),
    ("Sam", "Mia"),
    ("Person 1", "Person 2"),
    ("User", "Assistant"),
    ("Friend", "Me"),
    "dash",
    "quote",
)
_SERVICE = (("User", "Assistant"), ("Customer", "Agent"), ("Q", "A"), ("User", "Assistant"), "dash")


def turns(row: Row, size: int) -> Iterator[str]:
    """A chat between equals (`turns`: a list of {"role", "text"})."""
    yield from _written(row, size, _CHAT)


def goal_dialogue(row: Row, size: int) -> Iterator[str]:
    """Someone asks for a service and an assistant gives it."""
    yield from _written(row, size, _SERVICE)


def _written(row: Row, size: int, styles: Sequence[tuple[str, str] | str]) -> Iterator[str]:
    said = [
        (str(turn.get("role")), " ".join(normalise(turn["text"]).split()))
        for turn in items(row, "turns")
        if isinstance(turn, dict) and isinstance(turn.get("text"), str)
    ]
    said = [(role, text) for role, text in said if text]
    if len(said) < 4 or not _pleasant([text for _, text in said]):
        return
    style = choose(styles, said[0][1] + said[1][1])
    first = said[0][0]
    lines: list[str] = []
    for role, text in said:
        text = capitalised(text)
        if style == "dash":
            lines.append(f"- {text}")
        elif style == "quote":
            lines.append(text if '"' in text else f'"{text}"')
        else:
            lines.append(f"{style[0] if role == first else style[1]}: {text}")
    held: list[str] = []
    for line in lines:  # a very long talk is cut between turns
        if held and sum(map(len, held)) + len(line) > size:
            yield "\n".join(held)
            held = []
        held.append(line)
    if len(held) > 1:
        yield "\n".join(held)


def _pleasant(said: list[str]) -> bool:
    """Neither shouted nor typed carelessly: most turns begin large or end in a stop, and say something."""
    tidy = sum(text[0].isupper() or text[-1] in ".!?" for text in said)
    words = sum(len(text.split()) for text in said)
    shouted = sum(text.isupper() and len(text) > 4 for text in said)
    return tidy >= 0.75 * len(said) and words >= 4 * len(said) and shouted < 2

"""Forms: what a text in JSON says, value by value and name by name, as sentences that can be judged.

It is read sign by sign, so that nothing is lost that a parser would leave out: names that come twice, what stands
behind the end, a text that breaks off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from lindos.assistant.settlement.words import sentences

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?$)|[{}\[\]:,]|\s++|[^\s"{}\[\]:,][^"{}\[\]:,]*+', re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d.eE+-]*")
_PENDING = re.compile(r"\b(?:settled|final|called|certified|decided|known|over|complete|confirmed|official|declared)\b")
_LONGEST_PATH = 4
"""Names above a value that are said with it."""


@dataclass(frozen=True)
class Part:
    """A value, or the name of one, and where it stands."""

    path: tuple[str, ...]
    """The names above it."""
    text: str
    start: int
    """Its first character; of a text in quotes the one behind the mark."""
    end: int
    kind: Literal["text", "number", "truth", "name"]

    @property
    def whole(self) -> str:
        """As it would be said: with the name just above it."""
        said = spoken(self.text) if self.kind == "name" else self.text
        return f"{spoken(self.path[-1])}: {said}" if self.path else said

    def said(self) -> Iterator[tuple[str, str]]:
        """(a sentence as it would be said, all of the same text that stands before it)."""
        if self.kind == "name":
            yield self.whole, ""
            return
        before = ""
        for sentence in sentences(self.text) or [self.text]:
            if not before:
                for name in dict.fromkeys((" ".join(self.path[-1:]), " ".join(self.path[-_LONGEST_PATH:]))):
                    if name:
                        yield f"{spoken(name)}: {sentence}", ""
            yield sentence, before
            before += sentence


def spoken(name: str) -> str:
    """A name as words: `winner_of_it`, `winnerOfIt`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ")


def is_form(text: str) -> bool:
    """Whether a text is JSON, or begins like it."""
    return text.lstrip()[:1] in ("{", "[", '"')


def is_pending(path: tuple[str, ...]) -> bool:
    """Whether a value tells by its name that something is settled: where it is false, it announces nothing."""
    return bool(path) and bool(_PENDING.search(spoken(path[-1]).casefold()))


def arguments_of(call: str, functions: Collection[str]) -> list[Part] | None:
    """What a call says to one of the functions; None where it is none of theirs."""
    parts = parts_of(call) if is_form(call) else []
    named = [part.text for part in parts if part.path == ("name",)]
    if not named or any(name not in functions for name in named):
        return None
    return [
        replace(part, path=part.path[1:]) if part.path[:1] == ("arguments",) else part
        for part in parts
        if part.path != ("name",) and (part.path or part.text not in ("name", "arguments"))
    ]


def parts_of(text: str) -> list[Part]:
    """All that a text in JSON says. What is no JSON in it is said, too."""
    found = [(one.group(), one.start()) for one in _TOKEN.finditer(text) if not one.group().isspace()]
    parts: list[Part] = []
    above: list[str] = []  # the name of each thing that is open
    name = ""
    for (token, start), (following, _) in pairwise([*found, ("", 0)]):
        path = tuple(one for one in (*above, name) if one)
        if token in ("{", "["):
            above.append(name)
            name = ""
        elif token in ("}", "]"):
            above, name = above[:-1], ""
        elif token == ",":
            name = ""
        elif token.startswith('"'):
            part = _quoted(path, token, start)
            if following == ":":
                part = replace(part, path=tuple(one for one in above if one), kind="name")
                name = part.text
            parts.append(part)
        elif token.rstrip() not in (":", "null"):
            parts.append(_bare(path, token.rstrip(), start))
    return parts


def _quoted(path: tuple[str, ...], token: str, start: int) -> Part:
    closed = len(token) > 1 and token.endswith('"')
    return Part(path, _text(token), start + 1, start + len(token) - closed, "text")


def _bare(path: tuple[str, ...], token: str, start: int) -> Part:
    said = {"true": "yes", "false": "no"}.get(token)
    kind = "truth" if said else "number" if _NUMBER.fullmatch(token) else "text"
    return Part(path, said or token, start, start + len(token), kind)


def _text(token: str) -> str:
    """What a text in quotes says; of one that breaks off, what is there of it."""
    for whole in (token, f'{token}"', f'{token[:-1]}"'):
        try:
            return str(json.loads(whole, strict=False))
        except ValueError:
            continue
    return token.strip('"')

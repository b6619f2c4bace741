"""Whether a text that grows may become one which an expression matches: what is held back of it until that is plain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from lindos.assistant.plainwords import readings

LONGEST_WORD = 40
MOST_FIRST = 128
"""Characters of a class that are listed."""
LONGEST_TAIL = 160
"""Characters that are looked at; what is longer counts as possible."""


class Beginnings:
    """Of some expressions over plain text (see plainwords.py), free of back references."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._trees = [(tree, _first(tree)) for tree in map(parser.parse, dict.fromkeys(sources))]
        self._of_word = lru_cache(maxsize=16384)(self._look)

    def open_at(self, tail: str) -> bool:
        """Whether a match may begin in the first word of `tail`, going by all of it that is there: it is complete, or
        `tail`, whose words are whole, ends within it. What expressions look ahead or behind for is taken to be so."""
        word = tail.split(maxsplit=1)[0] if tail.strip() else ""
        if not word:
            return False
        if len(word) > LONGEST_WORD:
            return True
        trees = self._of_word(word)
        if not trees or tail.strip() == word:
            return bool(trees)
        return len(tail) > LONGEST_TAIL or any(
            _begins(tree, first, f"{reading} ", len(reading.split(" ", 1)[0]))
            for reading in readings(tail)
            for tree, first in trees
        )

    def _look(self, word: str) -> tuple[Any, ...]:
        """The expressions a match of which may begin in `word`."""
        texts = [(f"{reading} ", len(reading)) for reading in readings(word)]
        return tuple(
            (tree, first)
            for tree, first in self._trees
            if any(_begins(tree, first, text, most) for text, most in texts)
        )


class _ReachedError(Exception):
    """The text ended within a match."""


@dataclass(frozen=True)
class _First:
    """How a match begins: most words are none of its beginnings, and are told so at once."""

    characters: frozenset[str] | None
    """The first one is of these; None: any."""
    bound: bool
    """Whether it stands where a word begins or ends."""

    def places(self, text: str, most: int) -> set[int]:
        found = range(most)
        if self.bound:
            found = [place for place in found if _holds(ops.AT_BOUNDARY, text, place)]
        return {place for place in found if self.characters is None or text[place] in self.characters}


def _first(tree: Any) -> _First:
    characters: frozenset[str] = frozenset()
    bound = False
    for op, argument in tree:
        if op is ops.AT:
            bound = bound or (argument is ops.AT_BOUNDARY and not characters)
            continue
        if op in (ops.ASSERT, ops.ASSERT_NOT):
            continue
        least, first = _first_of(op, argument)
        if first.characters is None:
            return _First(None, bound or (first.bound and not characters))
        characters |= first.characters
        if least:
            return _First(characters, bound or (first.bound and characters == first.characters))
    return _First(None, bound)


def _first_of(op: Any, argument: Any) -> tuple[bool, _First]:
    """(whether something has to stand there, how it begins)."""
    if op is ops.LITERAL:
        return True, _First(frozenset(chr(argument).casefold()[:1]), False)
    if op is ops.SUBPATTERN:
        return True, _first(argument[3])
    if op is ops.BRANCH:
        every = [_first(branch) for branch in argument[1]]
        bound = all(one.bound for one in every)
        if any(one.characters is None for one in every):
            return True, _First(None, bound)
        return True, _First(frozenset().union(*(one.characters or () for one in every)), bound)
    if op is ops.IN and all(kind is ops.LITERAL or kind is ops.RANGE for kind, _ in argument):
        ranges = [(one, one) if kind is ops.LITERAL else one for kind, one in argument]
        if sum(last - first for first, last in ranges) < MOST_FIRST:
            return True, _First(frozenset(chr(n).casefold()[:1] for a, z in ranges for n in range(a, z + 1)), False)
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        first = _first(argument[2])
        return argument[0] > 0, _First(first.characters, first.bound and argument[0] > 0)
    return True, _First(None, False)


def _begins(tree: Any, first: _First, text: str, most: int) -> bool:
    """Whether a match begins at one of the first `most` places of `text`, or may where the text goes on."""
    try:
        return bool(_behind(tree, text, first.places(text, most)))
    except _ReachedError:
        return True


def _behind(tree: Any, text: str, places: set[int]) -> set[int]:
    """Where a sequence ends that begins at one of `places`."""
    for op, argument in tree:
        if not places:
            break
        places = _step(op, argument, text, places)
    return places


def _step(op: Any, argument: Any, text: str, places: set[int]) -> set[int]:
    if op is ops.BRANCH:
        return set().union(*(_behind(branch, text, places) for branch in argument[1]))
    if op is ops.SUBPATTERN:
        return _behind(argument[3], text, places)
    if op is ops.ATOMIC_GROUP:
        return _behind(argument, text, places)
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        least, most, body = argument
        return _repeated(least, most, body, text, places)
    if op is ops.AT:
        return {place for place in places if _holds(argument, text, place)}
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return places
    if len(text) in places:
        raise _ReachedError
    return {place + 1 for place in places if _is_one(op, argument, text[place])}


def _repeated(least: int, most: int, body: Any, text: str, places: set[int]) -> set[int]:
    found = set(places) if least == 0 else set()
    for time in range(1, most + 1):
        places = _behind(body, text, places)
        if time >= least:
            if places <= found:
                break
            found |= places
        if not places:
            break
    return found


def _holds(at: Any, text: str, place: int) -> bool:
    if at is ops.AT_BOUNDARY and 0 < place < len(text):
        return _is_word(text[place - 1]) != _is_word(text[place])
    return True


def _is_one(op: Any, argument: Any, character: str) -> bool:
    if op is ops.LITERAL:
        return chr(argument).casefold() == character
    if op is ops.IN:
        return argument[0][0] is ops.NEGATE or any(_is_one(kind, one, character) for kind, one in argument)
    if op is ops.RANGE:
        return argument[0] <= ord(character) <= argument[1] or argument[0] <= ord(character.upper()[0]) <= argument[1]
    if op is ops.CATEGORY:
        return _CATEGORIES[argument](character)
    return True  # any character, any but one


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES = {
    ops.CATEGORY_DIGIT: str.isdigit,
    ops.CATEGORY_NOT_DIGIT: lambda character: not character.isdigit(),
    ops.CATEGORY_SPACE: str.isspace,
    ops.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    ops.CATEGORY_WORD: _is_word,
    ops.CATEGORY_NOT_WORD: lambda character: not _is_word(character),
}

"""Whether a text that grows may become one which an expression matches: what is held back of it until that is plain."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from lindos.assistant.plainwords import readings

LONGEST_WORD = 40
LONGEST_TAIL = 160
"""Characters that are looked at; what is longer counts as possible."""


class Beginnings:
    """Of some expressions over plain text (see plainwords.py), free of back references."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._trees = [parser.parse(source) for source in sources]
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
            _begins(tree, f"{reading} ", len(reading.split(" ", 1)[0])) for reading in readings(tail) for tree in trees
        )

    def _look(self, word: str) -> tuple[Any, ...]:
        """The expressions a match of which may begin in `word`."""
        return tuple(
            tree
            for tree in self._trees
            if any(_begins(tree, f"{reading} ", len(reading)) for reading in readings(word))
        )


class _ReachedError(Exception):
    """The text ended within a match."""


def _begins(tree: Any, text: str, most: int) -> bool:
    """Whether a match begins at one of the first `most` places of `text`, or may where the text goes on."""
    try:
        return bool(_behind(tree, text, set(range(most))))
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

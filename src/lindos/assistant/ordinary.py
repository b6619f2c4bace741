"""Ordinary words: those that tell of nobody where a sentence begins with them, whatever its first letter looks like."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from lindos.assistant.settlement.words import fold

_ENDINGS = (
    *(
        ("ies", "y"),
        ("es", ""),
        ("s", ""),
        ("ied", "y"),
        ("ed", ""),
        ("ed", "e"),
        ("ing", ""),
        ("ing", "e"),
        ("ly", ""),
    ),
    *(("er", ""), ("er", "e"), ("ers", ""), ("ers", "e"), ("ness", ""), ("less", ""), ("ings", "")),
)


@cache
def _listed() -> frozenset[str]:
    """The words of ordinary.txt: English ones that openly licensed texts (books, manuals, talk) have small more often
    than not, the most frequent of them, and French ones that begin sentences."""
    return frozenset(fold(Path(__file__).with_name("ordinary.txt").read_text(encoding="utf-8")).split())


@lru_cache(maxsize=8192)
def is_ordinary(word: str) -> bool:
    """Whether a word, small or not, is an ordinary one, or a form of one that is."""
    word = fold(word).strip("'")
    if word in _listed():
        return True
    return any(
        len(word) - len(ending) > 2 and word.endswith(ending) and word[: len(word) - len(ending)] + instead in _listed()
        for ending, instead in _ENDINGS
    )

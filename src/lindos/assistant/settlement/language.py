"""Which language a text is in, as far as the gate has to know: English, French, or one it does not know."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from lindos.assistant.settlement.words import fold, visible_words, word_list, words

Language = Literal["en", "fr", "other", ""]
"""`other`: not one the gate knows. Empty: too little to tell (names, numbers, a few words)."""

KNOWN = ("en", "fr")

_EN = word_list("english")
_FR = word_list("french")
# Words of its neighbours that neither has; a text with these is in neither, whatever else it shares.
_OTHERS = word_list("neighbours")


_PARTICLES = frozenset(["van", "von", "der", "den", "de", "del", "da", "di", "du", "al", "el", "y", "e"])


@lru_cache(maxsize=1024)
def language_of(text: str) -> Language:
    """The language of a text by its commonest words and its letters."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return ""
    foreign = sum(not _latin(c) for c in letters)
    if foreign * 3 > len(letters):
        return "other"
    found = _split_elisions(_outside_names(text))
    if not found:
        return ""
    # Single letters are words of too many languages to speak for one.
    english = sum(word in _EN for word in found if len(word) > 1)
    french = sum(word in _FR for word in found if len(word) > 1)
    others = sum(word in _OTHERS and word not in _EN and word not in _FR for word in found)
    also = sum(word in _OTHERS for word in found)
    if others and also >= max(english, french):
        return "other"
    if english == french == 0:
        return "other" if _has_foreign_letters(text) else ""
    return "en" if english >= french else "fr"


def _outside_names(text: str) -> list[str]:
    """The folded words of a text without what may be parts of names: `van der Doul` makes no text Dutch."""
    shown = visible_words(text)
    inside = {
        at
        for at, word in enumerate(shown[:-1])
        if word.islower() and len(word) <= 3 and shown[at + 1][:1].isupper() and at and fold(word) in _PARTICLES
    }
    inside |= {at - 1 for at in inside if shown[at - 1].islower() and fold(shown[at - 1]) in _PARTICLES}
    return [word for at, word in enumerate(words(" ".join(shown))) if at not in inside]


def _has_foreign_letters(text: str) -> bool:
    """Whether a word that is no name has letters of neither language."""
    return any(word[:1].islower() and _FOREIGN.search(word) for word in visible_words(text))


_FOREIGN = re.compile(
    r"[\u00e1\u00ed\u00f3\u00fa\u00f1\u00e3\u00f5\u00e5\u00f8\u00e4\u00f6\u00df\u00f0\u00fe\u00fd]|[\u0100-\u0151\u0154-\u024f]"
)


def _latin(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("LATIN", "FULLWIDTH LATIN", "MATHEMATICAL", "MODIFIER LETTER"))


def _split_elisions(found: list[str]) -> list[str]:
    """`l'election` as two words, `don't` as the one it is."""
    parts: list[str] = []
    for word in found:
        head, mark, tail = word.partition("'")
        parts += [head, tail] if mark and re.fullmatch(r"[cdjlmnst]|qu|jusqu|lorsqu|puisqu", head) else [word]
    return parts

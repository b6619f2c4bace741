"""Partial counts in posts of authoritative sources: found, and left in their own words."""

from __future__ import annotations

import re

from lindos.assistant.settlement.calls import own_words
from lindos.assistant.settlement.lexicon import CORE, TURNS
from lindos.assistant.settlement.names import Cast, masked
from lindos.assistant.settlement.words import fold, sentences

VOTES = ("election", "vote", "referendum")
"""Kinds of events in which votes are counted."""

_COUNTED = re.compile(
    r"\b(?:counted|counting|reporting|reported|precincts?|ballots?|votes?|leads?|leading|ahead|trails?|trailing|margin|tied|level|"
    r"depouill\w+|comptabilis\w+|bulletins?|voix|suffrages?|mene|menent|en tete|devance|bureaux|ecart)\b|%|\bpercent\b|\bpour cent\b"
)
_NUMBER = re.compile(r"\d")
_FIGURE = re.compile(r"\d+(?:[.,\s\u00a0\u202f]\d{3})+|\d{3,}|\d+(?:[.,]\d+)?\s?(?:%|percent|pour cent)")
_NOT_A_COUNT = re.compile(
    r"\b(?:turnout|participation|(?:exit|final|last|latest|new|opinion) polls?|dernier sondage|poll of|survey|sondages?|forecast|projection|odds|weather|taux de)\b"
)
_SCORE = re.compile(r"@\d+ \d{1,3}\s?[-–:]\s?\d{1,3} @\d+|\b(?:half[- ]time|mi-temps|minute)\b")


def read_counts(text: str, kind: str, cast: Cast) -> str | None:
    """The sentences of a post that give a partial count, as they are written; None where there are none.

    A sentence that also tells an outcome is left out.
    """
    kept: list[str] = []
    for sentence in sentences(own_words(text)):
        if _is_count(sentence, kind, cast) or (kept and _goes_on(sentence, cast)):
            kept.append(sentence.strip())
    return " ".join(kept) or None


def _goes_on(sentence: str, cast: Cast) -> bool:
    """Whether a sentence behind a count gives somebody's figures: "Tace: 51,234." """
    shape = masked(sentence, cast)
    return bool(shape.names and _FIGURE.search(fold(sentence))) and not (
        CORE.search(shape.text) or TURNS.search(shape.text)
    )


def _is_count(sentence: str, kind: str, cast: Cast) -> bool:
    shape = masked(sentence, cast)
    if not _NUMBER.search(shape.text) or CORE.search(shape.text) or TURNS.search(shape.text):
        return False
    if kind == "match" and _SCORE.search(shape.text):
        return True
    if _NOT_A_COUNT.search(fold(sentence)) and not re.search(r"\bcounted\b|\bdepouill", shape.text):
        return False
    if kind not in VOTES and not shape.names:
        return False
    figures = _FIGURE.findall(fold(sentence))
    return bool(figures) and (bool(_COUNTED.search(shape.text)) or (len(figures) > 1 and bool(shape.names)))

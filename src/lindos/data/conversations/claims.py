"""What an answer that a person wrote may not teach an assistant to say.

People answer as people: they have lived, they know today's date and take sides. A model that copies them claims a life
of its own, calls an old state of affairs the present one, and contradicts what the product's own texts say.
"""

from __future__ import annotations

import re

_PRESENT = re.compile(
    r"\b(?:current(?:ly)?|right now|nowadays|these days|today'?s?|tonight|yesterday|tomorrow|latest|as of|so far"
    r"|(?:this|last|next|past) (?:year|month|week|season|weekend)|recent(?:ly)?|upcoming|20[12]\d)\b"
    r"|\b(?:weather|forecast|news|stock price|price of|how much does)\b"
    r"|\bwho(?:'s| is| are) (?:the )?(?:\w+ ){0,3}(?:president|prime minister|minister|secretary|governor|mayor"
    r"|chancellor|king|queen|pope|ceo|champions?|coach|captain|owner|richest|oldest living|leader|head|chief)\b",
    re.IGNORECASE,
)
_LIFE = re.compile(
    r"\bI(?:'(?:m|ve|ll|d)|\s+[a-z]+)\b|(?i:\b(?:my|me|mine|myself|we|our|us)\b|\byour (?:emails?|messages|files)\b)"
)
_TO_A_PERSON = re.compile(r"\b(?:do|did|have|are|were|would|will|can|could) you\b|\byour(?:self)?\b", re.IGNORECASE)
_SIDES = re.compile(
    r"\b(?:trump|biden|obama|clinton|putin|zelensk\w*|musk|elon|republicans?|democrats?|abortion|gun control|brexit"
    r"|liberals?|conservatives?|antifa|vaccines?)\b",
    re.IGNORECASE,
)
_COARSE = re.compile(
    r"\b(?:sex\w*|hot (?:chick|girl|guy)|chicks?|porn\w*|damn|crap|stupid|idiots?|shut up|kind of rude|stoned|weed"
    r"|drunk)\b",
    re.IGNORECASE,
)


def teachable(asked: str, answer: str, *, grounded: bool = False) -> bool:
    """Whether this exchange can stand in an assistant's mouth.

    `grounded`: the answer is taken from a passage in the question, which may speak of its own present.
    """
    said = f"{asked}\n{answer}"
    if _LIFE.search(answer) or _TO_A_PERSON.search(asked) or _SIDES.search(said) or _COARSE.search(said):
        return False
    return grounded or not _PRESENT.search(said)

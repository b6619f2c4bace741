"""Text as rules read it: small letters without marks, look-alikes and tricks undone, within bounds."""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT = 8_000
"""Characters that are looked at of one text: its first and its last half of these."""
WINDOW = 600
"""Characters that a pattern sees at a time: a sentence and the next one, at most."""
_OVERLAP = 120

_LOOKALIKES = str.maketrans(
    {
        **dict(zip("аеорсухіјѕԁһӏвнкмтгиɡոԝ", "aeopcyxijsdhlbhkmtrugnw", strict=True)),
        **dict(zip("αορντεικβηυχωγ", "aopvteikbnuxwy", strict=True)),
        **dict.fromkeys("’‘ʼ`´′", "'"),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "œ": "oe",
        "æ": "ae",
        "ø": "o",
        "ł": "l",
        "ı": "i",
    }
)
_LEET = str.maketrans("0134578@$€", "oieastbase")
_REPEATED = re.compile(r"([a-z])\1{2,}")
_SPACED = re.compile(r"(?<![a-z0-9])(?:[a-z0-9@$][ .*_-]){2,40}[a-z0-9@$](?![a-z0-9])")
_LEET_WORD = re.compile(r"(?=[^\s]{0,40}[a-z])(?=[^\s]{0,40}[0-9@$€!|])[a-z0-9@$€!|'-]{2,40}")
_SIGN_INSIDE = re.compile(r"(?<=[a-z])[!|](?=[a-z])")
_SENTENCE_END = re.compile(r"(?<=[.!?…;])\s+")


def plain(text: str) -> str:
    """Small letters without accents; invisible characters gone, look-alikes Latin, white space single."""
    kept = []
    for character in _ends(unicodedata.normalize("NFKD", _ends(text).casefold())):
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zs", "Zl", "Zp"):
            kept.append(" ")
        elif kind not in ("Mn", "Me", "Cf", "Cs", "Co", "Cn"):
            kept.append(character)
    folded = "".join(kept).casefold().translate(_LOOKALIKES)
    return _REPEATED.sub(r"\1", " ".join(folded.split()))


def _ends(text: str) -> str:
    """The beginning and the end of a text that is too long."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT // 2]} . {text[-MAX_TEXT // 2 :]}"


def readings(text: str) -> tuple[str, ...]:
    """`plain` text, and what it says when letters are joined that stand apart, and digits stand for letters."""
    first = plain(text)
    joined = _SPACED.sub(_joined, first)
    spelled = _LEET_WORD.sub(lambda word: _SIGN_INSIDE.sub("i", word[0]).translate(_LEET), joined)
    return tuple(dict.fromkeys((first, joined, spelled)))


def _joined(run: re.Match[str]) -> str:
    """Letters without what stands between them; the first may be a word of its own ("a b o m b")."""
    letters = re.sub(r"[ .*_-]", "", run[0])
    return f"{letters} {letters[0]} {letters[1:]}" if letters[0] in "aiyj" else letters


def windows(text: str) -> list[str]:
    """The stretches of a text that are looked at as a whole: each sentence with the one after it."""
    sentences = [piece for sentence in _SENTENCE_END.split(text) for piece in _pieces(sentence)]
    if len(sentences) < 2:
        return sentences
    return [f"{one} {two}"[:WINDOW] for one, two in zip(sentences, [*sentences[1:], ""], strict=True)]


def _pieces(sentence: str) -> list[str]:
    half = WINDOW // 2
    if len(sentence) <= half:
        return [sentence] if sentence else []
    return [sentence[at : at + half] for at in range(0, len(sentence), half - _OVERLAP)]

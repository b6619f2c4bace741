"""Text as the gate compares it: folded past disguises, cut into sentences and words."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

_VOCABULARY = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))

_UNSEEN = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_MARKUP = re.compile(r"[*_`~#|<>\[\]{}\\^=]+")
_SPACED = re.compile(r"(?<![\w'])\w(?:[ .\-·]\w){2,}(?![\w'])")
_DOTTED = re.compile(r"(?<![\w@/])[^\W\d_]+(?:[.·]{1,3}[^\W\d_]+){2,}\.{0,3}(?![\w/])")
"""Words.with.dots.between; a host name of three parts is taken for one, which does no harm."""
_CITE = re.compile(r"\s*\[\[?(\d{1,3}(?:(?:\s?[,;]\s?|\s(?:and|et)\s)\d{1,3}){0,9})\]?\](?:\([^()\s]*\))?")

# Letters of other alphabets that look like Latin ones, and digits that stand for letters inside of words.
_ALIKE = {
    **dict(zip("авекмнорстухіјѕԁԛԝьгп", "abekmhopctyxijsdqwbrn", strict=True)),
    **dict(zip("αβεηικμνορτυχω", "abenikmvoptuxw", strict=True)),
    **dict(zip("ıɡɑᴏɴʟ", "igaonl", strict=True)),
    **dict(zip("АВЕКМНОРСТУХІЈЅ", "ABEKMHOPCTYXIJS", strict=True)),
    **dict(zip("ΑΒΕΗΙΚΜΝΟΡΤΥΧΖ", "ABEHIKMNOPTYXZ", strict=True)),
}
_ALIKE_TABLE = str.maketrans(_ALIKE)
_DIGITS = str.maketrans("013457", "oleast")
_INSIDE = re.compile(r"(?<=[A-Za-z])[013457](?=[A-Za-z])")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TITLES = (
    *("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "v", "no", "gov", "sen", "rep", "gen", "col", "capt"),
    *("m", "mme", "mlle", "me", "ste", "art", "inc", "ltd", "co", "corp", "jan", "feb", "mar", "apr", "jun", "jul"),
    *("aug", "sep", "sept", "oct", "nov", "dec", "approx", "etc", "fig", "ca", "hon", "rev", "mt", "ft"),
)
_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]*_]*(?=\s|$)|\n+")


def word_list(name: str) -> frozenset[str]:
    """A list of vocabulary.toml."""
    return frozenset(_VOCABULARY[name].split())


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """The text with its disguises undone, capitals and accents kept: unseen and look-alike characters, mark-up,
    spaced-out words, digits for letters."""
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    if not text.isascii():
        text = _WORD.sub(_latin, text.replace("’", "'").replace("ʼ", "'").replace("‘", "'"))
    text = _DOTTED.sub(lambda found: re.sub(r"[.·_]+", " ", found.group()), _MARKUP.sub(" ", text.replace("`", "'")))
    text = _SPACED.sub(lambda found: re.sub(r"[ .\-·]", "", found.group()), text)
    text = _INSIDE.sub(lambda found: found.group().translate(_DIGITS), text)
    return re.sub(r"[^\S\n]+", " ", text)


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """`plain` in small letters without accents, on one line. Punctuation stays."""
    text = plain(text).casefold().replace("œ", "oe").replace("æ", "ae")
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(text.split())


def _latin(found: re.Match[str]) -> str:
    """A word whose letters are Latin or look it, in Latin letters; words of other alphabets stay what they are."""
    word = found.group()
    if word.isascii():
        return word
    changed = word.translate(_ALIKE_TABLE)
    kept = unicodedata.normalize("NFKD", changed)
    return changed if all(c.isascii() or unicodedata.combining(c) for c in kept) else word


def words(text: str) -> list[str]:
    """The folded words of a text."""
    return _WORD.findall(fold(text))


def visible_words(text: str) -> list[str]:
    """The words as they are written, without unseen characters."""
    return _WORD.findall(plain(text))


def is_loud(text: str) -> bool:
    """Whether a text is written in capitals altogether."""
    letters = [c for c in text if c.isalpha()]
    return len(letters) > 8 and sum(c.isupper() for c in letters) > 0.7 * len(letters)


def without_citations(text: str) -> tuple[str, tuple[int, ...]]:
    """The text without marks like [1] and [1, 2], and the numbers they had."""
    numbers = tuple(int(number) for mark in _CITE.findall(text) for number in re.findall(r"\d+", mark))
    return _CITE.sub("", text), numbers


def sentence_ends(text: str) -> list[int]:
    """Where sentences end in a growing text: behind each end that is certain by what follows it.

    Lines end sentences, too. The rest behind the last end may still grow.
    """
    ends = []
    for found in _END.finditer(text):
        if found.end() == len(text) and not found.group().endswith("\n"):
            continue  # what follows may be a digit or more dots
        if found.group().startswith(".") and _abbreviated(text[: found.start()]):
            continue
        ends.append(found.end())
    return ends


def _abbreviated(before: str) -> bool:
    last = re.search(r"([^\W\d_]+)$", before)
    if last is None:
        return False
    word = last.group()
    if len(word) == 1 and word.isupper():  # an initial; "I" ends sentences now and then
        return word != "I"
    return word.casefold() in _TITLES and not (word.islower() and len(word) > 3)


def sentences(text: str) -> list[str]:
    """A whole text cut into sentences and lines, nothing lost: joined they are the text."""
    places = [0, *sentence_ends(text), len(text)]
    return [text[a:b] for a, b in pairwise(places) if b > a]


def years(text: str) -> tuple[int, ...]:
    """The years a text names, 1000 to 2199."""
    return tuple(int(y) for y in re.findall(r"(?<![\d.,])(1\d{3}|2[01]\d\d)(?![\d%]|[.,]\d)", text))

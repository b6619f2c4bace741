"""Words: what of a text is looked up, the same for posts and for questions, in either database.

A word is a run of letters and digits without case and accents. Scripts that put no spaces between words (Chinese,
Japanese, Thai, ...) are cut into overlapping pairs of characters instead, which needs no dictionary (Nie, Gao, Zhang,
Zhou, "On the use of words and n-grams for Chinese information retrieval", 2000); so is Korean, where particles stick to
words. English and French plurals lose their ending (after Harman, "How effective is suffixing?", 1991).
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_WORD = 64
"""In characters. What is longer is taken for several."""
MOST_WORDS = 2000
LONGEST_TEXT = 100_000
"""Of one text, in characters. What comes later in a longer one is not found; PostgreSQL takes at most a megabyte."""

_DENSE = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u1100-\u11ff\uac00-\ud7af"
)
# Vowels of Indian scripts are marks, not letters, but belong to their words.
_MARKED = "\u0900-\u0963\u0966-\u0df3"
_PICTURE = "\u2600-\u27bf\U0001f300-\U0001faff"
_PLAIN_WORDS = re.compile(rf"[a-z0-9]{{1,{LONGEST_WORD}}}")
_WORDS = re.compile(rf"[{_DENSE}]+|(?:[^\W_{_DENSE}]|[{_MARKED}]){{1,{LONGEST_WORD}}}|[{_PICTURE}]")
_IS_DENSE = re.compile(rf"[{_DENSE}]")
_ENDINGS = "sye"
"""The last letters of words that `_stem` may change; it is asked ten thousand times a second."""
_VOICED = "\u3099\u309a"
"""Japanese marks that make another sound, not an accent."""


def words(text: str) -> list[str]:
    """The words of a post's text, in order."""
    return _words(text, tail=True)


def question_words(text: str) -> list[str]:
    """The words of a question, each once. A single character of a dense script stands for all words it begins."""
    return list(dict.fromkeys(_words(text, tail=False)))


def is_beginning(word: str) -> bool:
    """Whether a question's word is to be found at the beginning of longer ones: one character of a dense script."""
    return len(word) == 1 and _IS_DENSE.match(word) is not None


def fold(text: str) -> str:
    """Text without case, accents and variants of letters."""
    if text.isascii():
        return text.lower()
    # Taking letters apart can bring capitals to light (a mathematical A), and folding case whole letters.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if c in _VOICED or not unicodedata.combining(c)))


def _words(text: str, *, tail: bool) -> list[str]:
    folded = fold(text[:LONGEST_TEXT])
    if folded.isascii():
        plain = _PLAIN_WORDS.findall(folded)[:MOST_WORDS]
        return [_stem(word) if word[-1] in _ENDINGS else word for word in plain]
    found: list[str] = []
    for word in _WORDS.findall(folded):
        if _IS_DENSE.match(word):
            found += [word[i : i + 2] for i in range(len(word) - 1)]
            if tail or len(word) == 1:  # so that the last character begins something, too
                found.append(word[-1])
        else:
            found.append(_stem(word))
        if len(found) >= MOST_WORDS:
            return found[:MOST_WORDS]
    return found


def _stem(word: str) -> str:
    """A word without the ending of its plural, where it looks like one: `parties`, `party`, `partie` are `parti`."""
    if len(word) < 4 or not word.isascii():
        return word
    if word[-1] == "s" and word[-2] not in "sui" and word.isalpha():
        word = word[:-1]
    if len(word) > 4:
        if word.endswith("ie"):
            word = word[:-1]
        elif word[-1] == "y" and word[-2] not in "aeiou":
            word = word[:-1] + "i"
    return word


_STOP = """
a about after all also am an and any are as at be because been before being but by can could d did do does doing down
during each for from further get give had has have having he her here hers him his how i if in into is it its just
know latest let ll m me more most much my no nor not now of off on once only or other our out over own please posts re
s said same say says she should show so some such t tell than that the their them then there these they think this
those through to too under until up ve very was we were what when where which while who whom whose why will with would
you your au aux avec c ce ces cette dans de des dit du elle elles en est et eu il ils j je l la le les leur leurs lui
ma mais mes moi mon n ne nos notre nous on ont ou où par pas pour qu quand que quel quelle quelles quels qui quoi sa
sans se sera ses son sont sur ta te tes toi ton tu un une vos votre vous y été être https http www com
"""
STOP_WORDS = frozenset(_stem(fold(word)) for word in _STOP.split())
"""What says nothing in English and French, whatever the posts at hand; other words show it by being in many posts."""

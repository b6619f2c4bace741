"""From text as people publish it to plain text a small model can learn: one way to write quotes, dashes and spaces."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

_ASCII = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–−", "-"),
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None),
        **dict.fromkeys("•·◦▪", "-"),
        "…": "...",
        "—": "--",
        "―": "--",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "\r": "\n",
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_DASH = re.compile(r" *--+ *")
_SPACES = re.compile(r" {2,}")
_LINE_ENDS = re.compile(r" +\n")
_BLANKS = re.compile(r"\n{3,}")
_DASH_BEFORE_QUOTE = re.compile(r" - (?=[\"'.,!?)]|$)", re.MULTILINE)

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])?")
_LINK = re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])")
_REFERENCE = re.compile(r"^ *\[[^\]]+\]: *\S.*$", re.MULTILINE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,300}>|<!--.*?-->", re.DOTALL)
_URL = re.compile(r"<?(?:https?://|www\.)[^\s<>)\]]+>?")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3})(?=\S)(.{1,400}?)(?<=\S)\1(?!\w)", re.DOTALL)
_TABLE = re.compile(r"^ *\|.*$|^.*\|.*\|.*$", re.MULTILINE)
_SHORTCODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def normalise(text: str, *, dashes: bool = True) -> str:
    """Unicode NFC, quotes and dashes in ASCII, no control characters, single spaces, at most one blank line.

    Without `dashes`, "--" stays as it is (in commands it is no punctuation).
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = _CONTROL.sub("", text.replace("\r\n", "\n").translate(_ASCII))
    if dashes and "--" in text:
        text = _DASH_BEFORE_QUOTE.sub("-", _DASH.sub(" - ", text))
    text = _LINE_ENDS.sub("\n", _SPACES.sub(" ", text))
    return _BLANKS.sub("\n\n", text).strip()


def strip_markdown(text: str, *, fences: bool = True) -> str:
    """Text without links, images, emphasis, tables, tags, addresses and (with `fences`) code blocks; headings stay."""
    if fences:
        text = _FENCE.sub("", text)
    text = _LINK.sub(r"\1", _IMAGE.sub("", _REFERENCE.sub("", text)))
    text = _URL.sub("", _TAG.sub("", _SHORTCODE.sub("", text)))
    return _EMPHASIS.sub(r"\2", _TABLE.sub("", text)).replace("**", "")


def paragraphs(text: str) -> list[str]:
    """The parts between blank lines, none of them empty."""
    return [part.strip() for part in re.split(r"\n[ \n]*\n", text) if part.strip()]


def sentences(paragraph: str) -> list[str]:
    """A rough cut at '.', '!', '?' followed by space and a capital, a digit or a quote."""
    return _SENTENCE_END.split(paragraph)


def capitalised(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def chunks(parts: Iterable[str | None], size: int, *, least: int = 200) -> Iterator[str]:
    """Paragraphs gathered into documents of about `size` characters; None marks a good place to begin a new one."""
    held: list[str] = []
    length = 0
    for part in parts:
        if part is None:
            if length >= size // 4:
                yield "\n\n".join(held)
                held, length = [], 0
            continue
        if held and length + len(part) > size:
            yield "\n\n".join(held)
            held, length = [], 0
        held.append(part)
        length += len(part) + 2
    if held and length >= least:
        yield "\n\n".join(held)


_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')]))\s+(?=[\"'(]?[A-Z0-9])")
_WORD = re.compile(r"[a-z]+")


@cache
def _unwanted() -> frozenset[str]:
    text = resources.files("lindos.data").joinpath("slurs.txt").read_text(encoding="ascii")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


@cache
def _is_unwanted(word: str) -> bool:
    return word_mark(word) in _unwanted()


def word_mark(word: str) -> str:
    """How a word is written in `slurs.txt`: a digest, so that the list need not be read to be kept."""
    return hashlib.sha256(b"lindos:" + word.encode()).hexdigest()[:16]


def has_slur(text: str) -> bool:
    """Whether a word of the list of slurs and gross obscenities occurs in the text."""
    return any(map(_is_unwanted, set(_WORD.findall(text.lower()))))

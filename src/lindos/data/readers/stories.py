"""Books, fairy tales and short stories: prose without chapter furniture, verse and play scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lindos.data.clean import chunks, normalise, paragraphs, strip_markdown
from lindos.data.readers.base import Row, ends_sentence, field, is_heading, is_prose

_FURNITURE = re.compile(
    r"gutenberg|proofread|transcrib|illustrat|footnote|copyright|all rights reserved|produced by|scanned by|e-?text"
    r"|^\[|^\*|^chapter\b|^the end\b|^book [ivx\d]+\b|^part [ivx\d]+\b|^end of ",
    re.IGNORECASE,
)
_FRONT = re.compile(r"^\W*(preface|contents|introduction|dedication|notes|glossary|index|appendix|foreword)", re.I)
_SPEAKER = re.compile(r"^(?:[A-Z][A-Z'. -]{2,30}|[A-Z][a-z]{2,12})(?:\s*[(\[][^)\]]*[)\]])?[.:] ", re.MULTILINE)
_NOTE_MARK = re.compile(r"\[\d{1,3}\]|\(\d{1,3}\)|\{\d+\}|\[(?:Illustration|Footnote)[^\]]*\]")
_STANZA_LINE = 55


def book(row: Row, size: int) -> Iterator[str]:
    """A book as documents of about `size` characters that begin at chapters where they can."""
    for chunk in chunks(_prose(normalise(strip_markdown(field(row, "text")))), size, least=size // 4):
        lines = chunk.split("\n\n")
        speakers = sum(bool(_SPEAKER.match(line)) for line in lines)
        if speakers < 0.3 * len(lines) and is_prose(chunk):
            yield chunk


def short_story(row: Row, size: int) -> Iterator[str]:
    """One story a row, under its title."""
    title, text = normalise(field(row, "title")), normalise(field(row, "text")).replace("##", "")
    text = re.sub(r"(?<=[a-z])([.!?])(?=[A-Z][a-z])", r"\1 ", text)
    yield from chunks([title, *(" ".join(part.split()) for part in text.split("\n") if part.strip())], size)


def five_sentences(row: Row, size: int) -> Iterator[str]:  # noqa: ARG001
    """Four numbered sentences and the one that ends their story."""
    parts = re.split(r"\s*Sentence\d:\s*", normalise(field(row, "input")))
    told = [part.strip() for part in [*parts, normalise(field(row, "output"))] if part.strip()]
    if len(told) == 5 and all(map(ends_sentence, told)):
        yield " ".join(told)


def _prose(text: str) -> Iterator[str | None]:
    front = False
    for paragraph in paragraphs(text.replace("_", "")):
        if is_heading(paragraph):
            front = bool(_FRONT.match(paragraph.lstrip("# ")))
            yield None
            continue
        lines = paragraph.split("\n")
        verse = len(lines) > 2 and sum(map(len, lines)) / len(lines) < _STANZA_LINE
        if front or verse or _FURNITURE.search(paragraph[:200]):
            continue
        yield " ".join(_NOTE_MARK.sub("", " ".join(lines)).split())

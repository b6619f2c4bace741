"""Textbooks, glossaries and the dictionary."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lindos.data.clean import capitalised, chunks, normalise, paragraphs, sentences, strip_markdown
from lindos.data.readers.base import Row, calm, choose, ends_sentence, field, is_prose, items

_DROPPED_SECTION = re.compile(
    r"question|exercise|problem|standards|sequencing|reference|endnote|objective|teacher|answer|solution|try it"
    r"|self.check|test prep|multiple choice|fill in|key terms|key equations|suggested|practice|writing|homework"
    r"|short answer|free response|bibliograph|further|resources|project|credit|full text|outcome|reasoning|strategy"
    r"|everyday math|check your|knowledge check|formula review|about |^preface|link to|watch|discussion|critical"
    r"|works cited|attribution|calculator|bring together|making connections$",
    re.IGNORECASE,
)
# A figure's or a section's name was cut out of these sentences, and they no longer read.
_DANGLING = re.compile(
    r"\b(?:in|see|and|or|from|by|of|to|with|the|as|at|on|than|that|is|are|Figure|Table|Example|Equation)\s*[,.;:)]"
    r"|\(\s*[),.;]|\((?:see|shown in|as in)\b|^[a-z]|\s[,.;]|=|\$"
)


def textbook(row: Row, size: int) -> Iterator[str]:
    """The explaining text of a module under its headings; exercises, goals and sources left out."""
    if re.search(r"preface|answer key|🔎|✒|🔨|⌛|📖|💬|📝|🖼|🏛", field(row, "title"), re.IGNORECASE):
        return
    for chunk in chunks(_explanation(normalise(strip_markdown(field(row, "text")))), size, least=300):
        if is_prose(chunk):
            yield chunk


def glossary(row: Row, size: int) -> Iterator[str]:  # noqa: ARG001
    """A term and its meaning, said in one of a few ways."""
    term = normalise(field(row, "term"))
    meaning = re.sub(r"^\(also[^)]*\)[,;:]?\s*", "", normalise(field(row, "meaning"))).rstrip(".")
    if not term or len(meaning) < 15 or "$" in meaning or "=" in meaning:
        return
    yield choose(
        (
            f"{capitalised(term)}: {meaning}.",
            f"What is meant by {term}? {capitalised(meaning)}.",
            f"Question: What is the meaning of {term}?\nAnswer: {meaning}.",
            f'The term "{term}" means {meaning}.',
        ),
        term,
    )


def dictionary(row: Row, size: int) -> Iterator[str]:  # noqa: ARG001
    """The words of one meaning, defined, with their examples as sentences."""
    words = [normalise(word) for word in items(row, "words") if isinstance(word, str)]
    meaning = re.sub(r"^\([^)]*\)\s*", "", normalise(field(row, "definition"))).rstrip(".;")
    if not words or not words[0] or len(meaning) < 12:
        return
    word, kind = words[0], field(row, "pos")
    if kind == "v":
        said = choose((f"To {word} is to {meaning}.", f'"To {word}" means to {meaning}.'), word)
    elif kind == "n":
        said = choose((f'The word "{word}" means {meaning}.', f"{capitalised(word)}: {meaning}."), word)
    else:
        said = f'The word "{word}" means {meaning}.'
    if len(words) > 1:
        said += " " + choose((f'Another word for "{word}" is "{words[1]}".', f'It is also called "{words[1]}".'), word)
    examples = [normalise(text) for text in items(row, "examples") if isinstance(text, str)]
    shown = [capitalised(text.rstrip(".;,")) for text in examples if len(text.split()) > 2]
    yield " ".join([said, *(text if ends_sentence(text) else text + "." for text in shown)])


def _explanation(text: str) -> Iterator[str | None]:
    dropped_level = 0
    waiting = ""
    for paragraph in paragraphs(text):
        if paragraph.startswith("#"):
            level = len(paragraph) - len(paragraph.lstrip("#"))
            if not dropped_level or level <= dropped_level:
                dropped_level = level if _DROPPED_SECTION.search(paragraph) else 0
            waiting = "" if dropped_level else calm(paragraph.split("\n")[0])
            if not dropped_level:
                yield None
            continue
        kept = "" if dropped_level else _mended(paragraph)
        if kept:
            yield f"{waiting}\n\n{kept}" if waiting else kept
            waiting = ""


def _mended(paragraph: str) -> str:
    if paragraph.startswith("- "):
        items = [line for line in paragraph.split("\n") if len(line) > 25 and not _DANGLING.search(line[2:])]
        return "\n".join(items) if len(items) > 1 else ""
    said = " ".join(part for part in sentences(" ".join(paragraph.split())) if not _DANGLING.search(part))
    return said if len(said) >= 60 and ends_sentence(said) else ""

"""Government prose, the country facts of the World Factbook, and documentation of programs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lindos.data.clean import chunks, normalise, paragraphs, strip_markdown
from lindos.data.readers.base import Row, calm, ends_sentence, field, is_prose

_NAVIGATION = re.compile(r"^(?:next to|jump to|back to|learn more|read more|sign up|register|note:|this article)", re.I)


def government(row: Row, size: int) -> Iterator[str]:
    """Plain-language web pages: whole sentences under their headings, lists of more than a few words."""
    title = normalise(field(row, "title"))
    kept = list(_whole(paragraphs(normalise(strip_markdown(field(row, "text"))))))
    if sum(len(part) for part in kept if part) >= 400:
        yield from chunks([title, *kept] if title else kept, size)


def program_docs(row: Row, size: int) -> Iterator[str]:
    """Command summaries as "To do this: command", and the prose of a programming book."""
    text = field(row, "text")
    if field(row, "src") == "tldr":
        yield from _commands(text)
        return
    prose = (" ".join(part.split()) for part in paragraphs(normalise(strip_markdown(text))))
    yield from chunks(
        [part for part in prose if not part.startswith(("#", "<", "[", "-")) and ends_sentence(part)], size, least=400
    )


def country_facts(row: Row, size: int) -> Iterator[str]:
    """Each section of a country's page that is told in words; figures are left out."""
    country = normalise(field(row, "name"))
    for section in re.split(r"^## ", normalise(field(row, "text")), flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        told = [line for line in body.split("\n") if _is_told(line)]
        facts = [re.sub(r"\s*\((?:19|20)\d\d est\.\)|note: (?=note:)|^text: ", "", line) for line in told]
        if facts:
            yield from chunks([f"{country}: {title}", "\n".join(facts)[:size]], size)


def _is_told(line: str) -> bool:
    label, _, rest = line.partition(": ")
    return len(rest.split()) >= 5 and len(label) < 40 and ": " not in rest[:40] and is_prose(rest)


def _whole(parts: list[str]) -> Iterator[str | None]:
    waiting = ""
    for part in parts:
        if part.startswith("#"):
            waiting = calm(part.split("\n")[0])
            yield None
        elif re.match(r"[*-] ", part):
            items = [" ".join(line.split()) for line in re.split(r"^\s*[*-] ", part, flags=re.MULTILINE)]
            items = [f"- {line}" for line in items if len(line) > 30]
            if len(items) > 1:
                yield "\n".join([waiting, *items] if waiting else items)
                waiting = ""
        else:
            said = " ".join(part.lstrip("> ").split())
            if len(said) >= 60 and ends_sentence(said) and is_prose(said) and not _NAVIGATION.match(said):
                yield f"{waiting}\n\n{said}" if waiting else said
                waiting = ""


def _commands(text: str) -> Iterator[str]:
    about = " ".join(line[2:] for line in text.split("\n") if line.startswith("> ") and "More info" not in line)
    name = text.split("\n")[0].lstrip("# ")
    pairs = re.findall(r"^- (.+?):?\n+`(.+?)`$", text, flags=re.MULTILINE)
    if not about or not pairs or "is an alias" in about:
        return
    lines = [f"{name}: {about}", *(f"{aim}: `{re.sub(r'[{}]{2}', '', command)}`" for aim, command in pairs)]
    yield normalise("\n".join(lines), dashes=False)

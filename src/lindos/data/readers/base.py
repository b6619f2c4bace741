"""What readers share: the shape of a reader, choosing a wording by hash, telling prose from furniture."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Row = dict[str, Any]
Reader = Callable[[Row, int], Iterator[str]]
T = TypeVar("T")

_SHOUT = re.compile(r"[A-Z]{3,}")
_END = re.compile(r"[.!?:;,\"')]$")


def field(row: Row, name: str) -> str:
    """A text field of a row, "" when it is missing or no text."""
    value = row.get(name)
    return value if isinstance(value, str) else ""


def items(row: Row, name: str) -> list[Any]:
    """A list field of a row, [] when it is missing or no list."""
    value = row.get(name)
    return value if isinstance(value, list) else []


def choose(options: Sequence[T], text: str) -> T:
    """One of `options`, always the same one for the same text."""
    return options[zlib.crc32(text.encode("utf-8", errors="replace")) % len(options)]


def ends_sentence(text: str) -> bool:
    """Whether the text ends as a sentence does."""
    return bool(text) and text.rstrip("\"')")[-1:] in (".", "!", "?")


def is_heading(paragraph: str) -> bool:
    """A Markdown heading, a shouted line or a short line without an end: a title, not prose."""
    if paragraph.startswith("#"):
        return True
    if "\n" in paragraph or len(paragraph) > 80:
        return False
    letters = [c for c in paragraph if c.isalpha()]
    return not letters or all(c.isupper() for c in letters) or not _END.search(paragraph)


def calm(title: str) -> str:
    """A heading without marks, and not shouted."""
    title = title.lstrip("# ").strip("* ")
    return title.capitalize() if _SHOUT.search(title) and title.upper() == title else title


def is_prose(text: str) -> bool:
    """Mostly letters: no table, formula or code."""
    letters = sum(map(str.isalpha, text)) + text.count(" ")
    return letters >= 0.87 * max(len(text), 1)

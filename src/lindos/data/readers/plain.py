"""Any text: rows with a field "text", perhaps in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from lindos.data.clean import chunks, normalise, paragraphs, strip_markdown
from lindos.data.readers.base import Row, field


def text(row: Row, size: int) -> Iterator[str]:
    """Paragraphs as they are, cleaned."""
    yield from chunks(paragraphs(strip_markdown(normalise(field(row, "text")), fences=False)), size, least=1)

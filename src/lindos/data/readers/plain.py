"""Any text: rows with a field "text", perhaps in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from lindos.data.clean import chunks, normalise, paragraphs, strip_markdown
from lindos.data.readers.base import Row, field


def text(row: Row, size: int) -> Iterator[str]:
    """Paragraphs as they are, cleaned."""
    # Cleaned before, so that marks are found, and after: what a mark stood between may be blank.
    text = normalise(strip_markdown(normalise(field(row, "text")), fences=False), dashes=False)
    yield from chunks(paragraphs(text), size, least=1)

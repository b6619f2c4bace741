"""What the assistant's answers rest on, as clients are told: `url_citation`s, and the field `lindos`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from lindos.assistant import Basis, Cut, EventBasis, Form, Source, Standing


class Reply(BaseModel):
    """A part of a reply; fields in LEFT_OUT are not sent while there is nothing in them."""

    LEFT_OUT: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _sent(self, handler: SerializerFunctionWrapHandler):
        return {name: value for name, value in handler(self).items() if value is not None or name not in self.LEFT_OUT}

    def sent(self) -> dict[str, Any]:
        """As JSON."""
        return self.model_dump(mode="json", by_alias=True)


class Evidence(Reply):
    """How far the event that an answer is about is settled, and what it rests on."""

    LEFT_OUT = frozenset({"stale", "deleted", "edited"})

    form: Form
    as_of: datetime | None
    """The moment the answer speaks of."""
    events: tuple[EventBasis, ...]
    cut: tuple[Cut, ...]
    """Sentences that were written and not shown, and why."""
    sources: tuple[Source, ...]
    stale: tuple[str, ...] | None = None
    """Of an answer that was kept: the titles of events that stand differently by now."""
    deleted: tuple[str, ...] | None = None
    """URIs of sources that are gone since; what was quoted of them is gone from the answer."""
    edited: tuple[str, ...] | None = None
    """URIs of sources that say something else by now."""

    @classmethod
    def of(cls, basis: Basis, standing: Standing | None = None) -> Evidence:
        """As it was when the answer was written, or as it stands now."""
        return cls(
            form=basis.form,
            as_of=basis.as_of,
            events=basis.events,
            cut=basis.cut,
            sources=basis.sources,
            stale=(standing.stale or None) if standing else None,
            deleted=(standing.deleted or None) if standing else None,
            edited=(standing.edited or None) if standing else None,
        )


class UrlCitation(BaseModel):
    """A stretch of the text, from `start_index` to just before `end_index` in Unicode code points, and its source."""

    start_index: int
    end_index: int
    title: str
    """The author."""
    url: str


class FlatCitation(UrlCitation):
    """As responses have it."""

    type: Literal["url_citation"] = "url_citation"


class NestedCitation(BaseModel):
    """As chats have it."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


def citations_of(basis: Basis) -> list[FlatCitation]:
    """In the order of the text. What a citation rests on is told by its place on the web, else by its name."""
    sources = {source.uri: source for source in basis.sources}
    return [
        FlatCitation(
            start_index=one.start, end_index=one.end, title=sources[one.uri].author, url=sources[one.uri].url or one.uri
        )
        for one in sorted(basis.citations, key=lambda one: (one.start, one.end))
        if one.uri in sources
    ]


def nested(citations: list[FlatCitation]) -> list[NestedCitation]:
    """The same, as chats have them."""
    return [NestedCitation(url_citation=UrlCitation(**one.model_dump(exclude={"type"}))) for one in citations]

"""What an answer rests on, as the page shows it: sources, how far its event is settled, what was held back."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from lindos.assistant import Basis, Form, Source, Standing
from lindos.server.page.cites import Cite

log = logging.getLogger("lindos.server")

SAME_TIME_SECONDS = 60
"""A claimed time this close to when a post was seen says nothing of its own."""

_REASONS = {
    "unsettled": "told an outcome that is not settled",
    "contradicted": "went against what its sources say",
    "unsupported": "stood in no source",
    "language": "were in a language that cannot be checked",
    "policy": "went against the policy",
    "unknown_citation": "named a source that was not found",
}


class SourceView(BaseModel):
    """A post beside an answer."""

    number: int
    """As its citations in the text have it."""
    uri: str
    url: str
    """Where to look at it, http or https; empty where there is no such place, or no such post any more."""
    author: str
    text: str
    """Plain text."""
    seen_at: datetime
    claimed_at: datetime | None
    """When it claims to be from, where that is another time than when it was seen."""
    authoritative: bool
    cited: bool
    state: Literal["", "edited", "deleted"]


class EventView(BaseModel):
    title: str
    form: Form


class HeldBack(BaseModel):
    """Sentences that nobody was shown."""

    reason: str
    """The rest of "sentences that ..."."""
    count: int


class BasisView(BaseModel):
    """What the page shows with an answer."""

    form: Form
    as_of: datetime | None
    events: list[EventView]
    sources: list[SourceView]
    held_back: list[HeldBack]
    stale: list[str]
    """Titles of the events that stand differently by now."""
    refused: str
    """The id of the policy's rule by which it was refused."""


def basis_view(basis: Basis, standing: Standing | None = None) -> BasisView | None:
    """What to show of a basis, with what became of it since; None where there is nothing to show."""
    if basis.form == "none" and not (basis.as_of or basis.events or basis.sources or basis.cut or basis.refused):
        return None
    deleted = standing.deleted if standing else ()
    edited = standing.edited if standing else ()
    cited = {citation.uri for citation in basis.citations}
    return BasisView(
        form=basis.form,
        as_of=basis.as_of,
        events=[EventView(title=event.title, form=event.form) for event in basis.events],
        sources=[
            _source(number, source, cited=source.uri in cited, deleted=deleted, edited=edited)
            for number, source in enumerate(basis.sources, 1)
            if source.author or source.uri not in deleted
        ],
        held_back=[
            HeldBack(reason=_REASONS[reason], count=count)
            for reason, count in Counter(cut.reason for cut in basis.cut).most_common()
        ],
        stale=list(standing.stale) if standing else [],
        refused=basis.refused,
    )


def _source(
    number: int, source: Source, *, cited: bool, deleted: Collection[str], edited: Collection[str]
) -> SourceView:
    gone = source.uri in deleted
    claimed = source.created_at
    if claimed is not None and abs((claimed - source.seen_at).total_seconds()) < SAME_TIME_SECONDS:
        claimed = None
    return SourceView(
        number=number,
        uri=source.uri,
        url="" if gone else _address(source.url),
        author=source.author,
        text="" if gone else source.text,
        seen_at=source.seen_at,
        claimed_at=claimed,
        authoritative=source.authoritative,
        cited=cited or gone,
        state="deleted" if gone else "edited" if source.uri in edited else "",
    )


def _address(url: str) -> str:
    """A URL that may become a link: posts come from anybody."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.netloc else ""


def places(basis: Basis) -> tuple[Cite, ...]:
    """Where in the answer's text which sources' numbers stand."""
    numbers = {source.uri: number for number, source in enumerate(basis.sources, 1)}
    found = ((cited.end, numbers[cited.uri]) for cited in basis.citations if cited.uri in numbers)
    return tuple(dict.fromkeys(found))


# As it is kept.


def kept(basis: Basis) -> str:
    """A basis as a message's column holds it."""
    return "" if basis == Basis() else basis.model_dump_json()


def unkept(column: str) -> Basis:
    """The basis in a message's column; nothing, where another version of Lindos wrote what cannot be read."""
    try:
        return Basis.model_validate_json(column) if column else Basis()
    except ValidationError as error:
        log.warning("what an answer rests on cannot be read: %s", error)
        return Basis()


def with_graves(before: Basis, standing: Standing) -> Basis:
    """A standing's basis with all sources of before, so that they keep their numbers.

    Of those that are gone only the author is left, and not even that where the answer had not cited them.
    """
    now = {source.uri: source for source in standing.basis.sources}
    cited = {citation.uri for citation in before.citations}
    sources: list[Source] = []
    for source in before.sources:
        if source.uri not in standing.deleted:
            sources.append(now.get(source.uri, source))
        elif source.text or source.url:
            author = source.author if source.uri in cited else ""
            sources.append(source.model_copy(update={"text": "", "url": "", "author": author}))
        else:  # buried before
            sources.append(source)
    return standing.basis.model_copy(update={"sources": tuple(sources)})


def mark(standing: Standing) -> str:
    """A short text that differs where something else became of an answer."""
    parts = [sorted(standing.stale), sorted(standing.deleted), sorted(standing.edited)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16] if any(parts) else ""

"""Basis: what an answer rests on, kept with it so that it can be looked at again when the world has moved on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Form = Literal["settled", "partial", "conflicting", "unknown", "none"]
"""How far the event that an answer is about is settled; none: it is about no event."""

EventState = Literal["scheduled", "open", "counting", "called", "certified", "disputed"]


class Part(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Part):
    """A post as it was when the answer was written."""

    uri: str
    url: str
    """Where a person can look at it; empty where there is no such place."""
    author: str
    """The author for people: a handle where there is one."""
    text: str
    created_at: datetime | None
    seen_at: datetime
    authoritative: bool = False
    """Whether its author is one of those that the answer's event is settled by."""


class Citation(Part):
    """A stretch of the answer's text, and the source it rests on. A source may be cited several times."""

    uri: str
    start: int
    """First character of the stretch, counted in Unicode code points of the answer's whole text."""
    end: int
    """Just behind its last one."""
    quote: bool = False
    """Whether the stretch is the post's own words, which go when it is deleted."""


class Cut(Part):
    """A sentence that the model wrote and nobody was shown."""

    text: str
    """Empty where the policy refused it."""
    reason: Literal["unsettled", "contradicted", "unsupported", "language", "policy", "unknown_citation"]


class EventBasis(Part):
    """What was known of an event when the answer was written."""

    id: str
    title: str
    kind: str
    form: Form
    state: EventState
    standing: str
    """A fingerprint of state, outcome and calls: the answer is stale once the event has another one."""
    outcome: str = ""


class Basis(Part):
    """What an answer rests on."""

    form: Form = "none"
    as_of: datetime | None = None
    """The moment the answer speaks of; set on whatever is said of events under way."""
    language: str = "en"
    events: tuple[EventBasis, ...] = ()
    sources: tuple[Source, ...] = ()
    """What was found and may be cited, in the order of their numbers."""
    citations: tuple[Citation, ...] = ()
    cut: tuple[Cut, ...] = ()
    refused: str = ""
    """The id of the policy's rule by which it was refused."""


class Standing(Part):
    """An answer, looked at again."""

    text: str
    """Without the words of posts that are gone since."""
    stale: tuple[str, ...] = ()
    """Titles of the events that stand differently by now."""
    deleted: tuple[str, ...] = ()
    """URIs of sources that are gone."""
    edited: tuple[str, ...] = ()
    """URIs of sources that say something else by now."""
    basis: Basis
    """Without what is gone; places in the text are those of `text`."""

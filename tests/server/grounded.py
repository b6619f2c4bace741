"""An Assistant whose answers, and what they rest on, are a test's; posts are deleted and events moved on by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from lindos.assistant import Ask, Assistant, AssistantAnswer, Basis, Chunk, Citation, Cut, EventBasis, Source, Standing
from lindos.assistant.gate import Gate
from lindos.assistant.settlement.wording import Told
from lindos.knowledge import Hit, Post, PostQuery, Posts
from tests.server.scripted import ScriptedAnswer, ScriptedChatModel
from tests.server.served import Served

NIGHT = datetime(2031, 5, 6, 21, 14, tzinfo=UTC)

Grounded = tuple[str, Basis]
"""A text and what it rests on."""


def source(name: str, text: str, *, minutes: float = 0, claimed: float | None = None, **more: Any) -> Source:
    """A post of NIGHT; `minutes` before it was seen, and `claimed` minutes before as it says itself."""
    seen = NIGHT - timedelta(minutes=minutes)
    fields: dict[str, Any] = {
        "uri": f"at://{name}/1",
        "url": f"https://posts.example/{name}/1",
        "author": f"@{name}",
        "text": text,
        "created_at": seen if claimed is None else NIGHT - timedelta(minutes=claimed),
        "seen_at": seen,
    }
    return Source(**{**fields, **more})


def grounded(
    text: str, sources: Iterable[Source] = (), cited: Mapping[str, str] | None = None, quotes: str = "", **more: Any
) -> Grounded:
    """`cited`: which stretch of the text rests on whose post; `quotes`: those whose stretch is the post's words."""
    citations = [
        Citation(
            uri=f"at://{name}/1",
            start=text.index(stretch),
            end=text.index(stretch) + len(stretch),
            quote=name in quotes.split(),
        )
        for stretch, name in (cited or {}).items()
    ]
    citations.sort(key=lambda citation: citation.end)
    return text, Basis(sources=tuple(sources), citations=tuple(citations), **more)


def election(form: str = "partial", state: str = "counting", title: str = "Mayor of Port Ellery") -> EventBasis:
    fields: Any = {"form": form, "state": state}
    return EventBasis(id="port-ellery-mayor", title=title, kind="election", standing="1", **fields)


@dataclass
class CountedPosts:
    """As much of Posts as the counter wants."""

    number: int = 0
    latest: Post | None = None

    async def count(self) -> int:
        return self.number

    async def search(self, query: PostQuery) -> list[Hit]:
        assert not query.text
        return [Hit(self.latest, 0.0)] if self.latest else []


class GroundedGate(Gate):
    """Lets everything pass, and tells what it rests on as its text comes: what was cut, at the end."""

    def __init__(self, basis: Basis) -> None:
        self.citations: list[Citation] = []
        self.cut: list[Cut] = []
        self.refused = basis.refused
        self._whole = basis
        self._said = 0

    def feed(self, text: str) -> str:
        self._said += len(text)
        self.citations = [one for one in self._whole.citations if one.end <= self._said]
        return text

    def finish(self) -> str:
        self.cut = list(self._whole.cut)
        return ""


class HeldAnswer(ScriptedAnswer):
    """Goes no further than a test lets it."""

    def __init__(self, text: str, model: ScriptedChatModel, allowed: Callable[[], float]) -> None:
        super().__init__(text, model.pause, model.answer_fault, model.piece)
        self._allowed = allowed
        self._said = 0

    async def __anext__(self) -> Chunk:
        while self._said >= self._allowed() and not self.cancelled:
            await asyncio.sleep(0.01)
        chunk = await super().__anext__()
        self._said += len(chunk.text)
        return chunk


class GroundedAssistant(Assistant):
    """`script` makes text and basis from the question."""

    def __init__(self, model: ScriptedChatModel, script: Callable[[str], Grounded]) -> None:
        super().__init__(model, {})
        self.scripted = model
        self.script = script
        self.asked: list[Ask] = []
        self.allowed = math.inf
        """How many characters of an answer are said for now."""
        self.deleted: set[str] = set()
        self.edited: set[str] = set()
        self.moved: set[str] = set()
        """Ids of events that stand differently by now."""
        self.posts = cast(Posts, CountedPosts())

    async def answer(self, ask: Ask) -> AssistantAnswer:
        self.asked.append(ask)
        text, basis = self.script(ask.messages[-1].content)
        inner = HeldAnswer(text, self.scripted, lambda: self.allowed)
        self.scripted.answers.append(inner)
        return AssistantAnswer(basis.model_copy(update={"cut": ()}), Told(), inner, GroundedGate(basis))

    async def standing(self, text: str, basis: Basis) -> Standing:
        uris = [source.uri for source in basis.sources]
        gone = [uri for uri in uris if uri in self.deleted]
        holes = [(one.start, one.end) for one in basis.citations if one.quote and one.uri in gone]

        def moved(place: int) -> int:
            return place - sum(max(0, min(end, place) - start) for start, end in holes if start < place)

        shown = "".join(c for at, c in enumerate(text) if not any(start <= at < end for start, end in holes))
        citations = tuple(
            one.model_copy(update={"start": moved(one.start), "end": moved(one.end)})
            for one in basis.citations
            if one.uri not in gone
        )
        sources = tuple(source for source in basis.sources if source.uri not in gone)
        return Standing(
            text=shown,
            stale=tuple(event.title for event in basis.events if event.id in self.moved),
            deleted=tuple(gone),
            edited=tuple(uri for uri in uris if uri in self.edited),
            basis=basis.model_copy(update={"sources": sources, "citations": citations}),
        )


@dataclass
class Following:
    """A stream that this server follows."""

    name: str
    live: bool = True
    words: str = ""


@dataclass
class Given:
    """What a running server is given instead of its own."""

    server: Served
    assistant: GroundedAssistant

    @property
    def posts(self) -> CountedPosts:
        return cast(CountedPosts, self.assistant.posts)


def give(server: Served, script: Callable[[str], Grounded], streams: Iterable[Following] = ()) -> Given:
    """Have a server answer by `script`."""
    model = server.service.model
    assert isinstance(model, ScriptedChatModel)
    given = Given(server, GroundedAssistant(model, script))
    for name, value in (("assistant", given.assistant), ("streams", tuple(streams))):
        object.__setattr__(server.service, name, value)  # frozen for all but tests
    return given

"""An Assistant whose answers, and what they rest on, are a test's; posts are deleted and events moved on by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from lindos.assistant import Ask, Assistant, AssistantAnswer, Basis, Chunk, Citation, Cut, EventBasis, Source, Standing
from lindos.assistant.gate import Gate
from lindos.assistant.looking_back import look_back
from lindos.assistant.settlement import Events
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


@dataclass
class KeptPosts:
    """As much of Posts as looking back wants."""

    posts: dict[str, Post]

    async def get(self, uris: Iterable[str]) -> dict[str, Post]:
        return {uri: self.posts[uri] for uri in uris if uri in self.posts}


@dataclass
class KeptEvents:
    """As much of Events as looking back wants."""

    fingerprints: dict[str, str]

    async def standings(self, ids: Iterable[str]) -> dict[str, Any]:
        return {name: SimpleNamespace(fingerprint=self.fingerprints[name]) for name in ids}


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
        """As the real one looks back, at posts and events that are what the test made of them."""
        posts = KeptPosts({source.uri: self._now(source) for source in basis.sources})
        events = KeptEvents({one.id: f"{one.standing}{'+' if one.id in self.moved else ''}" for one in basis.events})
        return await look_back(text, basis, cast(Posts, posts), cast(Events, events))

    def _now(self, one: Source) -> Post:
        """A source's post as it stands in the store."""
        gone, edited = one.uri in self.deleted, one.uri in self.edited
        return Post(
            source="test",
            uri=one.uri,
            author=one.author,
            text="" if gone else f"{one.text} (edited)" if edited else one.text,
            seen_at=one.seen_at,
            deleted_at=NIGHT if gone else None,
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

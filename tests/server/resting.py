"""What answers rest on: the night of an election for the real assistant, and one whose basis is a test's own.

The second is for what the routes do with a basis, whatever it is; its text passes no gate.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial as partially
from typing import ClassVar

import httpx
import pytest

from lindos.assistant import Ask, Assistant, AssistantAnswer, Basis, Chunk, Citation, Cut, EventBasis, Source, Standing
from lindos.assistant.gate import Gate, Rules
from lindos.assistant.settlement import Event, Events, Scene
from lindos.assistant.settlement.wording import Told
from lindos.knowledge import Post
from tests.server.scripted import INFO

AT = datetime(2026, 11, 3, 22, 58, tzinfo=UTC)
DESK = Source(
    uri="at://did:plc:desk/post/1",
    url="https://posts.example/desk/1",
    author="desk.example",
    text="Counting goes on in Kamiros.",
    created_at=AT,
    seen_at=AT,
    authoritative=True,
)
NOWHERE = DESK.model_copy(update={"uri": "at://did:plc:other/post/2", "url": "", "author": "other.example"})
EVENT = EventBasis(
    id="kamiros", title="Mayor of Kamiros", kind="election", form="partial", state="counting", standing="a"
)

LARGE = replace(INFO, parameters=70_000_000_000, active_parameters=70_000_000_000)
"""A model that writes answers itself."""
COUNT = Post(
    source="bluesky",
    uri="at://did:plc:desk/app.bsky.feed.post/1",
    author="did:plc:desk",
    handle="desk.example",
    text="Mayor of Kamiros, 62% counted: Ledger 51.8%, Kent 46.9%",
    seen_at=AT,
    created_at=AT,
)
ELECTION = Event(
    id="kamiros",
    kind="election",
    title="Mayor of Kamiros",
    match=("Kamiros",),
    opens=AT - timedelta(hours=12),
    closes=AT - timedelta(hours=1),
    state="counting",
    authoritative=("desk.example",),
)
SAID = "Ann Ledger has won. The desk has counted 62% in Kamiros [1]. Ann Ledger leads with 88% [1]."
"""By a model that announces, tells, and invents."""
TOLD = "The desk has counted 62% in Kamiros."
"""What of it rests on COUNT."""


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server's own assistant answer as of AT."""
    for name, real in (("Assistant", Assistant), ("Events", Events)):
        monkeypatch.setattr(f"lindos.server.app.{name}", partially(real, clock=lambda: AT))


async def counting(client: httpx.AsyncClient) -> Assistant:
    """The assistant behind an application in this process, once it knows of ELECTION and COUNT."""
    app = client._transport.app  # type: ignore[attr-defined]
    assistant: Assistant = app.state.service.assistant
    assert assistant.events is not None
    assert assistant.posts is not None
    await assistant.events.put(ELECTION)
    await assistant.posts.apply([COUNT])
    return assistant


def cited(text: str, words: str, uri: str = DESK.uri) -> Citation:
    """A citation of the first `words` in `text`."""
    start = text.index(words)
    return Citation(uri=uri, start=start, end=start + len(words))


def partial(*citations: Citation) -> Basis:
    return Basis(
        form="partial",
        as_of=AT,
        events=(EVENT,),
        sources=(DESK, NOWHERE),
        citations=citations,
        cut=(Cut(text="Ann has won.", reason="unsettled"),),
    )


class OpenGate(Gate):
    """Lets everything through."""

    def __init__(self) -> None:
        super().__init__(Rules(Scene("watchful", AT)))

    def feed(self, text: str) -> str:
        return text

    def finish(self) -> str:
        return ""


class GroundedAnswer(AssistantAnswer):
    """Rests on sources from its first word on, on all of `last` at its end."""

    def rest(self, last: Basis) -> GroundedAnswer:
        self.last = last
        self.basis = last.model_copy(update={"citations": (), "cut": ()})
        return self

    async def __anext__(self) -> Chunk:
        chunk = await super().__anext__()
        if chunk.finish is not None:
            self.basis = self.last
        return chunk


class GroundedAssistant(Assistant):
    """Put in the place of the server's: `monkeypatch.setattr("lindos.server.app.Assistant", GroundedAssistant)`."""

    last: ClassVar[Basis] = Basis()
    """What answers rest on."""
    asks: ClassVar[list[Ask]] = []

    async def answer(self, ask: Ask) -> AssistantAnswer:
        type(self).asks.append(ask)
        inner = await self.model.submit(ask.messages, sampling=ask.sampling, truncate=ask.truncate, client=ask.client)
        return GroundedAnswer(Basis(), Told(), inner, OpenGate()).rest(type(self).last)

    async def standing(self, text: str, basis: Basis) -> Standing:
        return Standing(text=text, basis=basis)

"""An assistant whose answers rest on what a test says, however the real one comes to rest on something."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

from lindos.assistant import Ask, Assistant, AssistantAnswer, Basis, Chunk, Citation, Cut, EventBasis, Source, Standing
from lindos.assistant.gate import Gate, Rules
from lindos.assistant.settlement import Scene
from lindos.assistant.settlement.wording import Told

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
    look: ClassVar[Callable[[str, Basis], Standing] | None] = None
    """How they stand later; None: as they did."""
    asks: ClassVar[list[Ask]] = []

    async def answer(self, ask: Ask) -> AssistantAnswer:
        type(self).asks.append(ask)
        inner = await self.model.submit(ask.messages, sampling=ask.sampling, truncate=ask.truncate, client=ask.client)
        return GroundedAnswer(Basis(), Told(), inner, OpenGate()).rest(type(self).last)

    async def standing(self, text: str, basis: Basis) -> Standing:
        look = type(self).look
        return look(text, basis) if look else Standing(text=text, basis=basis)

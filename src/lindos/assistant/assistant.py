"""The assistant: a model's answers, tied to posts and to what is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from lindos.assistant.basis import Basis, Standing
from lindos.assistant.model import Answer, ChatModel, Chunk, Finish, Sampling, Timing, Truncate, Usage
from lindos.assistant.persona import DEFAULT_PERSONA, Persona
from lindos.assistant.talk import told
from lindos.knowledge import Posts
from lindos.specs import Message


@dataclass(frozen=True)
class SearchWish:
    """What a caller wants of the search for posts."""

    mode: str = "auto"
    """auto: where the question wants it; on: in any case; off: never."""
    since: datetime | None = None
    until: datetime | None = None
    authors: tuple[str, ...] = ()
    excluded_authors: tuple[str, ...] = ()
    limit: int = 8


@dataclass(frozen=True)
class Ask:
    """A question with what came before it."""

    messages: tuple[Message, ...]
    """The conversation, the question last; system messages are the caller's instructions."""
    persona: str = DEFAULT_PERSONA
    sampling: Sampling | None = None
    search: SearchWish = field(default_factory=SearchWish)
    language: str = ""
    """`en`, `fr`, ...; empty: that of the question."""
    truncate: Truncate = "oldest"
    priority: int = 0
    client: str = ""


class AssistantAnswer:
    """An Answer (see there) whose text has passed the gates, with the Basis it rests on."""

    def __init__(self, inner: Answer, basis: Basis) -> None:
        self._inner = inner
        self.basis = basis
        """Grows while the answer does; final once it ended."""

    @property
    def dropped(self) -> int:
        return self._inner.dropped

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    @property
    def timing(self) -> Timing | None:
        return self._inner.timing

    @property
    def finish(self) -> Finish | None:
        return self._inner.finish

    def cancel(self) -> None:
        self._inner.cancel()

    async def wait(self) -> Usage:
        return await self._inner.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        return await anext(self._inner)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
        await self.wait()


class Assistant:
    """Answers for a ChatModel, over the posts and events at hand."""

    def __init__(
        self,
        model: ChatModel,
        personas: Mapping[str, Persona],
        posts: Posts | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.model = model
        self._personas = personas
        self._posts = posts
        self._clock = clock

    async def answer(self, ask: Ask) -> AssistantAnswer:
        """Begin an answer. Raises as ChatModel.submit does."""
        messages = told(self._personas[ask.persona], ask.messages)
        inner = await self.model.submit(
            messages, sampling=ask.sampling, truncate=ask.truncate, priority=ask.priority, client=ask.client
        )
        return AssistantAnswer(inner, Basis())

    async def standing(self, text: str, basis: Basis) -> Standing:
        """A stored answer as it may be shown now: without what was deleted since, marked where events moved on."""
        return Standing(text=text, basis=basis)

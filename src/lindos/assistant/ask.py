"""Ask: what somebody wants of the assistant."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from lindos.assistant.model import Sampling, Truncate
from lindos.assistant.persona import DEFAULT_PERSONA
from lindos.specs import Message


@dataclass(frozen=True)
class SearchWish:
    """What a caller wants of the search for posts."""

    mode: Literal["auto", "on", "off"] = "auto"
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

    @property
    def question(self) -> str:
        """The person's last words."""
        return next(reversed(self._asked), "")

    @property
    def earlier(self) -> tuple[str, ...]:
        """The person's words before these, the last one last."""
        return self._asked[:-1]

    @property
    def _asked(self) -> tuple[str, ...]:
        # What functions came to stands in turns of the user's, and is nobody's question.
        turns = (message for message in self.messages if message.role == "user" and not message.result)
        return tuple(message.content for message in turns)

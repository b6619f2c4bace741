"""What the page is told about conversations, messages and the model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from lindos.server.page.basis import BasisView
from lindos.storage import ConversationRow, State


class Summary(BaseModel):
    """A conversation in the list."""

    id: str
    title: str
    persona: str
    updated_at: datetime

    @classmethod
    def of(cls, row: ConversationRow) -> Summary:
        return cls(id=row.id, title=row.title, persona=row.persona, updated_at=row.updated_at)


class SummaryList(BaseModel):
    conversations: list[Summary]
    more: bool
    """Whether there are further ones."""


class MessageView(BaseModel):
    """One turn of the branch that is shown."""

    id: int
    parent_id: int | None
    role: Literal["user", "assistant"]
    text: str
    blocks: list[str]
    """An answer as HTML, one string a block; a question is shown as it was typed."""
    state: State
    error: str
    persona: str
    model: str
    versions: list[int]
    """All versions of this turn, oldest first, itself included."""
    dropped: int
    """How many of the oldest messages the model could not see any more."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    speed: float | None
    """Tokens a second, after the first."""
    finish: str
    created_at: datetime
    basis: BasisView | None
    """What an answer rests on; None where that is nothing."""
    mark: str
    """Changes when something becomes of what an answer rests on: posts are deleted, events move on."""


class ConversationView(Summary):
    """A conversation with the branch that is shown."""

    messages: list[MessageView]


class PersonaView(BaseModel):
    id: str
    title: str
    description: str


class ModelView(BaseModel):
    name: str
    parameters: int
    active_parameters: int
    context: int
    kind: Literal["base", "chat"]
    note: str
    """What a person should know before talking to it; empty for most."""
    caution: str
    """One honest line about what it can do."""


class LoadingView(BaseModel):
    message: str
    fraction: float


class StateView(BaseModel):
    """What the page needs to know before anything else."""

    version: str
    local: bool
    """Whether only this machine can reach the server, so that nothing typed leaves it."""
    ready: bool
    fault: str
    """Why the model will never answer; empty while there is hope."""
    loading: LoadingView
    model: ModelView | None
    """None until it is loaded."""
    personas: list[PersonaView]
    default_persona: str
    suggestions: list[str]


def speed(tokens: int, seconds: float) -> float | None:
    """Tokens a second after the first one, where that says anything."""
    return round((tokens - 1) / seconds, 1) if tokens > 1 and seconds > 0 else None


def personas_view(personas: Mapping[str, object]) -> list[PersonaView]:
    """The choice of personas, in order."""
    return [PersonaView.model_validate(persona, from_attributes=True) for persona in personas.values()]

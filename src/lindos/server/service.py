"""What every route works with: the model, the assistant, the conversations, the personas, the answers under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from lindos.assistant import Assistant, ChatModel, Persona
from lindos.server.errors import RETRY_SECONDS, ApiError, public_words
from lindos.server.page.answers import Answers
from lindos.server.page.shown import Shown
from lindos.server.settings import Settings
from lindos.server.underway import UnderWay
from lindos.specs import nearest
from lindos.storage import Conversations, Responses

ALIAS = "lindos"
"""The assistant's name among the models; by its own name the bare model is meant."""

StartModel = Callable[[], ChatModel]


class Followed(Protocol):
    """A stream of posts that this server follows."""

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool:
        """Whether it is connected."""
        ...

    @property
    def words(self) -> str:
        """How it is doing, for people."""
        ...


@dataclass(frozen=True)
class Service:
    """Made when the server starts, closed when it ends."""

    settings: Settings
    model: ChatModel
    assistant: Assistant
    conversations: Conversations
    personas: Mapping[str, Persona]
    answers: Answers
    responses: Responses
    under_way: UnderWay = field(default_factory=dict)
    """Responses that are being written."""
    streams: Sequence[Followed] = ()
    """Streams of posts that this server follows itself."""
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def shown(self) -> Shown:
        """Stored messages as they may be shown now."""
        return Shown(self.assistant, self.conversations)

    def check_model(self, name: str, *, ready: bool = True) -> None:
        """Raises ApiError when the model has not this name, or `ready` is wanted and it is still loading."""
        if ready and not self.model.ready:
            fault = self.model.fault
            message = public_words(fault) if fault else f"the model is loading: {self.model.loading.message}"
            raise ApiError(503, message, code="model_loading", headers={"Retry-After": str(RETRY_SECONDS)})
        known = [ALIAS, *([self.model.info.name] if self.model.ready else [])]
        if name not in known:
            close = nearest(name, known) or known[-1]
            message = f"there is no model '{name}' here; did you mean '{close}'?"
            raise ApiError(404, message, param="model", code="model_not_found")


async def _service(request: Request) -> Service:
    return request.app.state.service


ServiceOf = Annotated[Service, Depends(_service)]
"""The type of a route's parameter that is given the Service."""

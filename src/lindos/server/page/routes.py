"""The page's API: conversations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

import lindos
from lindos.assistant import DEFAULT_PERSONA
from lindos.server.errors import ApiError, public_words
from lindos.server.page import words
from lindos.server.page.views import (
    ConversationView,
    LoadingView,
    ModelView,
    StateView,
    Summary,
    SummaryList,
    personas_view,
)
from lindos.server.security import COOKIE, SESSION_PATH, key_matches, session_token
from lindos.server.service import Service, ServiceOf
from lindos.server.strict import Strict
from lindos.specs import nearest
from lindos.storage import ConversationRow

router = APIRouter(prefix="/api", tags=["page"])

ConversationId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
MessageId = Annotated[int, Path(ge=1, lt=2**31)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"\S")]
PersonaId = Annotated[str, Field(max_length=64)]
_MONTH = 30 * 24 * 3600


class NewConversation(Strict):
    persona: PersonaId | None = None


class ConversationChange(Strict):
    title: Title | None = None
    persona: PersonaId | None = None


class Session(Strict):
    key: Annotated[str, Field(max_length=512)]


def checked_persona(service: Service, name: str | None) -> str:
    """The persona meant, by default the default one. Raises ApiError for an unknown one."""
    if name is not None and name not in service.personas:
        close = nearest(name, service.personas) or DEFAULT_PERSONA
        raise ApiError(404, f"there is no persona '{name}'; did you mean '{close}'?", param="persona")
    return name or DEFAULT_PERSONA


def persona_for(service: Service, asked: str | None, conversation: ConversationRow) -> str:
    """The persona of an answer to come; one that the conversation had and that is gone since gives way to the default.

    Raises ApiError when it is the one asked for that is unknown.
    """
    kept = conversation.persona if conversation.persona in service.personas else None
    return checked_persona(service, asked or kept)


@router.get("/state")
async def state(service: ServiceOf) -> StateView:
    """What model this is, whether it is ready, and what can be chosen."""
    model = service.model
    info = model.info if model.ready else None
    return StateView(
        version=lindos.__version__,
        local=service.settings.local and not service.settings.allowed_hosts,
        ready=model.ready,
        fault=public_words(model.fault) if model.fault else "",
        loading=LoadingView(message=model.loading.message, fraction=model.loading.fraction),
        model=info
        and ModelView(
            name=info.name,
            parameters=info.parameters,
            active_parameters=info.active_parameters,
            context=info.context,
            kind=info.kind,
            note=info.note,
            caution=words.caution(info),
        ),
        personas=personas_view(service.personas),
        default_persona=DEFAULT_PERSONA,
        suggestions=words.suggestions(info),
    )


@router.get("/conversations")
async def conversations(
    service: ServiceOf,
    query: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> SummaryList:
    """The latest first; with a query those in which all its words occur."""
    rows = await service.conversations.find(query, limit=limit + 1, offset=offset)
    return SummaryList(conversations=[Summary.of(row) for row in rows[:limit]], more=len(rows) > limit)


@router.post("/conversations", status_code=201)
async def create(body: NewConversation, service: ServiceOf) -> ConversationView:
    """A new, empty conversation."""
    row = await service.conversations.create(persona=checked_persona(service, body.persona))
    return ConversationView(**Summary.of(row).model_dump(), messages=[])


@router.get("/conversations/{conversation_id}")
async def conversation(conversation_id: ConversationId, service: ServiceOf) -> ConversationView:
    """One conversation, with the branch that is shown."""
    return await service.shown.thread(await service.conversations.thread(conversation_id))


@router.patch("/conversations/{conversation_id}")
async def change(conversation_id: ConversationId, body: ConversationChange, service: ServiceOf) -> Summary:
    """Another title, or another persona for the answers to come."""
    persona = None if body.persona is None else checked_persona(service, body.persona)
    return Summary.of(await service.conversations.change(conversation_id, title=body.title, persona=persona))


@router.delete("/conversations/{conversation_id}", status_code=204)
async def delete(conversation_id: ConversationId, service: ServiceOf) -> None:
    """Delete it and all its messages; an answer under way is stopped first."""
    await service.answers.stop_conversation(conversation_id)
    await service.conversations.delete(conversation_id)


@router.post("/session", status_code=204)
async def session(body: Session, request: Request, service: ServiceOf) -> Response:
    """Trade the API key for a cookie that only the page's own requests carry."""
    if not key_matches(service.settings, body.key):
        raise ApiError(401, "that is not this server's API key", param="key")
    response = Response(status_code=204)
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, session_token(body.key), max_age=_MONTH, path="/api", secure=secure, httponly=True, samesite="strict"
    )
    return response


assert router.prefix + "/session" == SESSION_PATH

"""The page's API: asking, answering, watching, stopping."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from lindos.assistant import Ask, chat_sampling
from lindos.server.errors import RETRY_SECONDS, ApiError, public_words
from lindos.server.page.answers import Run
from lindos.server.page.routes import ConversationId, MessageId, PersonaId, persona_for
from lindos.server.page.views import ConversationView, Summary
from lindos.server.service import Service, ServiceOf
from lindos.server.sse import EVENT_SCHEMA, EventStream, event
from lindos.server.strict import INTEGRAL, Strict
from lindos.specs import Message
from lindos.storage import MessageRow, NotFound, Thread

router = APIRouter(prefix="/api", tags=["page"])

STREAM: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "content": {"text/event-stream": {"schema": EVENT_SCHEMA}},
            "description": "Events: start {conversation, question, answer}, patch {blocks, count, speed} and basis "
            "where that grew, end {conversation, answer}",
        }
    },
}


class Question(Strict):
    text: Annotated[str, Field(max_length=100_000, pattern=r"\S")]
    parent_id: Annotated[int, Field(ge=1, lt=2**31), INTEGRAL] | None = None
    """The answer it follows; none for the first question, and for an edit of it."""
    persona: PersonaId | None = None


class Again(Strict):
    persona: PersonaId | None = None


class Stopped(BaseModel):
    stopped: bool
    """False when it had ended already."""


@router.post("/conversations/{conversation_id}/messages", **STREAM)
async def ask(conversation_id: ConversationId, body: Question, service: ServiceOf) -> Response:
    """Ask something and watch the answer; a second question after the same answer is an edit of the first."""
    check_ready(service)
    row = await service.conversations.get(conversation_id)
    persona = persona_for(service, body.persona, row)
    try:
        question = await service.conversations.add(conversation_id, "user", body.text, parent_id=body.parent_id)
    except ValueError as error:
        raise ApiError(409, str(error), param="parent_id") from None
    return await _answered(service, question, persona, new=True)


@router.post("/messages/{message_id}/answers", **STREAM)
async def answer_again(message_id: MessageId, body: Again, service: ServiceOf) -> Response:
    """Another try at answering the question `message_id`."""
    check_ready(service)
    question = await service.conversations.message(message_id)
    if question.role != "user":
        raise ApiError(409, f"message {message_id} is an answer; name the question", param="message_id")
    row = await service.conversations.get(question.conversation_id)
    persona = persona_for(service, body.persona, row)
    return await _answered(service, question, persona, new=False)


@router.get("/messages/{message_id}/stream", **STREAM)
async def watch(message_id: MessageId, service: ServiceOf) -> Response:
    """Watch an answer that is under way, from its beginning; one that ended is told at once."""
    row = await service.conversations.message(message_id)
    run = service.answers.get(message_id)
    return await EventStream.begin(_events(service, row, run), service.settings.heartbeat_seconds)


@router.post("/messages/{message_id}/stop")
async def stop(message_id: MessageId, service: ServiceOf) -> Stopped:
    """End an answer that is under way; what was written stays."""
    await service.conversations.message(message_id)
    run = service.answers.get(message_id)
    if run is None:
        return Stopped(stopped=False)
    run.stop()
    await run.wait()
    return Stopped(stopped=True)


@router.post("/messages/{message_id}/show")
async def show(message_id: MessageId, service: ServiceOf) -> ConversationView:
    """Show the branch through this version of a message."""
    return await service.shown.thread(await service.conversations.show(message_id))


def check_ready(service: Service) -> None:
    """Raises ApiError while the model cannot answer."""
    if not service.model.ready:
        fault = service.model.fault
        reason = public_words(fault) if fault else f"the model is still loading: {service.model.loading.message}"
        raise ApiError(503, reason, code="model_loading", headers={"Retry-After": str(RETRY_SECONDS)})


async def _answered(service: Service, question: MessageRow, persona: str, *, new: bool) -> Response:
    answer = await service.conversations.add(
        question.conversation_id,
        "assistant",
        parent_id=question.id,
        state="writing",
        persona=persona,
        model=service.model.info.name,
    )
    thread = await service.conversations.branch(answer.id)
    # What is gone from earlier answers by now is not to be said again either.
    turns = [
        Message(role="user", content=row.content)
        if row.role == "user"
        else Message(role="assistant", content=(await service.shown.look(row)).text)
        for row in thread.messages[:-1]
    ]
    settings = service.settings
    sampling = chat_sampling(
        service.model.info,
        temperature=settings.temperature,
        top_p=settings.top_p,
        answer_tokens=settings.answer_tokens,
    )
    asked = Ask(messages=tuple(turns), persona=persona, sampling=sampling)
    run = service.answers.start(service.assistant, answer.id, answer.conversation_id, asked)
    events = _events(service, answer, run, question if new else None)
    return await EventStream.begin(events, service.settings.heartbeat_seconds)


async def _events(
    service: Service, answer: MessageRow, run: Run | None, question: MessageRow | None = None
) -> AsyncGenerator[bytes, None]:
    thread = await service.conversations.branch(answer.id)
    start = {
        "conversation": Summary.of(thread.conversation).model_dump(mode="json"),
        "question": question and await _view(service, question, thread),
        "answer": await _view(service, answer, thread),
    }
    yield event(start, "start")
    if run is not None:
        async with aclosing(run.follow()) as patches:
            async for patch in patches:
                yield event(patch, "patch")
    try:
        thread = await service.conversations.branch(answer.id)
    except NotFound:
        return  # deleted meanwhile
    shown = await _view(service, thread.messages[-1], thread)
    if run is not None and run.unsaved:
        shown |= {"state": "failed", "error": "This answer could not be saved; the server's log says why."}
    end = {"conversation": Summary.of(thread.conversation).model_dump(mode="json"), "answer": shown}
    yield event(end, "end")


async def _view(service: Service, row: MessageRow, thread: Thread) -> dict[str, Any]:
    return (await service.shown.message(row, thread.versions[row.id])).model_dump(mode="json")

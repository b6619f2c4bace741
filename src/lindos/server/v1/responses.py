"""`POST /v1/responses`, and what can be done with those that are kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from lindos.assistant.functions import Said, rendered
from lindos.server.errors import ApiError, as_api_error, json_response
from lindos.server.service import Service, ServiceOf
from lindos.server.sse import EventStream, event, unless_gone
from lindos.server.v1.asking import Asked, asks_assistant, client_of, renaming, structure_of, submitter
from lindos.server.v1.messages import answered
from lindos.server.v1.respond import GONE, STREAMED
from lindos.server.v1.responses_input import new_id, turns_of_items
from lindos.server.v1.responses_kept import asked, earlier, shown
from lindos.server.v1.responses_replies import DeletedReply, ItemList, ResponseReply
from lindos.server.v1.responses_run import ResponseRun
from lindos.server.v1.responses_schema import SOURCES, ResponseRequest
from lindos.server.v1.responses_writer import ResponseWriter
from lindos.server.v1.speech import Speech
from lindos.server.v1.tools import FlatFunctionChoice, Offer, SearchChoice, SearchTool, offer_of, search_of
from lindos.storage import NotFound, StoredResponse

router = APIRouter(tags=["v1"])
CANCEL_SECONDS = 5.0
"""How long a cancelled answer is waited for; the engine ends it with its next step."""
_NAMES = {"response_format": "text.format", "messages": "input", "max_tokens": "max_output_tokens"}
Name = Annotated[str, Path(max_length=64)]
Before = Annotated[str | None, Query(max_length=128)]


@router.post("/v1/responses", response_model=ResponseReply, responses=STREAMED)
async def create_response(body: ResponseRequest, request: Request, service: ServiceOf) -> Response:
    """Answer, and keep the answer so that it can be gone on from."""
    run = await _begin(service, request, body)
    if body.stream:
        return await EventStream.begin(_stream(run), service.settings.heartbeat_seconds)
    reply = await unless_gone(request.receive, _whole(run))
    return json_response(reply) if reply else Response(status_code=GONE)


@router.get("/v1/responses/{response_id}", response_model=ResponseReply)
async def one_response(
    response_id: Name,
    service: ServiceOf,
    stream: Annotated[bool | None, Query()] = None,
) -> Response:
    """A response, as it may be shown now."""
    if stream:
        raise ApiError(400, "a kept response is not streamed: leave stream out", param="stream")
    if response_id in service.under_way:
        return json_response(service.under_way[response_id].snapshot())
    return json_response(await shown(service, await _kept(service, response_id)))


@router.delete("/v1/responses/{response_id}")
async def delete_response(response_id: Name, service: ServiceOf) -> DeletedReply:
    """Forget a response; one under way is cancelled and not kept."""
    run = service.under_way.get(response_id)
    if run is not None and run.stored:
        run.stored = False
        run.cancel()
    else:
        await _kept(service, response_id)
        await service.responses.delete(response_id)
    return DeletedReply(id=response_id)


@router.post("/v1/responses/{response_id}/cancel", response_model=ResponseReply)
async def cancel_response(response_id: Name, service: ServiceOf) -> Response:
    """End a response under way; what was written stays."""
    run = service.under_way.get(response_id)
    if run is None:
        await _kept(service, response_id)
        raise ApiError(400, f"the response '{response_id}' has ended: there is nothing to cancel", param="response_id")
    run.cancel()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(run.ended.wait(), CANCEL_SECONDS)
    return json_response(run.snapshot())


@router.get("/v1/responses/{response_id}/input_items")
async def input_items(
    response_id: Name,
    service: ServiceOf,
    after: Before = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> ItemList:
    """What a response was asked with, without what it goes on from; the last first unless `order` is `asc`."""
    run = service.under_way.get(response_id)
    items = list(run.input if run else (await _kept(service, response_id)).input)
    if order == "desc":
        items.reverse()
    if after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise ApiError(404, f"the response has no item '{after}'", param="after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else ("", "")
    return ItemList(data=page, first_id=first, last_id=last, has_more=len(items) > limit)


async def _kept(service: Service, response_id: str) -> StoredResponse:
    try:
        return await service.responses.get(response_id)
    except NotFound as error:
        raise ApiError(404, str(error), param="response_id") from None


async def _begin(service: Service, request: Request, body: ResponseRequest) -> ResponseRun:
    """What is to be run. Raises ApiError, RequestError."""
    assistant = asks_assistant(service, body, body.bare_only, search_of(body.tools))
    offer = offer_of(body.tools, body.tool_choice, body.parallel_tool_calls)
    names = {**_NAMES, "response_format": "tools"} if offer.forced else _NAMES
    with renaming(names):
        wanted = body.format
        grammar = offer.grammar(wanted, "text.format")
        sampling = body.sampling(service.settings.temperature, grammar)
    before = await earlier(service, body.previous_response_id)
    items = await asked(service, body.input, before)
    turns = answered(turns_of_items([*before, *items]), "input", "call_id")
    told = [Said("system", body.instructions), *turns] if body.instructions else turns
    question = next((turn.text for turn in reversed(turns) if isinstance(turn, Said) and turn.role == "user"), "")
    submit = submitter(
        service,
        body,
        Asked(
            conversations=[rendered(told, offer.functions)],
            choices=1,
            sampling=lambda _: sampling,
            client=client_of(request, body),
            search=offer.search,
            truncate="oldest" if body.truncation == "auto" else "never",
            renamed=names,
        ),
    )
    structure = structure_of(wanted) if assistant and not offer.forced else ""
    speech = Speech(offer.functions, several=offer.several, gated=assistant, structure=structure)
    reply = _reply(service, body, offer)
    sources = SOURCES in (body.include or ())
    logprobs = body.alternatives is not None
    writer = ResponseWriter(reply, speech, query=question, sources=sources, logprobs=logprobs)
    return ResponseRun(service, writer, submit, items, streamed=bool(body.stream))


def _reply(service: Service, body: ResponseRequest, offer: Offer) -> ResponseReply:
    """The response before its first word: what it was asked to be."""
    form = body.text.format if body.text and body.text.format else None
    choice = body.tool_choice
    return ResponseReply(
        id=new_id("resp"),
        created_at=int(time.time()),
        status="in_progress",
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        model=body.model,
        parallel_tool_calls=offer.several,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        safety_identifier=body.safety_identifier,
        store=body.kept,
        temperature=service.settings.temperature if body.temperature is None else body.temperature,
        text={"format": _echoed(form) if form else {"type": "text"}},
        # The search for posts is not repeated: OpenAI's types do not know it, and its client warns of what they do not.
        tool_choice=_echoed(choice) if isinstance(choice, FlatFunctionChoice) else _way(choice),
        tools=[_echoed(tool, whole=True) for tool in body.tools or () if not isinstance(tool, SearchTool)],
        top_logprobs=body.alternatives or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
    )


def _way(choice: str | SearchChoice | None) -> str:
    return choice if isinstance(choice, str) else "auto"


def _echoed(part: BaseModel, *, whole: bool = False) -> dict[str, Any]:
    """A part of the request; what it did not say is null where it is `whole`."""
    return part.model_dump(mode="json", by_alias=True, exclude_none=not whole)


async def _stream(run: ResponseRun) -> AsyncGenerator[bytes, None]:
    async with aclosing(run.events()) as events:
        async for one in events:
            yield event(one, one["type"])


async def _whole(run: ResponseRun) -> dict[str, Any]:
    async with aclosing(run.events()) as events:
        async for _ in events:
            pass
    if run.fault is not None:
        raise as_api_error(run.fault)
    return run.writer.snapshot()

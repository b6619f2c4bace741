"""Answering a request, whole or as a stream; what differs between the routes is their Shape."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

import lindos
from lindos.assistant import Answer, EngineError, TokenLogprob
from lindos.server.errors import as_api_error, json_response
from lindos.server.service import Service
from lindos.server.sse import DONE, EVENT_SCHEMA, EventStream, event, unless_gone
from lindos.server.v1.choices import Answers, Submit, merged, submitted
from lindos.server.v1.replies import FinishReason, UsageReply
from lindos.server.v1.schema import Request

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT_SCHEMA}}, "description": "The answer"}
}
"""What a route documents beside its whole answer."""

_GONE = 499


class Part(NamedTuple):
    """One choice of a whole answer."""

    text: str
    finish: FinishReason
    logprobs: list[TokenLogprob] | None
    """Where they were asked for."""


class Shape(Protocol):
    """How a route words its answers."""

    prefix: str
    """Of ids."""
    streamed: str
    """The `object` of chunks."""

    def opening(self, index: int) -> dict[str, Any]:
        """A choice's first chunk."""
        ...

    def piece(self, index: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        """More text of a choice, and what is known of its tokens."""
        ...

    def closing(self, index: int, finish: FinishReason) -> dict[str, Any]:
        """A choice's last chunk."""
        ...

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> BaseModel:
        """The whole answer."""
        ...


def client_of(request: HttpRequest, body: Request) -> str:
    """Whose request it is, among whom the engine is shared evenly: the user it names, else where it comes from."""
    if body.label:
        return f"user {body.label}"
    return f"address {request.client.host}" if request.client else ""


async def respond(service: Service, request: HttpRequest, body: Request, submit: Submit, shape: Shape) -> Response:
    """The answers to `submit` as the response that `body` asks for. Raises ApiError, EngineError."""
    head = {
        "id": f"{shape.prefix}-{secrets.token_hex(16)}",
        "created": int(time.time()),
        "model": service.model.info.name,
        "system_fingerprint": f"lindos-{lindos.__version__}",
    }
    if body.stream:
        return await EventStream.begin(stream_of(submit, body, shape, head), service.settings.heartbeat_seconds)
    reply = await unless_gone(request.receive, _whole(submit, body, shape, head))
    return json_response(reply.model_dump()) if reply else Response(status_code=_GONE)


async def _whole(submit: Submit, body: Request, shape: Shape, head: dict[str, Any]) -> BaseModel:
    async with submitted(submit, body.answers) as answers:
        texts = [""] * body.answers
        logprobs: list[list[TokenLogprob]] = [[] for _ in texts]
        async with aclosing(merged(answers, submit, body.answers)) as chunks:
            async for index, chunk in chunks:
                texts[index] += chunk.text
                logprobs[index] += chunk.logprobs
        wanted = body.alternatives is not None
        parts = [
            Part(text, _ending(answer), listed if wanted else None)
            for text, answer, listed in zip(texts, _in_order(answers), logprobs, strict=True)
        ]
        return shape.whole(head, parts, _usage(answers, body))


async def stream_of(submit: Submit, body: Request, shape: Shape, head: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    head = {**head, "object": shape.streamed, **({"usage": None} if body.include_usage else {})}

    def chunk(choice: dict[str, Any]) -> bytes:
        return event({**head, "choices": [choice]})

    async with submitted(submit, body.answers) as answers:
        for index in range(body.answers):
            yield chunk(shape.opening(index))
        try:
            async with aclosing(merged(answers, submit, body.answers)) as pieces:
                async for index, piece in pieces:
                    if piece.text or piece.logprobs:
                        listed = None if body.alternatives is None else piece.logprobs
                        yield chunk(shape.piece(index, piece.text, listed))
                    if piece.finish is not None:
                        yield chunk(shape.closing(index, _ending(answers[index])))
            if body.include_usage:
                yield event({**head, "choices": [], "usage": _usage(answers, body).model_dump()})
        except EngineError as error:
            yield event(as_api_error(error).body)
        yield DONE


def _usage(answers: Answers, body: Request) -> UsageReply:
    return UsageReply.of([answer.usage for answer in _in_order(answers)], body.choices)


def _in_order(answers: Answers) -> list[Answer]:
    """By number; they were added as places came free."""
    return [answers[number] for number in sorted(answers)]


def _ending(answer: Answer) -> FinishReason:
    return "length" if answer.finish == "length" else "stop"

"""Answering a request, whole or as a stream; what differs between the routes is their Shape."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

import lindos
from lindos.assistant import Basis, TokenLogprob
from lindos.server.errors import as_api_error, json_response
from lindos.server.service import Service
from lindos.server.sse import DONE, EVENT_SCHEMA, EventStream, event, unless_gone
from lindos.server.v1.choices import Answers, Submit, merged, submitted
from lindos.server.v1.evidence import Evidence, Reply
from lindos.server.v1.replies import FinishReason, UsageReply
from lindos.server.v1.schema import Request
from lindos.server.v1.speech import Listen, MadeCall, Piece, Speech, Spoken, basis_of

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT_SCHEMA}}, "description": "The answer"}
}
"""What a route documents beside its whole answer."""

GONE = 499


class Part(NamedTuple):
    """One choice of a whole answer."""

    speech: Speech
    finish: FinishReason
    logprobs: list[TokenLogprob] | None
    """Where they were asked for."""
    basis: Basis | None
    """Of an answer of the assistant."""


class Shape(Protocol):
    """How a route words its answers."""

    prefix: str
    """Of ids."""
    streamed: str
    """The `object` of chunks."""

    def opening(self, index: int) -> dict[str, Any]:
        """A choice's first chunk."""
        ...

    def piece(self, index: int, piece: Piece, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        """More text of a choice, and what is known of its tokens."""
        ...

    def call(self, index: int, number: int, call: MadeCall) -> Iterator[dict[str, Any]]:
        """A choice's call number `number`."""
        ...

    def closing(self, index: int, finish: FinishReason, basis: Basis | None) -> dict[str, Any]:
        """A choice's last chunk."""
        ...

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> Reply:
        """The whole answer."""
        ...


async def respond(
    service: Service, request: HttpRequest, body: Request, submit: Submit, shape: Shape, listen: Listen = Speech
) -> Response:
    """The answers to `submit` as the response that `body` asks for. Raises ApiError, EngineError."""
    head = {
        "id": f"{shape.prefix}-{secrets.token_hex(16)}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": f"lindos-{lindos.__version__}",
    }
    if body.stream:
        events = stream_of(submit, body, shape, head, listen)
        return await EventStream.begin(events, service.settings.heartbeat_seconds)
    reply = await unless_gone(request.receive, _whole(submit, body, shape, head, listen))
    return json_response(reply.sent()) if reply else Response(status_code=GONE)


async def _whole(submit: Submit, body: Request, shape: Shape, head: dict[str, Any], listen: Listen) -> Reply:
    async with submitted(submit, body.answers) as answers:
        speeches = [listen() for _ in range(body.answers)]
        logprobs: list[list[TokenLogprob]] = [[] for _ in speeches]
        async with aclosing(merged(answers, submit, body.answers)) as chunks:
            async for index, chunk in chunks:
                speeches[index].feed(chunk.text, refused=_refused(answers[index]))
                logprobs[index] += chunk.logprobs
        wanted = body.alternatives is not None
        parts = []
        for speech, answer, listed in zip(speeches, _in_order(answers), logprobs, strict=True):
            speech.end(refused=_refused(answer))
            parts.append(Part(speech, _ending(answer, speech), listed if wanted else None, _settled(answer, speech)))
        return shape.whole(head, parts, _usage(answers, body))


async def stream_of(
    submit: Submit, body: Request, shape: Shape, head: dict[str, Any], listen: Listen = Speech
) -> AsyncGenerator[bytes, None]:
    """The events of a stream."""
    head = {**head, "object": shape.streamed, **({"usage": None} if body.include_usage else {})}
    speeches = [listen() for _ in range(body.answers)]

    def chunk(choice: dict[str, Any], **more: Any) -> bytes:
        return event({**head, "choices": [choice], **more})

    def shown(index: int, said: list[Piece | MadeCall], logprobs: Sequence[TokenLogprob]) -> Iterator[bytes]:
        listed = None if body.alternatives is None else logprobs
        if logprobs and not any(isinstance(one, Piece) for one in said):
            said = [Piece(""), *said]
        for one in said:
            if isinstance(one, Piece):
                yield chunk(shape.piece(index, one, listed))
                listed = None if listed is None else []
            else:
                for delta in shape.call(index, speeches[index].calls.index(one), one):
                    yield chunk(delta)

    def closing(index: int) -> bytes:
        answer, speech = answers[index], speeches[index]
        basis = _settled(answer, speech)
        more = {} if basis is None else {"lindos": Evidence.of(basis).sent()}
        return chunk(shape.closing(index, _ending(answer, speech), basis), **more)

    async with submitted(submit, body.answers) as answers:
        for index in range(body.answers):
            yield chunk(shape.opening(index))
        try:
            async with aclosing(merged(answers, submit, body.answers)) as pieces:
                async for index, piece in pieces:
                    refused = _refused(answers[index])
                    said = speeches[index].feed(piece.text, refused=refused)
                    if piece.finish is not None:
                        said += speeches[index].end(refused=refused)
                    for data in shown(index, said, piece.logprobs):
                        yield data
                    if piece.finish is not None:
                        yield closing(index)
            if body.include_usage:
                yield event({**head, "choices": [], "usage": _usage(answers, body).model_dump()})
        except Exception as error:  # noqa: BLE001 - the reader is told, and what is unexpected is logged
            yield event(as_api_error(error).body)
        yield DONE


def _refused(answer: Spoken) -> bool:
    basis = basis_of(answer)
    return basis is not None and bool(basis.refused)


def _settled(answer: Spoken, speech: Speech) -> Basis | None:
    basis = basis_of(answer)
    return None if basis is None else speech.settled(basis)


def _usage(answers: Answers, body: Request) -> UsageReply:
    return UsageReply.of([answer.usage for answer in _in_order(answers)], body.choices)


def _in_order(answers: Answers) -> list[Spoken]:
    """By number; they were added as places came free."""
    return [answers[number] for number in sorted(answers)]


def _ending(answer: Spoken, speech: Speech) -> FinishReason:
    if answer.finish == "length":
        return "length"
    return "tool_calls" if speech.calls else "stop"

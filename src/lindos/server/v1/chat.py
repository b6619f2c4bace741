"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.assistant import Basis, TokenLogprob
from lindos.assistant.functions import rendered
from lindos.server.service import Service, ServiceOf
from lindos.server.v1.asking import Asked, asks_assistant, client_of, structure_of, submitter
from lindos.server.v1.choices import Submit
from lindos.server.v1.evidence import Evidence, citations_of, nested
from lindos.server.v1.logprobs import chat_logprobs
from lindos.server.v1.messages import turns_of
from lindos.server.v1.replies import (
    AnswerMessage,
    CalledFunction,
    ChatChoice,
    ChatReply,
    FinishReason,
    ToolCall,
    UsageReply,
)
from lindos.server.v1.respond import STREAMED, Part, respond
from lindos.server.v1.schema import ChatRequest
from lindos.server.v1.speech import Listen, MadeCall, Piece, Speech
from lindos.server.v1.tools import offer_of, search_of

router = APIRouter(tags=["v1"])
ARGUMENTS_PIECE = 512
"""Characters of a call's arguments that a stream sends at a time."""


@router.post("/v1/chat/completions", response_model=ChatReply, responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request, service: ServiceOf) -> Response:
    """Continue a conversation."""
    submit, listen = _asked(service, request, body)
    return await respond(service, request, body, submit, ChatShape(), listen)


def _asked(service: Service, request: Request, body: ChatRequest) -> tuple[Submit, Listen]:
    """How the answers are begun and read. Raises ApiError, RequestError."""
    assistant = asks_assistant(service, body, body.bare_only, search_of(body.tools))
    offer = offer_of(body.tools, body.tool_choice, body.parallel_tool_calls)
    grammar = offer.grammar(body.format, "response_format")
    asked = Asked(
        conversations=[rendered(turns_of(body.messages), offer.functions)],
        choices=body.choices,
        sampling=lambda choice: body.sampling(choice, service.settings.temperature, body.limit, grammar),
        client=client_of(request, body),
        search=offer.search,
        priority=body.urgency,
        renamed={"response_format": "tools"} if offer.forced else {},
    )

    def listen() -> Speech:
        structure = structure_of(body.format) if assistant and not offer.forced else ""
        return Speech(offer.functions, several=offer.several, gated=assistant, structure=structure)

    return submitter(service, body, asked), listen


class ChatShape:
    """Choices with messages; streamed, with deltas, the role in the first."""

    prefix = "chatcmpl"
    streamed = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any]:
        return _choice(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, piece: Piece, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        listed = None if logprobs is None else chat_logprobs(logprobs).model_dump()
        delta = {"refusal": piece.text} if piece.refusal else {"content": piece.text}
        return {**_choice(index, delta), "logprobs": listed}

    def call(self, index: int, number: int, call: MadeCall) -> Iterator[dict[str, Any]]:
        opening = {"index": number, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield _choice(index, {"tool_calls": [opening]})
        for at in range(0, len(call.arguments), ARGUMENTS_PIECE):
            more = {"arguments": call.arguments[at : at + ARGUMENTS_PIECE]}
            yield _choice(index, {"tool_calls": [{"index": number, "function": more}]})

    def closing(self, index: int, finish: FinishReason, basis: Basis | None) -> dict[str, Any]:
        delta = {} if basis is None else {"annotations": [one.model_dump() for one in nested(citations_of(basis))]}
        return _choice(index, delta, finish)

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> ChatReply:
        evidence = [None if part.basis is None else Evidence.of(part.basis) for part in parts]
        choices = [
            ChatChoice(
                index=index,
                message=_message(part),
                logprobs=None if part.logprobs is None else chat_logprobs(part.logprobs),
                finish_reason=part.finish,
                lindos=evidence[index] if len(parts) > 1 else None,
            )
            for index, part in enumerate(parts)
        ]
        return ChatReply(**head, choices=choices, usage=usage, lindos=evidence[0])


def _message(part: Part) -> AnswerMessage:
    speech = part.speech
    calls = [
        ToolCall(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments)) for call in speech.calls
    ]
    wordless = not speech.text and (calls or speech.refusal is not None)
    return AnswerMessage(
        content=None if wordless else speech.text,
        refusal=speech.refusal,
        tool_calls=calls or None,
        annotations=None if part.basis is None else nested(citations_of(part.basis)),
    )


def _choice(index: int, delta: dict[str, Any], finish: FinishReason | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

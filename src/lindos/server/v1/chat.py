"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.assistant import TokenLogprob
from lindos.server.service import ServiceOf
from lindos.server.v1.logprobs import chat_logprobs
from lindos.server.v1.replies import AnswerMessage, ChatChoice, ChatReply, FinishReason, UsageReply
from lindos.server.v1.respond import STREAMED, Part, client_of, respond
from lindos.server.v1.schema import ChatRequest

router = APIRouter(tags=["v1"])


@router.post("/v1/chat/completions", response_model=ChatReply, responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request, service: ServiceOf) -> Response:
    """Continue a conversation."""
    service.check_model(body.model)
    turns = [message.turn() for message in body.messages]

    def submit(choice: int):
        sampling = body.sampling(choice, service.settings.temperature, body.limit)
        return service.model.submit(turns, sampling=sampling, priority=body.urgency, client=client_of(request, body))

    return await respond(service, request, body, submit, ChatShape())


class ChatShape:
    """Choices with messages; streamed, with deltas, the role in the first."""

    prefix = "chatcmpl"
    streamed = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any]:
        return _choice(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        listed = None if logprobs is None else chat_logprobs(logprobs).model_dump()
        return {**_choice(index, {"content": text}), "logprobs": listed}

    def closing(self, index: int, finish: FinishReason) -> dict[str, Any]:
        return _choice(index, {}, finish)

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> ChatReply:
        choices = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=part.text),
                logprobs=None if part.logprobs is None else chat_logprobs(part.logprobs),
                finish_reason=part.finish,
            )
            for index, part in enumerate(parts)
        ]
        return ChatReply(**head, choices=choices, usage=usage)


def _choice(index: int, delta: dict[str, str], finish: FinishReason | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.server.service import ServiceOf
from lindos.server.v1.replies import AnswerMessage, ChatChoice, ChatReply, FinishReason, UsageReply
from lindos.server.v1.respond import STREAMED, respond
from lindos.server.v1.schema import ChatRequest

router = APIRouter(tags=["v1"])


@router.post("/v1/chat/completions", response_model=ChatReply, responses=STREAMED)
async def chat_completions(body: ChatRequest, request: Request, service: ServiceOf) -> Response:
    """Continue a conversation."""
    service.check_model(body.model)
    turns = [message.turn() for message in body.messages]

    def submit(choice: int):
        sampling = body.sampling(choice, service.settings.temperature, body.limit)
        return service.model.submit(turns, sampling=sampling)

    return await respond(service, request, body, submit, ChatShape())


class ChatShape:
    """Choices with messages; streamed, with deltas, the role in the first."""

    prefix = "chatcmpl"
    streamed = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any]:
        return _choice(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, text: str) -> dict[str, Any]:
        return _choice(index, {"content": text})

    def closing(self, index: int, finish: FinishReason) -> dict[str, Any]:
        return _choice(index, {}, finish)

    def whole(self, head: dict[str, Any], parts: Sequence[tuple[str, FinishReason]], usage: UsageReply) -> ChatReply:
        choices = [
            ChatChoice(index=index, message=AnswerMessage(content=text), finish_reason=finish)
            for index, (text, finish) in enumerate(parts)
        ]
        return ChatReply(**head, choices=choices, usage=usage)


def _choice(index: int, delta: dict[str, str], finish: FinishReason | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

"""`POST /v1/completions`: a raw text continued, without a chat around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.server.service import ServiceOf
from lindos.server.v1.replies import FinishReason, TextChoice, TextReply, UsageReply
from lindos.server.v1.respond import STREAMED, respond
from lindos.server.v1.schema import CompletionRequest

router = APIRouter(tags=["v1"])


@router.post("/v1/completions", response_model=TextReply, responses=STREAMED)
async def completions(body: CompletionRequest, request: Request, service: ServiceOf) -> Response:
    """Continue one text or several; the choices of each come together, in the order of the prompts."""
    service.check_model(body.model)

    def submit(answer: int):
        prompt, choice = divmod(answer, body.choices)
        sampling = body.sampling(choice, service.settings.temperature, body.limit)
        return service.model.submit(prompt=body.prompts[prompt], sampling=sampling)

    return await respond(service, request, body, submit, TextShape())


class TextShape:
    """Choices with text."""

    prefix = "cmpl"
    streamed = "text_completion"

    def opening(self, index: int) -> dict[str, Any]:
        return self.piece(index, "")

    def piece(self, index: int, text: str, finish: FinishReason | None = None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

    def closing(self, index: int, finish: FinishReason) -> dict[str, Any]:
        return self.piece(index, "", finish)

    def whole(self, head: dict[str, Any], parts: Sequence[tuple[str, FinishReason]], usage: UsageReply) -> TextReply:
        choices = [
            TextChoice(index=index, text=text, finish_reason=finish) for index, (text, finish) in enumerate(parts)
        ]
        return TextReply(**head, choices=choices, usage=usage)

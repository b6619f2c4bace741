"""`POST /v1/completions`: a raw text continued, without a chat around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.assistant import TokenLogprob
from lindos.server.service import ServiceOf
from lindos.server.v1.logprobs import TextPlaces
from lindos.server.v1.replies import FinishReason, TextChoice, TextReply, UsageReply
from lindos.server.v1.respond import STREAMED, Part, client_of, respond
from lindos.server.v1.schema import CompletionRequest

router = APIRouter(tags=["v1"])


@router.post("/v1/completions", response_model=TextReply, responses=STREAMED)
async def completions(body: CompletionRequest, request: Request, service: ServiceOf) -> Response:
    """Continue one text or several; the choices of each come together, in the order of the prompts."""
    service.check_model(body.model)

    def submit(answer: int):
        prompt, choice = divmod(answer, body.choices)
        sampling = body.sampling(choice, service.settings.temperature, body.limit)
        ways = {"priority": body.urgency, "client": client_of(request, body)}
        return service.model.submit(prompt=body.prompts[prompt], sampling=sampling, **ways)

    return await respond(service, request, body, submit, TextShape())


class TextShape:
    """Choices with text."""

    prefix = "cmpl"
    streamed = "text_completion"

    def __init__(self) -> None:
        self._places: defaultdict[int, TextPlaces] = defaultdict(TextPlaces)

    def opening(self, index: int) -> dict[str, Any]:
        return self.piece(index, "", None)

    def piece(self, index: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        listed = None if logprobs is None else self._places[index].logprobs(logprobs).model_dump()
        return {"index": index, "text": text, "logprobs": listed, "finish_reason": None}

    def closing(self, index: int, finish: FinishReason) -> dict[str, Any]:
        return {**self.piece(index, "", None), "finish_reason": finish}

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> TextReply:
        choices = [
            TextChoice(
                index=index,
                text=part.text,
                logprobs=None if part.logprobs is None else TextPlaces().logprobs(part.logprobs),
                finish_reason=part.finish,
            )
            for index, part in enumerate(parts)
        ]
        return TextReply(**head, choices=choices, usage=usage)

"""`POST /v1/completions`: a raw text continued, without a chat around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lindos.assistant import Basis, TokenLogprob
from lindos.server.service import ServiceOf
from lindos.server.v1.asking import Asked, asks_assistant, client_of, submitter
from lindos.server.v1.evidence import Evidence
from lindos.server.v1.logprobs import TextPlaces
from lindos.server.v1.replies import FinishReason, TextChoice, TextReply, UsageReply
from lindos.server.v1.respond import STREAMED, Part, respond
from lindos.server.v1.schema import CompletionRequest
from lindos.server.v1.speech import MadeCall, Piece
from lindos.specs import Message

router = APIRouter(tags=["v1"])


@router.post("/v1/completions", response_model=TextReply, responses=STREAMED)
async def completions(body: CompletionRequest, request: Request, service: ServiceOf) -> Response:
    """Continue one text or several; the choices of each come together, in the order of the prompts."""
    assistant = asks_assistant(service, body, body.bare_only)
    grammar = body.format
    asked = Asked(
        conversations=[[Message(role="user", content=prompt)] for prompt in body.prompts] if assistant else [],
        prompts=body.prompts,
        choices=body.choices,
        sampling=lambda choice: body.sampling(choice, service.settings.temperature, body.limit, grammar),
        client=client_of(request, body),
        priority=body.urgency,
        renamed={"messages": "prompt"},
    )
    return await respond(service, request, body, submitter(service, body, asked), TextShape())


class TextShape:
    """Choices with text."""

    prefix = "cmpl"
    streamed = "text_completion"

    def __init__(self) -> None:
        self._places: defaultdict[int, TextPlaces] = defaultdict(TextPlaces)

    def opening(self, index: int) -> dict[str, Any]:
        return self.piece(index, Piece(""), None)

    def piece(self, index: int, piece: Piece, logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any]:
        listed = None if logprobs is None else self._places[index].logprobs(logprobs).model_dump()
        return {"index": index, "text": piece.text, "logprobs": listed, "finish_reason": None}

    def call(self, index: int, number: int, call: MadeCall) -> Iterator[dict[str, Any]]:
        """Texts have no functions to call."""
        yield from ()

    def closing(self, index: int, finish: FinishReason, basis: Basis | None) -> dict[str, Any]:
        return {**self.piece(index, Piece(""), None), "finish_reason": finish}

    def whole(self, head: dict[str, Any], parts: Sequence[Part], usage: UsageReply) -> TextReply:
        evidence = [None if part.basis is None else Evidence.of(part.basis) for part in parts]
        choices = [
            TextChoice(
                index=index,
                text=part.speech.text,
                logprobs=None if part.logprobs is None else TextPlaces().logprobs(part.logprobs),
                finish_reason="length" if part.finish == "length" else "stop",
                lindos=evidence[index] if len(parts) > 1 else None,
            )
            for index, part in enumerate(parts)
        ]
        return TextReply(**head, choices=choices, usage=usage, lindos=evidence[0])

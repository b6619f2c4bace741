"""What clients get, in OpenAI's shapes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from lindos.assistant import Usage
from lindos.server.v1.evidence import Evidence, NestedCitation, Reply

FinishReason = Literal["stop", "length", "tool_calls"]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """Every answer that is no success."""

    error: ErrorBody


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class UsageReply(BaseModel):
    """Tokens, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, usages: list[Usage], choices: int) -> UsageReply:
        """Of one request: each prompt once, and all of the `choices` made of it."""
        prompts = [usages[at : at + choices] for at in range(0, len(usages), choices)]
        prompt = sum(max(usage.prompt_tokens for usage in same) for same in prompts)
        written = sum(usage.completion_tokens for usage in usages)
        # What another choice of the same request has left was computed for this request.
        cached = sum(min((usage.cached_tokens for usage in same if usage.prompt_tokens), default=0) for same in prompts)
        details = PromptTokensDetails(cached_tokens=cached)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=written,
            total_tokens=prompt + written,
            prompt_tokens_details=details,
        )


class TokenReply(BaseModel):
    """A token and the natural logarithm of its probability, before temperature and all else that was asked for."""

    token: str
    logprob: float
    bytes: list[int] | None


class ListedToken(TokenReply):
    top_logprobs: list[TokenReply]


class ChatLogprobs(BaseModel):
    """Of the tokens of a message."""

    content: list[ListedToken]
    refusal: None = None


class TextLogprobs(BaseModel):
    """Of the tokens of a text, as lists beside each other."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    """Of each token its own and those of the likeliest."""
    text_offset: list[int] = []
    """Where each begins in the text."""


class CalledFunction(BaseModel):
    name: str
    arguments: str
    """A JSON object."""


class ToolCall(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(Reply):
    LEFT_OUT = frozenset({"tool_calls", "annotations"})

    role: Literal["assistant"] = "assistant"
    content: str | None
    """Null where there are only calls, or a refusal."""
    refusal: str | None = None
    """Why there is no answer, where one in a format was wanted."""
    tool_calls: list[ToolCall] | None = None
    annotations: list[NestedCitation] | None = None
    """Of the assistant's answers: what stretches of the text rest on."""


class ChatChoice(Reply):
    LEFT_OUT = frozenset({"lindos"})

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason
    lindos: Evidence | None = None
    """Of each of several answers of the assistant."""


class ChatReply(Reply):
    """A whole answer to a chat."""

    LEFT_OUT = frozenset({"lindos"})

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageReply
    lindos: Evidence | None = None
    """What the first of the assistant's answers rests on."""


class TextChoice(Reply):
    LEFT_OUT = frozenset({"lindos"})

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"]
    lindos: Evidence | None = None
    """Of each of several answers of the assistant."""


class TextReply(Reply):
    """A whole completion of a text."""

    LEFT_OUT = frozenset({"lindos"})

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: UsageReply
    lindos: Evidence | None = None
    """What the first of the assistant's answers rests on."""


class ModelReply(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelReply]

"""What clients get, in OpenAI's shapes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from lindos.assistant import Usage

FinishReason = Literal["stop", "length"]


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


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatReply(BaseModel):
    """A whole answer to a chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageReply


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason


class TextReply(BaseModel):
    """A whole completion of a text."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: UsageReply


class ModelReply(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelReply]

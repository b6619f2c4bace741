"""What `/v1/responses` answers, in OpenAI's shapes, and the field `lindos`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from lindos.assistant import Usage
from lindos.server.v1.evidence import Evidence, FlatCitation, Reply
from lindos.server.v1.replies import ListedToken, TokenReply

ResponseStatus = Literal["completed", "failed", "in_progress", "cancelled", "incomplete"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(BaseModel):
    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[FlatCitation] = Field(default_factory=list)
    logprobs: list[dict[str, Any]] = Field(default_factory=list)


class OutputRefusal(BaseModel):
    type: Literal["refusal"] = "refusal"
    refusal: str = ""


class OutputMessage(BaseModel):
    """What was said."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: ItemStatus
    content: list[Annotated[OutputText | OutputRefusal, Field(discriminator="type")]]


class OutputCall(BaseModel):
    """A call of one of the caller's functions."""

    id: str
    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str
    """A JSON object."""
    status: ItemStatus


class SearchedPlace(BaseModel):
    type: Literal["url"] = "url"
    url: str


class SearchAction(Reply):
    LEFT_OUT = frozenset({"query", "sources"})

    type: Literal["search"] = "search"
    query: str | None = None
    """What posts were searched for."""
    sources: list[SearchedPlace] | None = None
    """Where asked for: the posts that were found."""


class OutputSearch(BaseModel):
    """That posts were searched, and some were found."""

    id: str
    type: Literal["web_search_call"] = "web_search_call"
    status: Literal["in_progress", "searching", "completed"]
    action: SearchAction


OutputItem = Annotated[OutputMessage | OutputCall | OutputSearch, Field(discriminator="type")]


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    """Tokens, as the engine counted them."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> ResponseUsage:
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        )


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class ResponseFault(BaseModel):
    code: Literal["server_error"]
    message: str


class ReasoningReply(BaseModel):
    effort: None = None
    summary: None = None


class ResponseReply(Reply):
    """A response, whole or under way."""

    LEFT_OUT = frozenset({"lindos"})

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    background: Literal[False] = False
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = Field(default_factory=list)
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningReply = ReasoningReply()
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    """Null while it is under way."""
    user: str | None
    lindos: Evidence | None = None
    """What an answer of the assistant rests on."""


class DeletedReply(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(BaseModel):
    """A page of the items that a response was asked with."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


def listed_tokens(tokens: list[ListedToken]) -> list[dict[str, Any]]:
    """Log probabilities as responses have them: with bytes in any case."""
    return [{**_listed(one), "top_logprobs": [_listed(top) for top in one.top_logprobs]} for one in tokens]


def _listed(token: TokenReply) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": token.bytes or []}

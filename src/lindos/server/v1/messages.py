"""The turns of a chat as clients send them, in OpenAI's shapes. What they repeat of our own answers is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

from lindos.assistant.functions import Called, Returned, Said, Turn
from lindos.server.errors import ApiError
from lindos.server.strict import NEUTRAL, Strict

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(min_length=1, max_length=128)]
MAX_CALLS = 128
Empty = Annotated[list[Any], Field(max_length=0)]
Known = Annotated[list[dict[str, Any]], Field(max_length=4096)]
"""Something of our own answers that says nothing new."""


class TextPart(Strict):
    """A piece of a message. Pictures, sound and files are not taken."""

    type: Literal["text"]
    text: str


def _text_only(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                "unsupported_parameter", "message parts of type '{kind}' are not supported: send text", {"kind": kind}
            ) from None
        raise


Content = str | Annotated[list[Annotated[TextPart, WrapValidator(_text_only)]], Field(min_length=1)]


class MadeFunction(Strict):
    """Which function was called, and with what."""

    name: FunctionName
    arguments: str
    """JSON, as the model wrote it."""
    parsed_arguments: Any = None
    """What the client has read of them."""


class MadeCall(Strict):
    """A call in an earlier answer."""

    id: CallId
    type: Literal["function"]
    function: MadeFunction
    index: int | None = None
    """Its number in a stream."""


class _Turn(Strict):
    """What any turn may have besides its words, without effect."""

    name: Annotated[None, NEUTRAL] = None
    audio: Annotated[None, NEUTRAL] = None
    function_call: Annotated[None, NEUTRAL] = None


class _Wordy(_Turn):
    """A turn that is words and nothing else."""

    refusal: Annotated[None, NEUTRAL] = None
    annotations: Annotated[Empty | None, NEUTRAL] = None
    tool_calls: Annotated[Empty | None, NEUTRAL] = None
    tool_call_id: Annotated[None, NEUTRAL] = None


class SystemMessage(_Wordy):
    """Instructions; the developer's are the system's."""

    role: Literal["system", "developer"]
    content: Content

    def turns(self) -> Iterator[Turn]:
        yield Said("system", _text(self.content))


class UserMessage(_Wordy):
    """A question."""

    role: Literal["user"]
    content: Content

    def turns(self) -> Iterator[Turn]:
        yield Said("user", _text(self.content))


class AssistantMessage(_Turn):
    """An earlier answer: words, a refusal, calls."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    annotations: Known | None = None
    tool_calls: Annotated[list[MadeCall], Field(max_length=MAX_CALLS)] | None = None
    parsed: Any = None
    """What the client has read of the content."""
    tool_call_id: Annotated[None, NEUTRAL] = None

    def turns(self) -> Iterator[Turn]:
        words = _text(self.content) if self.content is not None else self.refusal
        if words or not self.tool_calls:
            yield Said("assistant", words or "")
        for call in self.tool_calls or ():
            yield Called(call.id, call.function.name, call.function.arguments)


class ToolMessage(_Turn):
    """What a call came to."""

    role: Literal["tool"]
    content: Content
    tool_call_id: CallId
    refusal: Annotated[None, NEUTRAL] = None
    annotations: Annotated[Empty | None, NEUTRAL] = None
    tool_calls: Annotated[Empty | None, NEUTRAL] = None

    def turns(self) -> Iterator[Turn]:
        yield Returned(self.tool_call_id, _text(self.content))


_TAGS = {
    "system": "SystemMessage",
    "developer": "SystemMessage",
    "user": "UserMessage",
    "assistant": "AssistantMessage",
    "tool": "ToolMessage",
}


def _tag(value: Any) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    return _TAGS.get(role) if isinstance(role, str) else None


ChatMessage = Annotated[
    Annotated[SystemMessage, Tag("SystemMessage")]
    | Annotated[UserMessage, Tag("UserMessage")]
    | Annotated[AssistantMessage, Tag("AssistantMessage")]
    | Annotated[ToolMessage, Tag("ToolMessage")],
    Discriminator(
        _tag,
        custom_error_type="invalid_parameter",
        custom_error_message=f"a message is an object whose role is one of {', '.join(_TAGS)}",
        custom_error_context={"param": "role"},
    ),
]


def turns_of(messages: Iterable[ChatMessage]) -> list[Turn]:
    """The turns of a chat. Raises ApiError for a result of a call that nobody made."""
    return answered([turn for message in messages for turn in message.turns()], "messages", "tool_call_id")


def answered(turns: list[Turn], param: str, name: str) -> list[Turn]:
    """`turns`, of which every result has its call before it. Raises ApiError."""
    open_calls: set[str] = set()
    for turn in turns:
        if isinstance(turn, Called):
            open_calls.add(turn.id)
        elif isinstance(turn, Returned) and turn.id not in open_calls:
            raise ApiError(400, f"there is no call '{turn.id}' before its result: check {name}", param=param)
    return turns


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)

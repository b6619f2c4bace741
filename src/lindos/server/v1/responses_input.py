"""The input of a response: a text or items, how they are kept, and the turns that a model is told of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

from lindos.assistant.functions import Called, Returned, Said, Turn
from lindos.server.strict import NEUTRAL, Strict
from lindos.server.v1.messages import CallId, FunctionName, Known

ItemId = Annotated[str, Field(min_length=1, max_length=128)]
Status = Literal["in_progress", "completed", "incomplete"]
Item = dict[str, Any]
"""As it is kept and listed: in the shapes of OpenAI's `ResponseItem`."""


class InputText(Strict):
    """Text that somebody sends. Pictures, sound and files are not taken."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Annotated[None, NEUTRAL] = None


class SaidText(Strict):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: str
    annotations: Known | None = None
    logprobs: Known | None = None


class SaidRefusal(Strict):
    """An earlier answer's refusal."""

    type: Literal["refusal"]
    refusal: str


def _parts_of(*kinds: str) -> WrapValidator:
    def only(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            kind = value.get("type") if isinstance(value, dict) else None
            if isinstance(kind, str) and kind not in kinds:
                words = "parts of type '{kind}' are not supported here: send {kinds}"
                found = {"kind": kind, "kinds": " or ".join(kinds)}
                raise PydanticCustomError("unsupported_parameter", words, found) from None
            raise

    return WrapValidator(only)


def _part_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    tags = {"input_text": "InputText", "output_text": "SaidText", "refusal": "SaidRefusal"}
    return tags.get(kind) if isinstance(kind, str) else None


_Input = Annotated[InputText, _parts_of("input_text")]
_Said = Annotated[
    Annotated[
        Annotated[InputText, Tag("InputText")]
        | Annotated[SaidText, Tag("SaidText")]
        | Annotated[SaidRefusal, Tag("SaidRefusal")],
        Discriminator(
            _part_tag,
            custom_error_type="invalid_parameter",
            custom_error_message="a part of an answer is an object whose type is output_text or refusal",
        ),
    ],
    _parts_of("output_text", "refusal"),
]
Inputs = Annotated[list[_Input], Field(min_length=1)]


class _Item(Strict):
    id: ItemId | None = None
    status: Status | None = None


class QuestionItem(_Item):
    """A question, or instructions."""

    type: Literal["message"] | None = None
    role: Literal["user", "system", "developer"]
    content: str | Inputs
    phase: Annotated[None, NEUTRAL] = None

    def item(self) -> Item:
        texts = [self.content] if isinstance(self.content, str) else [part.text for part in self.content]
        content = [{"type": "input_text", "text": text} for text in texts]
        named = {**_named(self.id, "msg"), "type": "message", "role": self.role}
        return {**named, "status": "completed", "content": content}


class AnswerItem(_Item):
    """An earlier answer."""

    type: Literal["message"] | None = None
    role: Literal["assistant"]
    content: str | list[_Said]
    phase: Literal["commentary", "final_answer"] | None = None
    """For people; it changes nothing."""

    def item(self) -> Item:
        parts = [self.content] if isinstance(self.content, str) else self.content
        content = [
            {"type": "refusal", "refusal": part.refusal}
            if isinstance(part, SaidRefusal)
            else {"type": "output_text", "text": part if isinstance(part, str) else part.text, "annotations": []}
            for part in parts
        ]
        named = {**_named(self.id, "msg"), "type": "message", "role": "assistant"}
        return {**named, "status": self.status or "completed", "content": content}


class CallItem(_Item):
    """A call in an earlier answer."""

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    arguments: str
    """JSON, as the model wrote it."""
    namespace: Annotated[None, NEUTRAL] = None
    caller: Annotated[None, NEUTRAL] = None

    def item(self) -> Item:
        called = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return {**_named(self.id, "fc"), "type": "function_call", **called, "status": self.status or "completed"}


class ResultItem(_Item):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: str | Inputs
    caller: Annotated[None, NEUTRAL] = None

    def item(self) -> Item:
        output = self.output if isinstance(self.output, str) else "\n".join(part.text for part in self.output)
        named = {**_named(self.id, "fco"), "type": "function_call_output", "call_id": self.call_id}
        return {**named, "output": output, "status": self.status or "completed"}


class SearchItem(Strict):
    """A search in an earlier answer; it says nothing new."""

    type: Literal["web_search_call"]
    id: ItemId | None = None
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"] | None = None
    action: dict[str, Any] | None = None


class ItemReference(Strict):
    """An item that is kept here, by its id."""

    type: Literal["item_reference"] | None = None
    id: ItemId


_KINDS = {
    "function_call": "CallItem",
    "function_call_output": "ResultItem",
    "web_search_call": "SearchItem",
    "item_reference": "ItemReference",
}


def _item_tag(value: Any) -> str | None:
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    kind = fields.get("type")
    if kind == "message" or (kind is None and "role" in fields):
        return "AnswerItem" if fields.get("role") == "assistant" else "QuestionItem"
    if kind is None:
        return "ItemReference" if "id" in fields else None
    return _KINDS.get(kind) if isinstance(kind, str) else None


InputItem = Annotated[
    Annotated[QuestionItem, Tag("QuestionItem")]
    | Annotated[AnswerItem, Tag("AnswerItem")]
    | Annotated[CallItem, Tag("CallItem")]
    | Annotated[ResultItem, Tag("ResultItem")]
    | Annotated[SearchItem, Tag("SearchItem")]
    | Annotated[ItemReference, Tag("ItemReference")],
    Discriminator(
        _item_tag,
        custom_error_type="unsupported_parameter",
        custom_error_message=f"an item is a message with a role, or an object whose type is {', '.join(_KINDS)}",
    ),
]


def question(text: str) -> Item:
    """A text as an item."""
    return QuestionItem(role="user", content=text).item()


def turns_of_items(items: Iterable[Item]) -> list[Turn]:
    """What a model is told of kept items."""
    turns: list[Turn] = []
    for item in items:
        match item["type"]:
            case "message":
                text = "\n".join(part.get("text", part.get("refusal", "")) for part in item["content"])
                role = "system" if item["role"] == "developer" else item["role"]
                turns.append(Said(role, text))
            case "function_call":
                turns.append(Called(item["call_id"], item["name"], item["arguments"]))
            case "function_call_output":
                turns.append(Returned(item["call_id"], item["output"]))
    return turns


def new_id(kind: str) -> str:
    """A name nobody can guess."""
    return f"{kind}_{secrets.token_hex(16)}"


def _named(given: str | None, kind: str) -> dict[str, str]:
    return {"id": given or new_id(kind)}

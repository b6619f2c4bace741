"""The `openai` package's types as the schema that bodies and events are held to.

Its client reads leniently, so that a missing field would only be noticed where somebody uses it. Here every field that
its types require has to be there with exactly their JSON types, and no field that they do not know but ours.
"""

from __future__ import annotations

import json
from typing import Any

from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import BaseModel, TypeAdapter

OURS = {"lindos", "annotations", "store"}
"""What replies have beyond the types: ours; citations in a delta; and `store`, which OpenAI's own replies have too."""
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def checked(kind: type[BaseModel], body: Any) -> Any:
    """`body` as `kind`. Raises ValidationError, or AssertionError for fields that it does not know."""
    return _known(TypeAdapter(kind).validate_json(json.dumps(body), strict=True))


def checked_response(body: dict[str, Any]) -> Response:
    return checked(Response, body)


def checked_items(body: dict[str, Any]) -> ResponseItemList:
    return checked(ResponseItemList, body)


def checked_chat(body: dict[str, Any]) -> ChatCompletion:
    return checked(ChatCompletion, body)


def checked_chunk(body: dict[str, Any]) -> ChatCompletionChunk:
    return checked(ChatCompletionChunk, body)


def checked_text(body: dict[str, Any]) -> Completion:
    return checked(Completion, body)


def checked_event(event: dict[str, Any]) -> Any:
    found = _known(EVENTS.validate_json(json.dumps(event), strict=True))
    # A union lets through whatever fits one of its types; it has to be the one that the event is called by.
    assert found.type == event["type"]
    return found


def _known(found: Any) -> Any:
    if isinstance(found, BaseModel):
        assert set(found.model_extra or ()) <= OURS, f"{type(found).__name__} has {found.model_extra}"
        for name in type(found).model_fields:
            _known(getattr(found, name))
    elif isinstance(found, list):
        for one in found:
            _known(one)
    return found

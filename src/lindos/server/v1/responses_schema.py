"""What clients may ask of `/v1/responses`. The fields are OpenAI's; `persona` and `language` are ours."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from lindos.assistant import Grammar, RequestError, Sampling
from lindos.server.strict import NEUTRAL, Strict
from lindos.server.v1.formats import AnyObject, NamedSchema, PlainText
from lindos.server.v1.responses_input import InputItem
from lindos.server.v1.tools import MAX_TOOLS, ResponseTool, ResponseToolChoice
from lindos.server.v1.values import (
    Alternatives,
    Label,
    Language,
    ModelName,
    No,
    PersonaName,
    Share,
    Temperature,
    Tokens,
    without_gone,
)

ResponseId = Annotated[str, Field(min_length=1, max_length=64)]
MAX_ITEMS = 4096
LOGPROBS = "message.output_text.logprobs"
SOURCES = "web_search_call.action.sources"
Includable = Literal[
    "message.output_text.logprobs",
    "web_search_call.action.sources",
    "web_search_call.results",
    "file_search_call.results",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
]
"""Most are of what this server does not have, so that there is nothing to include."""
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataText = Annotated[str, Field(max_length=512)]
Metadata = Annotated[
    dict[MetadataKey, MetadataText],
    Field(max_length=16, json_schema_extra={"propertyNames": {"maxLength": 64}}),
]


class FlatSchema(NamedSchema):
    """JSON that a schema describes."""

    type: Literal["json_schema"]

    def grammar_of(self) -> Grammar | None:
        try:
            return Grammar("json_schema", json.dumps(self.content or {"type": "object"}))
        except RecursionError:
            raise RequestError("the JSON schema is nested too deeply", param="text.format") from None


_FORMATS = {"text": "PlainText", "json_object": "AnyObject", "json_schema": "FlatSchema"}


def _format_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return _FORMATS.get(kind) if isinstance(kind, str) else None


TextFormat = Annotated[
    Annotated[PlainText, Tag("PlainText")]
    | Annotated[AnyObject, Tag("AnyObject")]
    | Annotated[FlatSchema, Tag("FlatSchema")],
    Discriminator(
        _format_tag,
        custom_error_type="unsupported_parameter",
        custom_error_message=f"text.format is an object whose type is one of {', '.join(_FORMATS)}",
    ),
]


class TextOptions(Strict):
    """What the answer's text has to look like."""

    format: TextFormat | None = None
    verbosity: Annotated[Literal["medium"] | None, NEUTRAL] = None


class NoReasoning(Strict):
    """The models here do not think apart from their answers."""

    effort: Annotated[Literal["none"] | None, NEUTRAL] = None
    summary: Annotated[None, NEUTRAL] = None
    generate_summary: Annotated[None, NEUTRAL] = None


class ResponseStreamOptions(Strict):
    include_obfuscation: Annotated[No | None, NEUTRAL] = None


class ResponseRequest(Strict):
    """Something to be answered, and kept so that it can be gone on with."""

    model: ModelName
    """`lindos` is the assistant, any other name the bare model."""
    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    """For this answer alone: what goes on from it is told its own."""
    previous_response_id: ResponseId | None = None
    """The kept response that this goes on from."""
    store: bool | None = None
    """Whether it is kept; it is unless this is false."""
    metadata: Metadata | None = None
    """The caller's own notes, kept with it."""
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_logprobs: Alternatives | None = None
    """How many likeliest tokens are told beside each token; wants `include: ["message.output_text.logprobs"]`."""
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may have called, and the assistant's search for posts."""
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    """auto: the oldest turns are left out where the context cannot hold all; otherwise that is an error."""
    include: Annotated[list[Includable], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    user: Label | None = None
    """A label of the caller's own: those with different ones get even shares when the engine is busy."""
    safety_identifier: Label | None = None
    """The newer name of user."""
    max_tool_calls: Tokens | None = None
    """Of tools that run here. Posts are searched at most once, so that any limit holds."""
    prompt_cache_key: Label | None = None
    """A label of the caller's own; it changes nothing."""
    persona: PersonaName | None = None
    """How the assistant speaks."""
    language: Language | None = None
    """What the assistant answers in, by its code, e.g. `fr`; otherwise as it is asked."""

    access_programs: Annotated[None, NEUTRAL] = None
    background: Annotated[No | None, NEUTRAL] = None
    background_options: Annotated[None, NEUTRAL] = None
    context_management: Annotated[None, NEUTRAL] = None
    conversation: Annotated[None, NEUTRAL] = None
    image: Annotated[None, NEUTRAL] = None
    moderation: Annotated[None, NEUTRAL] = None
    prompt: Annotated[None, NEUTRAL] = None
    prompt_cache_options: Annotated[None, NEUTRAL] = None
    prompt_cache_retention: Annotated[None, NEUTRAL] = None
    reasoning: NoReasoning | None = None
    service_tier: Annotated[Literal["auto", "default"] | None, NEUTRAL] = None

    @model_validator(mode="before")
    @classmethod
    def _gone(cls, data: Any) -> Any:
        return without_gone(data)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wrong = None
        if self.stream_options is not None and not self.stream:
            wrong = ("stream_options", "stream_options is only for streams: set stream to true, or leave it out")
        elif self.top_logprobs and LOGPROBS not in (self.include or ()):
            wrong = ("top_logprobs", f"top_logprobs wants '{LOGPROBS}' in include: add it, or leave it out")
        if wrong:
            raise PydanticCustomError("invalid_parameter", wrong[1], {"param": wrong[0]})  # type: ignore[arg-type]
        return self

    @property
    def label(self) -> str | None:
        return self.safety_identifier or self.user

    @property
    def kept(self) -> bool:
        return self.store is not False

    @property
    def alternatives(self) -> int | None:
        """How many likeliest tokens are listed beside each token; None: no log probabilities."""
        return (self.top_logprobs or 0) if LOGPROBS in (self.include or ()) else None

    @property
    def bare_only(self) -> list[str]:
        """Parameters in use that the assistant has not."""
        return ["include"] if self.alternatives is not None else []

    @property
    def format(self) -> Grammar | None:
        """What the answer has to look like."""
        return self.text.format.grammar_of() if self.text and self.text.format else None

    def sampling(self, temperature: float, grammar: Grammar | None) -> Sampling:
        """How the answer is sampled; `temperature` where the request names none."""
        return Sampling(
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            logprobs=self.alternatives,
            grammar=grammar,
            max_tokens=self.max_output_tokens,
        )

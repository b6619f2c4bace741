"""`response_format`: what an answer has to look like, in OpenAI's shapes, and as a regular expression."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from lindos.assistant import Grammar, RequestError
from lindos.server.strict import Strict

LONGEST = 1 << 16
"""Characters of a grammar; of a schema, as JSON, as many."""
GrammarText = Annotated[str, Field(min_length=1, max_length=LONGEST)]


class PlainText(Strict):
    """The response format that is no format."""

    type: Literal["text"]

    def grammar_of(self) -> Grammar | None:
        return None


class AnyObject(Strict):
    """Any JSON object."""

    type: Literal["json_object"]

    def grammar_of(self) -> Grammar | None:
        return Grammar("json_schema", '{"type":"object"}')


class NamedSchema(Strict):
    """A JSON schema with its name."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Annotated[str, Field(max_length=4096)] | None = None
    """For people; it changes nothing."""
    content: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    """Answers are always held to the schema, and what of it cannot be held to is refused, whatever this says."""


class DescribedObject(Strict):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: NamedSchema

    def grammar_of(self) -> Grammar | None:
        try:
            return Grammar("json_schema", json.dumps(self.json_schema.content or {"type": "object"}))
        except RecursionError:
            raise RequestError("the JSON schema is nested too deeply", param="response_format") from None


class LarkText(Strict):
    """Text of a context-free grammar, in llguidance's kind of Lark."""

    type: Literal["grammar"]
    grammar: GrammarText

    def grammar_of(self) -> Grammar | None:
        return Grammar("lark", self.grammar)


class RegexText(Strict):
    """Text that a regular expression matches as a whole."""

    type: Literal["regex"]
    regex: GrammarText

    def grammar_of(self) -> Grammar | None:
        return Grammar("regex", self.regex)


_TAGS = {
    "text": "PlainText",
    "json_object": "AnyObject",
    "json_schema": "DescribedObject",
    "grammar": "LarkText",
    "regex": "RegexText",
}


def _tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return _TAGS.get(kind) if isinstance(kind, str) else None


ResponseFormat = Annotated[
    Annotated[PlainText, Tag("PlainText")]
    | Annotated[AnyObject, Tag("AnyObject")]
    | Annotated[DescribedObject, Tag("DescribedObject")]
    | Annotated[LarkText, Tag("LarkText")]
    | Annotated[RegexText, Tag("RegexText")],
    Discriminator(
        _tag,
        custom_error_type="unsupported_parameter",
        custom_error_message=f"response_format is an object whose type is one of {', '.join(_TAGS)}",
    ),
]

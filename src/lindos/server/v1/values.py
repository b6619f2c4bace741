"""Kinds of values that several requests have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from lindos.server.errors import ApiError
from lindos.server.strict import INTEGRAL

StopString = Annotated[str, Field(min_length=1, max_length=1000)]
Stop = StopString | Annotated[list[StopString], Field(max_length=4)]
Tokens = Annotated[int, Field(ge=1, le=2**31), INTEGRAL]
Label = Annotated[str, Field(max_length=512)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
One = Annotated[int, Field(ge=1, le=1), INTEGRAL]
Temperature = Annotated[float, Field(ge=0, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Alternatives = Annotated[int, Field(ge=0, le=20), INTEGRAL]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
Biases = Annotated[dict[TokenId, Bias], Field(max_length=1024, json_schema_extra={"additionalProperties": False})]
Nothing = Annotated[dict[str, Any], Field(max_length=0)]
PersonaName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


def _is_false(value: bool) -> bool:
    if value:
        raise ValueError("must be false")
    return value


# Not Literal[False]: to Python 0 is the same.
No = Annotated[bool, AfterValidator(_is_false), WithJsonSchema({"type": "boolean", "const": False})]


def without_gone(data: Any) -> Any:
    """A request without what it no longer has. Raises ApiError, 410, where that was used."""
    if not isinstance(data, dict) or "search_parameters" not in data:
        return data
    if data["search_parameters"] is not None:
        raise ApiError(
            410,
            "search_parameters is gone: offer the tool instead, e.g. tools=[{'type': 'x_search', 'from_date': "
            "'2026-11-01', 'allowed_x_handles': ['desk.example']}], and tool_choice={'type': 'x_search'} to have "
            "posts searched in any case",
            param="search_parameters",
        )
    return {name: value for name, value in data.items() if name != "search_parameters"}

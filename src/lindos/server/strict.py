"""Requests that say what they do not know: unknown fields are refused, unsupported ones are refused by name."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError

MESSAGE = "'{name}' is not supported by this server, except with a value that changes nothing: leave it out"


def _unsupported(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("unsupported_parameter", MESSAGE, {"name": info.field_name}) from None


NEUTRAL = WrapValidator(_unsupported)
"""Marks a parameter this server does not have: it takes null, or a value that changes nothing."""


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(_integral)
"""Has a whole number also written as 5.0: to JSON that is the same. Comes after the bounds in an Annotated."""


class Strict(BaseModel):
    """A request, or a part of one: its fields and no others, of exactly their JSON types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, dict):
            names = {field.alias or name for name, field in cls.model_fields.items()}
            for name in data:
                if name not in names:
                    known = {"param": str(name), "known": sorted(names)}
                    raise PydanticCustomError("unknown_parameter", "unknown parameter", known)
        return data

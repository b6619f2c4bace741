"""Dialects: what OpenAI-compatible servers take beyond OpenAI's API, and under which names (`dialects.toml`)."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lindos.specs import Spec

Kind = Literal["openai", "lindos", "vllm", "sglang", "llama.cpp"]
"""Which dialect an upstream speaks."""

_FILE = Path(__file__).with_name("dialects.toml")


class PriorityField(Spec):
    """Where a request's priority goes."""

    field: str
    sign: Literal[-1, 1]
    """-1 where a lower number goes first."""


class Dialect(Spec):
    """What one kind of server takes. The comments at the head of `dialects.toml` explain the fields."""

    title: str
    """For people."""
    fields: dict[str, str]
    chat_limit: tuple[str, ...]
    counts: Literal["end", "always", "timings"] = "end"
    defaults: bool = False
    bounded_texts: bool = True
    props: bool = False
    """Whether `/props` tells the context that a request has, as llama.cpp's server does."""
    first_model: bool = False
    """Whether of several listed models the first one is meant."""
    user: str | None = None
    """The field that tells the server's users apart, where it shares itself among them."""
    everything_off: dict[str, Any] = Field(default_factory=dict)
    always: dict[str, Any] = Field(default_factory=dict)
    priority: PriorityField | None = None
    chat_formats: dict[str, dict[str, Any]] = Field(default_factory=dict)
    text_formats: dict[str, dict[str, Any]] = Field(default_factory=dict)


@functools.cache
def dialects() -> Mapping[str, Dialect]:
    """All dialects by kind."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {kind: Dialect.parse(table, where=f"{_FILE.name}: {kind}") for kind, table in tables.items()}

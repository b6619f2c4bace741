"""What others measured, with where it is from; figures that nobody looked up say so."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import Field

from lindos.specs import Spec


class PublishedModel(Spec):
    """One published model. `figures` by task: "blimp", "arc-easy", "arc-easy-normalised", ..., "lambada-perplexity"."""

    name: str
    size: str
    source: str
    provenance: Literal["read", "recalled"]
    figures: dict[str, float] = Field(min_length=1)


class Published(Spec):
    """The whole table, and what chance gives in words."""

    chance: dict[str, str]
    model: tuple[PublishedModel, ...]


@cache
def published() -> Published:
    """The table that ships with the package."""
    text = resources.files("lindos.evaluate").joinpath("published.toml").read_text(encoding="utf-8")
    return Published.parse(tomllib.loads(text), where="published.toml")

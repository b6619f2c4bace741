"""Personas: how the assistant speaks, each a short TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from lindos.specs import Spec, SpecError

DEFAULT_PERSONA = "direct"
_BUILT_IN = Path(__file__).with_name("personas")

DEFAULT_LANGUAGE = "en"

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
System = Annotated[str, StringConstraints(strip_whitespace=True, max_length=8000)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Persona(Spec):
    """How the assistant speaks."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """The file's name without `.toml`."""
    title: Line
    """What the choice is called."""
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""
    system: System = ""
    """The system message. Keep it short for a small model: it was trained on one sentence.

    In a file it may be a table by language (`system.en`, `system.fr`): English stands here, or the first where there is
    none, and all of them in `systems`.
    """
    systems: dict[Language, System] = Field(default_factory=dict)
    """The system message by language."""
    humour: bool = False
    """Whether it jokes. Whatever is said of events under way is sober all the same."""

    def system_in(self, language: str) -> str:
        """The system message for answers in a language."""
        return self.systems.get(language, self.system)

    @model_validator(mode="before")
    @classmethod
    def _by_language(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("system"), dict):
            return data
        texts = data["system"]
        if not texts:
            raise ValueError("system is an empty table: give it a text, or one by language (en, fr, ...)")
        first = texts.get(DEFAULT_LANGUAGE, next(iter(texts.values())))
        return {**data, "system": first, "systems": {**texts, **data.get("systems", {})}}


def personas_directory() -> Path:
    """Where a user's own personas live: `$XDG_CONFIG_HOME/lindos/personas`, by default under `~/.config`."""
    root = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".config") / "lindos" / "personas"


def personas(directory: Path | None = None) -> dict[str, Persona]:
    """All personas by id: the built-in ones, default first, then the files of `directory` (the user's own).

    An own file with a built-in one's name replaces it. Raises SpecError that names the file when one is unusable.
    """
    own = personas_directory() if directory is None else directory
    files = [*sorted(_BUILT_IN.glob("*.toml")), *sorted(own.glob("*.toml"))]
    found = {path.stem: _read(path) for path in files}
    return {DEFAULT_PERSONA: found[DEFAULT_PERSONA], **found}


def _read(path: Path) -> Persona:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {error}") from None
    return Persona.parse({"id": path.stem, **table}, where=str(path))

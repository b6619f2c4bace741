"""Which model directory is meant: the bundled one, or what a person named."""

from __future__ import annotations

from pathlib import Path

import lindos
from lindos.specs import SpecError

BUNDLED = "pebble"


def bundled_model() -> Path:
    """The directory of the model that ships in the package. Raises SpecError when this installation lacks it."""
    # Looked up beside the code: the engine wants real files, which an installed wheel and a clone both have.
    path = Path(lindos.__file__).parent / "bundled" / BUNDLED
    if not (path / "config.json").is_file():
        raise SpecError(
            f"the bundled model is not in this installation ({path} has no config.json); "
            "name a model directory, e.g. `lindos chat path/to/model`"
        )
    return path


def find_model(name: str | None) -> Path:
    """The model directory for a command's MODEL: None or 'pebble' is the bundled one, else a path. Raises SpecError."""
    if name is None or (name == BUNDLED and not Path(name).exists()):
        return bundled_model()
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        raise SpecError(f"'{name}' has to become a model directory first: lindos convert {name} DST --quantise int4")
    if not path.is_dir():
        raise SpecError(
            f"there is no model directory '{name}'; give a folder with a config.json, or nothing for the bundled model"
        )
    if not (path / "config.json").is_file():
        raise SpecError(f"'{name}' has no config.json, so it is no model directory of Lindos; see `lindos convert`")
    return path

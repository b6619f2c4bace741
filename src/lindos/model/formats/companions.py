"""The files of a model directory that are no tensors: tokenizer and model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from lindos.model.formats.fields import read_table
from lindos.model.formats.source import FormatError
from lindos.specs import SpecError
from lindos.text import load_tokenizer

TOKENIZERS = ("tokenizer.json", "tokenizer.model")
CARRIED = (*TOKENIZERS, "MODEL_CARD.md")


def check_tokenizer(tokenizer: Path, vocabulary: int) -> None:
    """Raise FormatError unless this tokenizer (a file, or a directory with one) can be read and fits a model."""
    file, _ = find_tokenizer(tokenizer)
    try:
        found = load_tokenizer(file)
    except SpecError as error:
        raise FormatError(str(error)) from None
    if found.vocabulary > vocabulary:
        raise FormatError(
            f"{file}: has {found.vocabulary:,} tokens, the model only {vocabulary:,}; it belongs to another model"
        )


def has_chat_template(directory: Path) -> bool:
    """Whether its maker put a chat template beside a model's tensors, in any of transformers' ways."""
    if any((directory / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    settings = directory / "tokenizer_config.json"
    return settings.is_file() and bool(read_table(settings).get("chat_template"))


def copy_companions(source: Path | None, target: Path, tokenizer: Path | None = None) -> None:
    """Copy what lies beside the tensors of `source`; `tokenizer`, a file or a directory with one, takes its place.

    Raises FormatError for a tokenizer that is not there or of no known kind.
    """
    for name in CARRIED:  # of a run before this one, with another --tokenizer
        (target / name).unlink(missing_ok=True)
    skip: tuple[str, ...] = ()
    if tokenizer is not None:
        file, name = find_tokenizer(tokenizer)
        shutil.copyfile(file, target / name)
        skip = TOKENIZERS
    for name in CARRIED:
        if source is not None and name not in skip and (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def find_tokenizer(tokenizer: Path) -> tuple[Path, str]:
    """The file, and what a model directory calls it. Raises FormatError."""
    if tokenizer.is_dir():
        for name in TOKENIZERS:
            if (tokenizer / name).is_file():
                return tokenizer / name, name
        raise FormatError(f"{tokenizer}: no {' or '.join(TOKENIZERS)} in it")
    if not tokenizer.is_file():
        raise FormatError(f"{tokenizer}: no such tokenizer file")
    for name in TOKENIZERS:
        if tokenizer.suffix == Path(name).suffix:
            return tokenizer, name
    raise FormatError(f"{tokenizer}: a tokenizer is a .json (tokenizers) or a .model (SentencePiece) file")

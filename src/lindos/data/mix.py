"""The mix file: which sources a data set is made of, how each is read, and how often a pass shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from lindos.data.readers import READERS
from lindos.specs import Spec, nearest, read_table


class Source(Spec):
    """One file and how it becomes documents."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    group: str = Field(default="text", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Held-out text and reports are gathered by group."""
    path: str
    """Relative to the data root."""
    reader: str
    """One of `lindos.data.readers.READERS`."""
    epochs: float = Field(default=1.0, gt=0, le=1000)
    """How often one pass over the mix shows this source; need not be whole."""
    megabytes: float | None = Field(default=None, gt=0)
    """At most this much cleaned text, chosen by the documents' hashes."""
    join: int = Field(default=0, ge=0)
    """Short texts are joined to documents of about this many characters; 0 leaves each alone."""
    least: int = Field(default=80, ge=1)
    """Shorter texts (in characters) are dropped."""
    max_words_per_sentence: float | None = None
    """Rows whose own field `words_per_sentence` is larger are left out."""
    leave_out: tuple[str, ...] = ()
    """Rows whose title, author, book, task or src contains one of these are left out."""
    keep_only: tuple[str, ...] = ()
    """If given, only rows whose title, author, book, task or src contains one of these are kept."""
    licence: str = ""
    attribution: str = ""

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        if reader not in READERS:
            close = nearest(reader, READERS)
            hint = f"; did you mean '{close}'?" if close else ""
            raise ValueError(f"unknown reader '{reader}'{hint} (known: {', '.join(sorted(READERS))})")
        return reader

    @field_validator("name", "group")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == "heldout":
            raise ValueError("'heldout' is the folder of held-out text; take another name")
        return name


class TokenizerPlan(Spec):
    """Either a tokenizer to use (`path`), or the size of one to train on the mix."""

    path: str | None = None
    """A tokenizer.json or .model, or a folder with one; relative to the mix file."""
    vocabulary: int = Field(default=8192, ge=272, le=1 << 20)
    sample_megabytes: float = Field(default=48.0, gt=0)


class KeepOut(Spec):
    """Evaluations that training text must share no run of `words` words with."""

    folder: str = "eval"
    """Relative to the data root; every JSONL, CSV and text file below it counts."""
    words: int = Field(default=10, ge=3, le=50)


class Mix(Spec):
    """A whole mix file."""

    name: str
    tokenizer: TokenizerPlan = TokenizerPlan()
    keep_out: KeepOut | None = None
    heldout: float = Field(default=0.005, ge=0, lt=0.5)
    """The share of documents, chosen by hash, that is kept for measuring."""
    document_characters: int = Field(default=5000, ge=200)
    """Long texts are cut at paragraphs into documents of about this size."""
    source: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [source.name for source in self.source]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"source '{twice[0]}' is listed twice; each needs a name of its own")
        return self


def load_mix(path: Path) -> Mix:
    """Read a mix file (TOML). Raises SpecError that names the file and the field."""
    return Mix.parse(read_table(path), where=str(path))

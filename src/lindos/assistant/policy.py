"""The content policy: what is refused, and how, as rules in a file; the same for everybody and every persona."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lindos.assistant.beginnings import Beginnings
from lindos.assistant.plainwords import readings, windows
from lindos.assistant.saferegex import compiled
from lindos.specs import Spec, SpecError, nearest

DEFAULT_POLICY = Path(__file__).with_name("policies") / "default.toml"
DEFAULT_LANGUAGE = "en"

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
_FRAGMENT = re.compile(r"<([a-z_]+)>")


class Pattern(Spec):
    """Regular expressions over plain text (see plainwords.py); `<name>` stands for a fragment of the language."""

    match: Annotated[tuple[Words, ...], Field(min_length=1)]
    """One of these is there,"""
    also: tuple[Words, ...] = ()
    """each of these, anywhere near,"""
    unless: tuple[Words, ...] = ()
    """and none of these."""


class Rule(Spec):
    """One thing that is refused."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    title: Words
    """What it is about, for people."""
    how: Literal["refuse", "answer"]
    """refuse: say no. answer: say something that helps instead."""
    answers: Annotated[dict[Language, Words], Field(min_length=1)]
    """What is said, by language; a language that is missing gets English."""
    question: dict[Language, tuple[Pattern, ...]] = Field(default_factory=dict)
    """What questions are measured by."""
    output: dict[Language, tuple[Pattern, ...]] = Field(default_factory=dict)
    """What each sentence of an answer is measured by."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if DEFAULT_LANGUAGE not in self.answers:
            raise ValueError(
                f"rule '{self.id}' has no answer in {DEFAULT_LANGUAGE}, which other languages fall back to"
            )
        if not self.question and not self.output:
            raise ValueError(f"rule '{self.id}' looks at nothing: give it patterns under question or output")
        return self


class Verdict(Spec):
    """What the policy says about a text that it does not let pass."""

    rule: str
    how: Literal["refuse", "answer"]
    text: str
    """What is said instead."""
    version: str
    """The policy's, hash included."""


class _Compiled:
    """A pattern, ready to search."""

    def __init__(self, pattern: Pattern, fragments: Mapping[str, str], where: str) -> None:
        def ready(source: str) -> re.Pattern[str]:
            try:
                return compiled(_FRAGMENT.sub(lambda name: f"(?:{_fragment(name[1], fragments)})", source))
            except ValueError as error:
                raise ValueError(f"{where}: the expression {source!r}: {error}") from None

        self._match = [ready(source) for source in pattern.match]
        self._also = [ready(source) for source in pattern.also]
        self.sources = [one.pattern for one in (*self._match, *self._also)]
        """What is looked for, fragments filled in."""
        self._unless = [ready(source) for source in pattern.unless]

    def hits(self, text: str, stretches: Iterable[str]) -> bool:
        # Most texts hold nothing of it: looked at once as a whole before they are in stretches.
        if not any(one.search(text) for one in self._match) or not all(one.search(text) for one in self._also):
            return False
        return any(
            any(one.search(stretch) for one in self._match)
            and all(one.search(stretch) for one in self._also)
            and not any(one.search(stretch) for one in self._unless)
            for stretch in stretches
        )


def _fragment(name: str, fragments: Mapping[str, str]) -> str:
    if name not in fragments:
        close = nearest(name, fragments)
        raise ValueError(f"there is no fragment <{name}>" + (f"; did you mean <{close}>?" if close else ""))
    return fragments[name]


class Policy(Spec):
    """All rules, in the order in which they are asked. Patterns of every language are tried on every text."""

    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,31}$")]
    fragments: dict[Language, dict[Annotated[str, StringConstraints(pattern=r"^[a-z_]+$")], Words]] = Field(
        default_factory=dict
    )
    """Pieces of expressions that patterns share, by language and name; one may be made of those before it."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    digest: str = ""
    """Of the file's content; filled in by `load`."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        seen: set[str] = set()
        for rule in self.rules:
            if rule.id in seen:
                raise ValueError(f"there are two rules '{rule.id}'")
            seen.add(rule.id)
        _ = self._questions, self._outputs, self._beginnings  # compiled now, so that what is wrong is found now
        return self

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The policy of a file; None: the one that comes with Lindos. Raises SpecError that says what is wrong."""
        path = DEFAULT_POLICY if path is None else path
        try:
            data = path.read_bytes()
            table = tomllib.loads(data.decode())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise SpecError(f"{path}: cannot be read as TOML: {error}") from None
        if "digest" in table:
            raise SpecError(f"{path}: digest: it is computed, not written; take it out")
        return cls.parse({**table, "digest": hashlib.sha256(data).hexdigest()}, where=str(path))

    @property
    def name(self) -> str:
        """Its version and the beginning of its digest: what answers are marked with."""
        return f"{self.version}+{self.digest[:8]}" if self.digest else self.version

    def check(self, question: str, language: str = DEFAULT_LANGUAGE) -> Verdict | None:
        """What to say instead of answering; None where the question passes. `language` is that of the answer."""
        return self._verdict(self._questions, question, language)

    def check_output(self, sentence: str, language: str = DEFAULT_LANGUAGE) -> Verdict | None:
        """Whether a sentence of an answer must not be shown; None where it may."""
        return self._verdict(self._outputs, sentence, language)

    def may_begin(self, tail: str) -> bool:
        """Whether the first word of `tail`, the end of a sentence that still grows, may be the first of something that
        `check_output` looks for; words of which that is not so may be shown before the sentence has ended."""
        return self._beginnings.open_at(tail)

    def _verdict(self, patterns: list[tuple[Rule, list[_Compiled]]], text: str, language: str) -> Verdict | None:
        read = [(reading, windows(reading)) for reading in readings(text)]
        for rule, ready in patterns:
            if any(one.hits(reading, stretches) for one in ready for reading, stretches in read):
                said = rule.answers.get(language, rule.answers[DEFAULT_LANGUAGE])
                return Verdict(rule=rule.id, how=rule.how, text=said, version=self.name)
        return None

    @cached_property
    def _questions(self) -> list[tuple[Rule, list[_Compiled]]]:
        return [(rule, self._ready(rule, rule.question)) for rule in self.rules]

    @cached_property
    def _outputs(self) -> list[tuple[Rule, list[_Compiled]]]:
        return [(rule, self._ready(rule, rule.output)) for rule in self.rules]

    @cached_property
    def _beginnings(self) -> Beginnings:
        return Beginnings(source for _, ready in self._outputs for one in ready for source in one.sources)

    def _ready(self, rule: Rule, patterns: Mapping[str, tuple[Pattern, ...]]) -> list[_Compiled]:
        return [
            _Compiled(pattern, self._whole_fragments[language], f"rule '{rule.id}', {language}")
            for language, several in patterns.items()
            for pattern in several
        ]

    @cached_property
    def _whole_fragments(self) -> Mapping[str, Mapping[str, str]]:
        """Fragments with those that they are made of."""
        whole: dict[str, dict[str, str]] = {}
        for language in {language for rule in self.rules for language in (*rule.question, *rule.output)}:
            made = whole.setdefault(language, {})
            for name, source in self.fragments.get(language, {}).items():
                made[name] = _FRAGMENT.sub(lambda inner, made=made: f"(?:{_fragment(inner[1], made)})", source)
        return whole


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises SpecError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {error}") from None

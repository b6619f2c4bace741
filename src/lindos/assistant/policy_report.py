"""How well a policy does on cases: what it has to refuse, what it has to let pass, measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from lindos.assistant.policy import DEFAULT_POLICY, Language, Policy, read_toml
from lindos.specs import Spec, SpecError, nearest

Rate = Annotated[float, Field(ge=0, le=1)]
Texts = tuple[Annotated[str, Field(min_length=1, max_length=4000)], ...]
ByRule = dict[Language, dict[str, Texts]]


class Required(Spec):
    """The least shares of cases that go as they have to."""

    refused: Rate = 0.98
    allowed: Rate = 0.98


class OutputCases(Spec):
    """Sentences of answers."""

    refused: ByRule = Field(default_factory=dict)
    allowed: dict[Language, Texts] = Field(default_factory=dict)


class Cases(Spec):
    """Texts by language, and by the rule that has to hit."""

    required: Required = Required()
    refused: ByRule = Field(default_factory=dict)
    obfuscated: ByRule = Field(default_factory=dict)
    """Refused ones whose spelling hides what they say."""
    allowed: dict[Language, Texts] = Field(default_factory=dict)
    output: OutputCases = OutputCases()

    @classmethod
    def load(cls, path: Path) -> Cases:
        """The cases of a file. Raises SpecError."""
        return cls.parse(read_toml(path), where=str(path))

    def each(self) -> Iterator[Case]:
        """All of them."""
        for by_rule, output in ((self.refused, False), (self.obfuscated, False), (self.output.refused, True)):
            for language, rules in by_rule.items():
                for rule, texts in rules.items():
                    yield from (Case(text, language, rule, output) for text in texts)
        for allowed, output in ((self.allowed, False), (self.output.allowed, True)):
            for language, texts in allowed.items():
                yield from (Case(text, language, "", output) for text in texts)


class Case(NamedTuple):
    """One text."""

    text: str
    language: str
    rule: str
    """That has to hit; empty where none may."""
    output: bool
    """Whether it is a sentence of an answer."""


class Mistake(NamedTuple):
    """A case that does not go as it has to."""

    case: Case
    got: str
    """The rule that hit; empty where none did."""


class Report(NamedTuple):
    """What a policy made of its cases."""

    policy: str
    """Version and digest."""
    rules: int
    refused: int
    """Cases that have to be refused,"""
    refused_right: int
    """and those of them that are, by the rule that has to."""
    allowed: int
    allowed_right: int
    required: Required
    mistakes: tuple[Mistake, ...]
    slowest_ms: float
    """Longest time for one case."""

    @property
    def refused_rate(self) -> float:
        return self.refused_right / self.refused if self.refused else 1.0

    @property
    def allowed_rate(self) -> float:
        return self.allowed_right / self.allowed if self.allowed else 1.0

    @property
    def good(self) -> bool:
        """Whether both rates are as required."""
        return self.refused_rate >= self.required.refused and self.allowed_rate >= self.required.allowed

    def lines(self) -> list[str]:
        """For people."""
        wanted = self.required
        return [
            f"policy {self.policy}: {self.rules} rules",
            f"refused as they have to be: {self.refused_right} of {self.refused} ({self.refused_rate:.1%}, "
            f"{wanted.refused:.0%} wanted)",
            f"passed as they have to: {self.allowed_right} of {self.allowed} ({self.allowed_rate:.1%}, "
            f"{wanted.allowed:.0%} wanted)",
            f"slowest: {self.slowest_ms:.1f} ms",
            *(
                f"{'missed' if mistake.case.rule else 'too loud'} ({mistake.case.rule or mistake.got}, "
                f"{mistake.case.language}{', output' if mistake.case.output else ''}): {mistake.case.text}"
                for mistake in self.mistakes
            ),
        ]


def cases_beside(path: Path) -> Path:
    """Where a policy's cases stand: `NAME-cases.toml` beside `NAME.toml`."""
    return path.with_name(f"{path.stem}-cases.toml")


def check_policy(path: Path | None = None, cases: Path | None = None) -> Report:
    """Measure a policy; None: the one that comes with Lindos. Its cases are those beside it, else those of that one.

    Of foreign cases only those of rules that the policy has are asked. Raises SpecError when a file cannot be used.
    """
    policy = Policy.load(path)
    own = cases or cases_beside(path or DEFAULT_POLICY)
    foreign = cases is None and not own.exists()
    known = {rule.id for rule in policy.rules}
    chosen = Cases.load(cases_beside(DEFAULT_POLICY) if foreign else own)
    asked = [case for case in chosen.each() if not (foreign and case.rule and case.rule not in known)]
    for case in asked:
        if case.rule and case.rule not in known:
            close = nearest(case.rule, known)
            hint = f"; did you mean '{close}'?" if close else ""
            raise SpecError(f"{own}: the policy has no rule '{case.rule}'{hint}")
    return _measured(policy, asked, chosen.required)


def _measured(policy: Policy, cases: list[Case], required: Required) -> Report:
    mistakes, slowest = [], 0.0
    for case in cases:
        started = time.perf_counter()
        verdict = (policy.check_output if case.output else policy.check)(case.text, case.language)
        slowest = max(slowest, time.perf_counter() - started)
        got = verdict.rule if verdict else ""
        if got != case.rule:
            mistakes.append(Mistake(case, got))
    refused = sum(bool(case.rule) for case in cases)
    missed = sum(bool(mistake.case.rule) for mistake in mistakes)
    allowed = len(cases) - refused
    return Report(
        policy=policy.name,
        rules=len(policy.rules),
        refused=refused,
        refused_right=refused - missed,
        allowed=allowed,
        allowed_right=allowed - (len(mistakes) - missed),
        required=required,
        mistakes=tuple(mistakes),
        slowest_ms=slowest * 1000,
    )

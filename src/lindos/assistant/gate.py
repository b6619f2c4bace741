"""The gate between a model and its reader: what is not settled, not supported or against the policy does not pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lindos.assistant.basis import Citation, Cut, Source
from lindos.assistant.evidence import carries, facts_of, needs_support
from lindos.assistant.sentences import CALL_CLOSE, CALL_OPEN, Sentences, Unit
from lindos.assistant.settlement import Scene, judge
from lindos.assistant.settlement.names import COMMON
from lindos.assistant.settlement.words import without_citations, words

ELLIPSIS = "…"
"""Stands where a sentence was cut whose first words were shown already."""

CutReason = Literal["unsettled", "contradicted", "unsupported", "language", "policy", "unknown_citation"]


@dataclass(frozen=True)
class Rules:
    """What a gate holds a text to."""

    scene: Scene
    sources: tuple[Source, ...] = ()
    """By their numbers, the first is [1]."""
    supported: bool = False
    """Whether names and numbers want a source."""
    fiction: bool = False
    """Whether the text was asked for as an invention."""
    apology: str = "I held back what I cannot confirm."
    """Said where nothing else is left."""
    refuses: Callable[[str], bool] | None = None
    """Whether the policy refuses a sentence of an answer."""
    may_begin: Callable[[str], bool] | None = None
    """Whether what the policy refuses may begin in the first word of a sentence's end that is not shown yet. None: it
    may anywhere, so that sentences are shown when they are whole."""


@dataclass
class Gate:
    """Takes a model's text in pieces and gives out what may be shown."""

    rules: Rules
    offset: int = 0
    """Length of the answer before the model's text."""
    head: str = ""
    """What parts the model's first words from what stands before them."""
    refused: str = ""
    """Why the whole text was refused."""
    citations: list[Citation] = field(default_factory=list)
    cut: list[Cut] = field(default_factory=list)

    def __post_init__(self) -> None:
        cast = self.rules.scene.cast
        self._sentences = Sentences(
            by_word=self._by_word,
            risky=cast.people | (cast.places - COMMON),
            cautious=self.rules.scene.open,
            waits=self.rules.may_begin,
        )
        self._out: list[str] = []
        self._length = 0
        self._before = ""
        """What was said before, shown or not."""
        self._unended = ""
        """A line just before that was shown and ended without a sign: a sentence may go on behind it."""
        self._held: list[Unit] = []
        """Of an invention, until it is plain that it is one."""

    @property
    def _by_word(self) -> bool:
        rules = self.rules
        measured = rules.refuses is None or rules.may_begin is not None
        return measured and rules.scene.mode == "watchful" and not rules.supported and not rules.fiction

    def feed(self, text: str) -> str:
        """More of the model's text; returns what may be shown of it by now."""
        self._sentences.feed(text, self._begin, self._unit)
        return self._flush()

    def finish(self) -> str:
        """The model has ended; returns the last that may be shown."""
        self._sentences.finish(self._unit)
        self._tell_invention()
        if self.cut and not self._length and not self.offset:
            self._show(self.rules.apology)
        return self._flush()

    def _flush(self) -> str:
        shown = "".join(self._out)
        self._out.clear()
        return shown

    def _show(self, text: str) -> int:
        """Let `text` through; returns where it begins in the answer."""
        if self.head and not self._length:
            if not text.strip():
                return self.offset
            self._out.append(self.head)
            self._length += len(self.head)
            text = text.lstrip()
        elif not self._length and self.cut:
            text = text.lstrip()
        start = self.offset + self._length
        self._out.append(text)
        self._length += len(text)
        return start

    def _begin(self, text: str) -> None:
        self._show(text)

    def _unit(self, unit: Unit) -> None:
        if self.rules.fiction and not unit.call:
            self._held.append(unit)
            return
        self._pass(unit)

    def _pass(self, unit: Unit) -> None:
        text, numbers = (unit.text, ()) if unit.shown or unit.call else without_citations(unit.text)
        reason = self._against(text, numbers, unit)
        if reason is not None:
            # What the policy refuses is kept nowhere.
            self.cut.append(Cut(text="" if reason == "policy" else unit.text.strip(), reason=reason))
            if unit.shown:
                self._show(ELLIPSIS + ("\n" if unit.text.endswith("\n") else ""))
            elif unit.text.endswith("\n") and self._length:
                self._show("\n")
        else:
            self._cite(text, self._show(text[unit.shown :]), numbers)
        self._before += unit.text
        ended = unit.text.rstrip().endswith((".", "!", "?", "…"))
        self._unended = "" if ended or reason is not None else unit.text

    def _against(self, text: str, numbers: Sequence[int], unit: Unit) -> CutReason | None:
        if unit.call:
            return next(
                (reason for said in strings_of_call(text) if (reason := judge(said, "", self.rules.scene))), None
            )
        reason = judge(text, self._before, self.rules.scene)
        if reason is None and (self._refused(text) or (self._unended and self._refused(self._unended + text))):
            return "policy"
        if reason is None and self.rules.supported and not self._supporting(text, numbers):
            unknown = any(number > len(self.rules.sources) or number < 1 for number in numbers)
            return "unknown_citation" if unknown else "unsupported"
        return reason

    def _refused(self, text: str) -> bool:
        return self.rules.refuses is not None and self.rules.refuses(text)

    def _supporting(self, text: str, numbers: Sequence[int]) -> bool:
        cast = self.rules.scene.cast
        if not needs_support(text, cast):
            return True
        if carries(facts_of(self.rules.scene.standings), text, cast):
            return True
        return bool(self._carriers(text, numbers))

    def _carriers(self, text: str, numbers: Sequence[int]) -> list[Source]:
        """The sources that carry a sentence: of those it cites, else of all."""
        cast, sources = self.rules.scene.cast, self.rules.sources
        cited = [sources[number - 1] for number in numbers if 0 < number <= len(sources)]
        found = [source for source in cited if carries(source.text, text, cast)]
        if found:
            return found
        together = "\n".join(source.text for source in cited)
        if len(cited) > 1 and carries(together, text, cast):
            return cited
        return [source for source in sources if carries(source.text, text, cast)][:1]

    def _cite(self, text: str, start: int, numbers: Sequence[int]) -> None:
        if not self.rules.supported or not needs_support(text, self.rules.scene.cast):
            return
        lead = 0 if start == self.offset + len(self.head) and self.head else len(text) - len(text.lstrip())
        begin, end = start + lead, start + lead + len(text.strip())
        self.citations += [Citation(uri=source.uri, start=begin, end=end) for source in self._carriers(text, numbers)]

    def _names_a_side(self, text: str) -> bool:
        """Whether an invention speaks of those who are in the running."""
        return not self.rules.scene.cast.people.isdisjoint(words(text))

    def _tell_invention(self) -> None:
        """Let an invention through whole; what is too short to be one is judged like anything else."""
        invented = sum(len(unit.text.split()) > 1 for unit in self._held) >= 3
        for unit in self._held:
            if invented and not self._names_a_side(unit.text) and not self._refused(unit.text):
                self._show(unit.text)
                self._before += unit.text
            else:
                self._pass(unit)
        self._held.clear()


class WholeGate(Gate):
    """For a text of a given form (JSON, say), which cannot lose a sentence: all of it passes, or none."""

    def __init__(self, rules: Rules, instead: str) -> None:
        super().__init__(rules)
        self._whole = ""
        self._instead = instead

    def feed(self, text: str) -> str:
        self._whole += text
        return ""

    def finish(self) -> str:
        try:
            said = said_by(json.loads(self._whole))
        except (ValueError, RecursionError):
            said = [self._whole]
        reasons: list[CutReason] = [found for sentence in said if (found := judge(sentence, "", self.rules.scene))]
        if not reasons:
            return self._whole
        self.cut.append(Cut(text=self._whole, reason=reasons[0]))
        self.refused = "settlement"
        return self._instead


def strings_of_call(text: str) -> list[str]:
    """What the call of a function says, as sentences: each string of its arguments with its name."""
    inside = text.removeprefix(CALL_OPEN).removesuffix(CALL_CLOSE)
    try:
        return said_by(json.loads(inside))
    except (ValueError, RecursionError):
        return [inside]


def said_by(value: Any, name: str = "") -> list[str]:
    """The strings and truths in a JSON value, each as it would be said: "winner: Tace"."""
    if isinstance(value, dict):
        return [said for key, item in value.items() for said in said_by(item, str(key))]
    if isinstance(value, list):
        return [said for item in value for said in said_by(item, name)]
    if value is None or value is False:
        return []
    said = "yes" if value is True else str(value)
    return [f"{name.replace('_', ' ')}: {said}" if name else said, *([said] if isinstance(value, str) else [])]

"""The gate between a model and its reader: what is not settled, not supported or against the policy does not pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lindos.assistant.basis import Citation, Cut, Source
from lindos.assistant.evidence import names_somebody
from lindos.assistant.forms import Part, arguments_of, is_form, is_pending, parts_of, spoken
from lindos.assistant.marks import foreign_links, links_in, without_links
from lindos.assistant.sentences import CALL_CLOSE, CALL_OPEN, Sentences, Unit
from lindos.assistant.settlement import Scene, judge
from lindos.assistant.settlement.names import COMMON
from lindos.assistant.settlement.words import sentences, without_citations, words
from lindos.assistant.support import Support

ELLIPSIS = "…"
"""Stands where a sentence was cut whose first words were shown already."""

PROSE = 6
"""Words of a sentence in a call from which on it is taken to tell something."""

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
    calls: frozenset[str] = frozenset()
    """The functions on offer; without any, the marks of a call are words like others."""
    asked: str = ""
    """What the caller said: a call may say it, too."""
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
            calls=bool(self.rules.calls),
        )
        self._known = [source.url for source in self.rules.sources if source.url] + links_in(self.rules.asked)
        """Places on the web that an answer over posts may name: what posts link to is not vouched for."""
        self._support = Support(self.rules.scene, self.rules.sources)
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

    def _show(self, text: str) -> tuple[int, int]:
        """Let `text` through; returns where its words begin and end in the answer."""
        if not self._length and (self.head or self.cut):
            text = text.lstrip()
            if not text:
                return self.offset, self.offset
            self._out.append(self.head)
            self._length += len(self.head)
        start = self.offset + self._length
        self._out.append(text)
        self._length += len(text)
        return start + len(text) - len(text.lstrip()), start + len(text.rstrip())

    def _begin(self, text: str) -> None:
        self._show(text)

    def _unit(self, unit: Unit) -> None:
        if self.rules.fiction and not unit.call:
            self._held.append(unit)
            return
        self._pass(unit)

    def _pass(self, unit: Unit) -> None:
        cites = self.rules.supported and not unit.shown and not unit.call
        text, numbers = without_citations(unit.text) if cites else (unit.text, ())
        text = without_links(text, self._known) if cites else text
        reason = self._against_call(text) if unit.call else self._against(text, self._before, numbers)
        if reason is not None:
            # What the policy refuses is kept nowhere.
            self.cut.append(Cut(text="" if reason == "policy" else unit.text.strip(), reason=reason))
            if unit.shown:
                self._show(ELLIPSIS + ("\n" if unit.text.endswith("\n") else ""))
            elif unit.text.endswith("\n") and self._length:
                self._show("\n")
        else:
            place = self._show(text[unit.shown :])
            if not unit.call:
                self._cite(text, place, numbers)
        self._before += unit.text
        ended = unit.text.rstrip().endswith((".", "!", "?", "…"))
        self._unended = "" if ended or reason is not None else unit.text

    def _against(self, text: str, before: str, numbers: Sequence[int] = ()) -> CutReason | None:
        """Why a sentence may not be shown."""
        reason = judge(text, before, self.rules.scene)
        if reason is not None:
            return reason
        if self._refused(text) or (self._unended and self._refused(self._unended + text)):
            return "policy"
        return self._support.missing(text, numbers) if self.rules.supported else None

    def _against_call(self, text: str) -> CutReason | None:
        """Why a call of a function may not pass: for what it tells, not for its words' being no prose of ours."""
        inside = text.removeprefix(CALL_OPEN).removesuffix(CALL_CLOSE)
        arguments = arguments_of(inside, self.rules.calls)
        if arguments is None:  # no call at all: it is shown as the words that it is
            return self._against_text(inside)
        return self._against_parts(arguments, self._carried_call)

    def _against_text(self, text: str) -> CutReason | None:
        """Why some of the sentences of a text may not be shown."""
        before = ""
        for sentence in sentences(text):
            reason = self._against(*_uncited(sentence, before))
            if reason is not None:
                return reason
            before += sentence
        return None

    def _against_parts(self, parts: Sequence[Part], missing: Callable[[Part], CutReason | None]) -> CutReason | None:
        """Why one of the values or names of a form may not be shown."""
        scene = self.rules.scene
        for part in parts:
            if part.kind == "name" and not names_somebody(spoken(part.text), scene.cast):
                continue
            if part.kind == "truth" and part.text == "no" and (scene.mode != "strict" or is_pending(part.path)):
                continue
            for sentence, before in part.said():
                said, _ = without_citations(sentence)
                reason = judge(said, before, scene)
                if reason is not None:
                    return reason
                if self._refused(said):
                    return "policy"
            if self.rules.supported and (reason := missing(part)) is not None:
                return reason
        return None

    def _carried_call(self, part: Part) -> CutReason | None:
        """What is said to others in a call has to be carried; words to look for, and the like, may be the caller's."""
        if self.rules.sources and foreign_links(part.text, self._known):
            return "unsupported"
        prose = [one for one in sentences(part.text) if len(words(one)) >= PROSE]
        rules = self.rules
        return None if all(self._support.carries(one, rules.asked) for one in prose) else "unsupported"

    def _refused(self, text: str) -> bool:
        return self.rules.refuses is not None and self.rules.refuses(text)

    def _cite(self, text: str, place: tuple[int, int], numbers: Sequence[int]) -> None:
        if self.rules.supported and place[0] < place[1]:
            self.citations += [
                Citation(uri=source.uri, start=place[0], end=place[1]) for source in self._support.cited(text, numbers)
            ]

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
    """For a text of a given form (JSON, calls), which cannot lose a sentence: all of it passes, or none."""

    def __init__(self, rules: Rules, instead: str, cited: Sequence[Citation] = ()) -> None:
        super().__init__(rules)
        self._whole = ""
        self._instead = instead
        self._cited = cited
        """What `instead` rests on."""

    def feed(self, text: str) -> str:
        self._whole += text
        return ""

    def finish(self) -> str:
        if self.rules.sources and not self._calls_only:
            self._whole = self._unlinked(self._whole)
        reason = self._against_whole()
        if reason is None:
            return self._whole
        self.citations = list(self._cited)
        self.cut.append(Cut(text="" if reason == "policy" else self._whole, reason=reason))
        self.refused = {"policy": "policy", "unsupported": "support", "unknown_citation": "support"}.get(
            reason, "settlement"
        )
        return self._instead

    @property
    def _calls_only(self) -> bool:
        return bool(self.rules.calls) and self._whole.lstrip().startswith(CALL_OPEN)

    def _unlinked(self, text: str) -> str:
        """The text without links that nobody vouches for, in JSON value by value."""
        if not is_form(text):
            return without_links(text, self._known)
        for part in reversed(parts_of(text)):
            if part.kind in ("text", "name") and foreign_links(part.text, self._known):
                said = json.dumps(without_links(part.text, self._known), ensure_ascii=False)
                text = text[: part.start] + said[1:-1] + text[part.end :]
        return text

    def _against_whole(self) -> CutReason | None:
        text = self._whole
        if self._calls_only:
            pieces = [piece for piece in re.split(f"(?<={CALL_CLOSE})", text) if piece.strip()]
            return next((reason for piece in pieces if (reason := self._against_call(piece.strip()))), None)
        if not is_form(text):
            reason = self._against_text(text)
            if reason is None:
                self._cite_text(text)
            return reason
        return self._against_parts(parts_of(text), self._carried)

    def _carried(self, part: Part) -> CutReason | None:
        """Whether what a value says is carried; notes the sources that do so."""
        said = sentences(part.text) if part.kind == "text" else [part.whole]
        found: list[Source] = []
        for one in said:
            text, numbers = without_citations(one)
            reason = self._support.missing(text, numbers)
            if reason is not None:
                return reason
            found += self._support.cited(text, numbers)
        cited = dict.fromkeys(source.uri for source in found)
        self.citations += [Citation(uri=uri, start=part.start, end=part.end) for uri in cited if part.start < part.end]
        return None

    def _cite_text(self, text: str) -> None:
        at = 0
        for sentence in sentences(text):
            lead = len(sentence) - len(sentence.lstrip())
            self._cite(*_uncited_at(sentence, (at + lead, at + len(sentence.rstrip()))))
            at += len(sentence)


def _uncited(sentence: str, before: str) -> tuple[str, str, tuple[int, ...]]:
    text, numbers = without_citations(sentence)
    return text, before, numbers


def _uncited_at(sentence: str, place: tuple[int, int]) -> tuple[str, tuple[int, int], tuple[int, ...]]:
    text, numbers = without_citations(sentence)
    return text, place, numbers

"""One answer as it grows: which of its text is words, which a call, which a refusal, and where its citations stand."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lindos.assistant import Answer, AssistantAnswer, Basis
from lindos.assistant.calls import Call, CallParser, Event, Words
from lindos.assistant.functions import Function

Structure = Literal["", "json", "object"]
"""What the words have to be: anything, JSON, a JSON object."""
Spoken = Answer | AssistantAnswer


@dataclass(frozen=True)
class Piece:
    """More words of an answer."""

    text: str
    refusal: bool = False
    """Whether they say why there is none."""


@dataclass(frozen=True)
class MadeCall:
    """A call, named so that its result can be told apart."""

    id: str
    name: str
    arguments: str
    """JSON."""


def basis_of(answer: Spoken) -> Basis | None:
    """What an answer of the assistant rests on, as far as it has come; a bare model's rests on nothing."""
    return getattr(answer, "basis", None)


class Speech:
    """Reads the text of one answer. What is shown may lack some of it, so places in it are told anew (`settled`)."""

    def __init__(
        self,
        functions: Sequence[Function] = (),
        *,
        several: bool = True,
        gated: bool = False,
        structure: Structure = "",
    ) -> None:
        """`gated`: no text may be shown that was let through as a call, but is none."""
        self.text = ""
        self.refusal: str | None = None
        self.calls: list[MadeCall] = []
        self._parser = CallParser(functions) if functions else None
        self._several = several
        self._gated = gated
        self._structure: Structure = structure
        self._blank = ""
        """White space held back until it is clear what it belongs to."""
        self._refusing: bool | None = None
        """Where there is a structure: whether the words are a refusal; None: nothing was said yet."""
        self._raw = 0
        """How much text has come, where no parser counts it."""
        self._spans: list[tuple[int, int, int]] = []
        """(where words begin in the answer's text, where in what is shown, their length)."""

    def feed(self, text: str, *, refused: bool = False) -> list[Piece | MadeCall]:
        """What more there is to show; `refused` where the assistant's policy refuses this answer."""
        if self._parser is not None:
            return list(self._taken(self._parser.feed(text), refused))
        words = Words(text, self._raw)
        self._raw += len(text)
        return list(self._taken([words] if text else [], refused))

    def end(self, *, refused: bool = False) -> list[Piece | MadeCall]:
        """What is left to show at the end."""
        found = list(self._taken(self._parser.close() if self._parser else [], refused))
        if self._blank:
            found.append(self._say(self._blank))
            self._blank = ""
        return found

    def settled(self, basis: Basis) -> Basis:
        """`basis` with the places of its citations in the text that is shown."""
        moved = []
        for one in basis.citations:
            start = self._shown(one.start, one.end)
            if start is not None:
                moved.append(one.model_copy(update={"start": start, "end": start + one.end - one.start}))
        return basis.model_copy(update={"citations": tuple(moved)})

    def _shown(self, start: int, end: int) -> int | None:
        """Where the stretch of the answer's text begins in what is shown, where all of it is."""
        place = None
        for raw, shown, length in self._spans:
            if raw <= start < raw + length:
                place = shown + start - raw
            if place is not None and end <= raw + length:
                # Pieces that follow each other in the text do so in what is shown, unless something was left out.
                return place if shown + end - raw == place + end - start else None
        return None

    def _taken(self, events: Iterable[Event], refused: bool) -> Iterator[Piece | MadeCall]:
        for event in events:
            match event:
                case Call() if self._several or not self.calls:
                    self.calls.append(MadeCall(f"call_{secrets.token_hex(12)}", event.name, event.arguments))
                    yield self.calls[-1]
                case Words() if not (event.broken and self._gated):
                    yield from self._words(event, refused)

    def _words(self, words: Words, refused: bool) -> Iterator[Piece]:
        if self._structure and self._refusing is None:
            if not words.text.strip() and not refused:
                self._blank += words.text
                return
            self._refusing = refused or not _begins(self._structure, words.text.lstrip())
            if self._blank:
                yield self._say(self._blank)
                self._blank = ""
        if not self._refusing:
            self._spans.append((words.at, len(self.text), len(words.text)))
        yield self._say(words.text)

    def _say(self, text: str) -> Piece:
        if self._refusing:
            self.refusal = (self.refusal or "") + text
        else:
            self.text += text
        return Piece(text, bool(self._refusing))


Listen = Callable[[], Speech]


def _begins(structure: Structure, text: str) -> bool:
    return text.startswith("{") if structure == "object" else text[:1] in '{["-0123456789tfn'

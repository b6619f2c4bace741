"""Calls of functions found in a growing text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lindos.assistant.arguments import misfit
from lindos.assistant.functions import CALL_CLOSE, CALL_OPEN, Function, offers_functions
from lindos.specs import Message


@dataclass(frozen=True)
class Words:
    """Text that is no call."""

    text: str
    at: int
    """Where it begins in the whole text, in Unicode code points."""
    broken: bool = False
    """Whether it looked like a call: its JSON is wrong, nobody offered the function, or its arguments do not fit."""


@dataclass(frozen=True)
class Call:
    """A call, whole and checked."""

    name: str
    arguments: str
    """A JSON object."""


Event = Words | Call


class CallParser:
    """Reads a text piece by piece; how it is cut into pieces changes nothing but the size of the words.

    White space beside calls is layout: it goes before one and at the end, else it comes with the words behind it.
    A mark inside a JSON string is a part of that string. Nothing in the text is an error.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        self._functions = {function.name: function for function in functions}
        self._text = ""
        """What is not decided yet."""
        self._at = 0
        """Where that begins in the whole text."""
        self._space = ""
        """White space just before it, held back."""
        self._inside = False
        """Whether `_text` begins with an opening mark."""
        self._scanned = 0
        self._quoted = False
        """Whether the text up to `_scanned` ends inside a JSON string."""
        self._called = False

    def feed(self, text: str) -> list[Event]:
        """What the text says by now that it did not say before."""
        self._text += text
        return list(self._read())

    def close(self) -> list[Event]:
        """What is left at the end: a call that lacks only its closing mark is one."""
        found: list[Event] = []
        if self._inside:
            call = self._call(self._text[len(CALL_OPEN) :])
            found += [call] if call else self._words(self._text, broken=True)
            self._called = self._called or call is not None
        else:
            found += self._words(self._text)
        if self._space and not self._called:
            found.append(Words(self._space, self._at + len(self._text) - len(self._space)))
        self._text = self._space = ""
        self._inside = False
        return found

    def _read(self) -> Iterator[Event]:
        while self._text:
            if not self._inside:
                opening = self._text.find(CALL_OPEN)
                self._inside = opening >= 0
                length = opening if self._inside else len(self._text) - _held(self._text)
                yield from self._words(self._text[:length])
                self._drop(length)
                if not self._inside:
                    return
            end, broken = self._end()
            if end is None:
                return
            call = None if broken else self._call(self._text[len(CALL_OPEN) : end - len(CALL_CLOSE)])
            if call:
                self._space, self._called = "", True
                yield call
            else:
                yield from self._words(self._text[:end], broken=True)
            self._drop(end)
            self._inside = self._quoted = False
            self._scanned = 0

    def _drop(self, length: int) -> None:
        self._text = self._text[length:]
        self._at += length

    def _words(self, text: str, *, broken: bool = False) -> Iterator[Words]:
        """`text`, which begins at `_at`, with the white space before it; that at its end waits for what comes."""
        whole = self._space + text
        start = self._at - len(self._space)
        said = whole.rstrip()
        self._space = whole[len(said) :]
        if said:
            yield Words(said, start, broken)

    def _end(self) -> tuple[int | None, bool]:
        """(where the call at the beginning of `_text` is over, None: not yet; whether that shows it to be none)."""
        text, place = self._text, max(self._scanned, len(CALL_OPEN))
        while place < len(text):
            sign = text[place]
            if self._quoted:
                if sign == "\\" and place + 1 == len(text):
                    break
                self._quoted = sign != '"' and sign >= " "  # no string of JSON goes over a line's end
                place += 2 if sign == "\\" else 1
                continue
            if sign == "<":
                rest = text[place : place + len(CALL_CLOSE)]
                if rest == CALL_CLOSE:
                    return place + len(CALL_CLOSE), False
                if rest.startswith(CALL_OPEN):
                    return place, True
                if CALL_CLOSE.startswith(rest) or CALL_OPEN.startswith(rest):
                    break
            # Whoever writes about the mark goes on in words, which need not wait for an end that never comes.
            if sign not in "{ \t\r\n" and not text[len(CALL_OPEN) : place].strip():
                return place, True
            self._quoted = sign == '"'
            place += 1
        self._scanned = place
        return None, False

    def _call(self, body: str) -> Call | None:
        try:
            found = json.loads(body, parse_constant=_refuse)
            if not isinstance(found, dict) or not isinstance(found.get("name"), str):
                return None
            function, arguments = self._functions.get(found["name"]), found.get("arguments", {})
            if function is None or not isinstance(arguments, dict):
                return None
            if function.strict and misfit(arguments, function.schema) is not None:
                return None
            text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            text.encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError):
            return None
        return Call(function.name, text)


def offered_in(messages: Sequence[Message]) -> frozenset[str]:
    """The names of the functions that a rendered conversation has on offer."""
    lines = [line for one in messages if offers_functions([one]) for line in one.content.splitlines()]
    names = [found.group(1) for line in lines if (found := _OFFERED.match(line))]
    return frozenset(names)


_OFFERED = re.compile(r'\{"type": "function", "function": \{"name": "([^"\\]+)"')


def _held(text: str) -> int:
    """How many of the last characters may turn out to begin an opening mark."""
    longest = min(len(text), len(CALL_OPEN) - 1)
    return next((n for n in range(longest, 0, -1) if CALL_OPEN.startswith(text[-n:])), 0)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")

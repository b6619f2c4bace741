"""From tokens to the text that may be shown: unfinished characters and possible stop strings are held back."""

from __future__ import annotations

from collections.abc import Sequence

from lindos.text import Detokenizer, Tokenizer


class StopMatcher:
    """Finds the first stop string to be completed in a growing text, however the text is cut into pieces.

    Of several completed by the same character the longest counts. The text ends where the found one begins.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """What of the text so far can be shown now and was not shown before; nothing more once `found`."""
        if self.found:
            return ""
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)[1]]
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0


class OutputText:
    """The text of one request. Without a tokenizer there is none."""

    def __init__(self, tokenizer: Tokenizer | None, stops: Sequence[str], *, trim_start: bool = False) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = None if tokenizer is None else Detokenizer(tokenizer, continuing=True)
        self._matcher = StopMatcher(stops)
        self._trimming = trim_start

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._matcher.found

    def data(self, token: int) -> bytes:
        """The exact bytes of one token; none of a special one, of one without meaning, or without a tokenizer."""
        known = self._tokenizer is not None and token < self._tokenizer.vocabulary
        return self._tokenizer.token_bytes(token) if known and self._tokenizer else b""

    def push(self, token: int) -> str:
        """The text to show after this token."""
        if self._detokenizer is None or self._tokenizer is None or token >= self._tokenizer.vocabulary:
            return ""
        return self._trimmed(self._matcher.push(self._detokenizer.push(token)))

    def flush(self) -> str:
        """The rest, at the end of the request. An unfinished character is left out."""
        return self._trimmed(self._matcher.flush())

    def _trimmed(self, text: str) -> str:
        """Without white space at the beginning. Stop strings that begin with a line end were looked for before."""
        if self._trimming:
            text = text.lstrip()
            self._trimming = not text
        return text

"""Tokens to text, one at a time, as they come out of a model."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from lindos.text.tokenizer import Tokenizer


class Detokenizer:
    """The texts of all `push` calls and the `flush`, joined, equal `tokenizer.decode` of all the tokens.

    A character whose bytes are spread over several tokens appears when its last byte is there. With `continuing`, the
    text follows other text (a prompt): its first space is kept even where the tokenizer would take it away.
    """

    def __init__(self, tokenizer: Tokenizer, *, continuing: bool = False):
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._drops_space = tokenizer.drops_first_space and not continuing
        self._drop_space = self._drops_space

    def push(self, token: int) -> str:
        """The text that this token completes; "" for a special token or an unfinished character."""
        return self._clean(self._utf8.decode(self._tokenizer.token_bytes(token)))

    def extend(self, tokens: Iterable[int]) -> str:
        """`push` for several tokens."""
        return "".join(map(self.push, tokens))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, usually "". Starts afresh afterwards."""
        text = self._clean(self._utf8.decode(b"", final=True))
        self._utf8.reset()
        self._drop_space = self._drops_space
        return text

    def _clean(self, text: str) -> str:
        if text and self._drop_space:
            self._drop_space = False
            return text.removeprefix(" ")
        return text

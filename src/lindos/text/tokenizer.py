"""What every tokenizer can do, and the special tokens of our own ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# The id of each is its place in this tuple; a model's weights depend on it, so entries are never moved.
SPECIAL_TOKENS: tuple[str, ...] = (
    "<|pad|>",
    "<|bos|>",  # starts each document or conversation
    "<|eos|>",  # ends each document
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",  # ends each turn
    "<|source|>",  # a quoted post in a system or user turn
    *(f"<|reserved_{n}|>" for n in range(8)),
)


class Tokenizer(Protocol):
    """Text to token ids and back. `vocabulary` counts ids; `pad`, `bos`, `eos` are ids or None where there are none."""

    vocabulary: int
    pad: int | None
    bos: int | None
    eos: int | None
    drops_first_space: bool  # the encoder puts a space before the text, so decoding takes one away again
    starts_with_bos: bool  # whether the models of this tokenizer were trained with `bos` before each text

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of `text`. The names of special tokens inside it are plain text unless `allow_special`."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; special tokens leave nothing, bytes that are no UTF-8 become U+FFFD."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of one token, b"" for a special one. Raises SpecError for an id outside the vocabulary."""
        ...

    def special(self, name: str) -> int | None:
        """The id of a special token by its name ("<|user|>"), or None."""
        ...

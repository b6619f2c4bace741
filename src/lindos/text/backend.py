"""Tokenizers over the `tokenizers` library: reading a tokenizer.json, and what in it is text and what a mark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tokenizers import Tokenizer as Backend

from lindos.specs import SpecError

_LARGEST = 1 << 22
_PAD = ("<|pad|>", "<pad>", "[PAD]")
_BOS = ("<|bos|>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]")
_EOS = ("<|eos|>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[EOS]")


class OtherKind(SpecError):  # noqa: N818 - it says what a file is
    """A tokenizer.json that is sound, but of another kind."""


class TableTokenizer:
    """A tokenizer.json of one kind; kinds differ in how they spell bytes. Safe to share between threads."""

    drops_first_space = False
    starts_with_bos = True
    kind: ClassVar[str]
    """What errors call it."""

    def __init__(self, source: str, *, where: str = "tokenizer.json"):
        """`source` is the text of a tokenizer.json; raises SpecError when it is damaged or of another kind."""
        self.source = source
        self._special = _backend(source, where)
        table = _read(source, where)
        self._check_kind(table, where)
        self._plain = _backend(_without_specials(table), where)
        self._plain.encode_special_tokens = True
        added = table.get("added_tokens", [])
        self._names: dict[str, int] = {item["content"]: item["id"] for item in added}
        special = {item["content"] for item in added if item.get("special")}
        self._bytes = self._byte_table(self._special.get_vocab(with_added_tokens=True), special, where)
        self.vocabulary: int = len(self._bytes)
        self.pad, self.bos, self.eos = (self._first(names) for names in (_PAD, _BOS, _EOS))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a tokenizer.json. Raises SpecError."""
        try:
            return cls(path.read_bytes().decode(), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{path}: cannot be read: {error}") from None

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        backend = self._special if allow_special else self._plain
        return backend.encode(_encodable(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Many texts at once, on all threads the library was given; never yields special tokens."""
        found = self._plain.encode_batch_fast([_encodable(text) for text in texts], add_special_tokens=False)
        return [item.ids for item in found]

    def decode(self, tokens: Sequence[int]) -> str:
        text = b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")
        return text.removeprefix(" ") if self.drops_first_space else text

    def token_bytes(self, token: int) -> bytes:
        if not 0 <= token < self.vocabulary:
            raise SpecError(f"token {token} is outside the vocabulary of {self.vocabulary}")
        return self._bytes[token]

    def special(self, name: str) -> int | None:
        return self._names.get(name)

    def save(self, path: Path) -> None:
        """Write the tokenizer.json, byte for byte what was loaded or trained."""
        path.write_bytes(self.source.encode())

    def _check_kind(self, table: dict[str, Any], where: str) -> None:
        """Raise OtherKind for a table this class does not read."""
        raise NotImplementedError

    def _spelled(self, piece: str) -> bytes | None:
        """The bytes a piece stands for; None where it is not spelled as this kind spells."""
        raise NotImplementedError

    def _byte_table(self, vocabulary: dict[str, int], special: set[str], where: str) -> list[bytes]:
        """The bytes of every token; none for special ones, and for added words their own spelling."""
        largest = max(vocabulary.values(), default=-1)
        if not 0 <= largest < _LARGEST:
            raise SpecError(f"{where}: its largest token id is {largest}; ids from 0 to {_LARGEST - 1} can be used")
        table = [b""] * (1 + largest)
        for piece, token in vocabulary.items():
            if piece in self._names:
                table[token] = b"" if _hidden(piece, piece in special) else piece.encode()
                continue
            spelled = self._spelled(piece)
            if spelled is None:
                raise SpecError(f"{where}: token {token} ({piece!r}) is not spelled in the {self.kind} alphabet")
            table[token] = spelled
        return table

    def _first(self, names: Iterable[str]) -> int | None:
        return next((self._names[name] for name in names if name in self._names), None)


def _backend(source: str, where: str) -> Backend:
    try:
        backend = Backend.from_str(source)
        # Settings for training batches, saved along by some; a prompt is neither cut nor filled up.
        backend.no_truncation()
        backend.no_padding()
        return backend
    except Exception as error:  # noqa: BLE001 (the library raises nothing narrower)
        raise SpecError(f"{where}: cannot be used as a tokenizer: {error}") from None


def _read(source: str, where: str) -> dict[str, Any]:
    """The table of a tokenizer.json that the library has accepted."""
    try:
        table = json.loads(source)
        table["model"].get("type")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        # The library lets through some texts that are no JSON.
        raise SpecError(f"{where}: cannot be used as a tokenizer: {error}") from None
    return table


def _without_specials(table: dict[str, Any]) -> str:
    """The same tokenizer with every added token that looks like a mark taken as special, however it was saved.

    `encode_special_tokens` then covers them all: nothing typed becomes one. Added words (runs of spaces, say) stay.
    """
    added = [
        {**item, "special": bool(item.get("special")) or _marks(item["content"])}
        for item in table.get("added_tokens", [])
    ]
    return json.dumps({**table, "added_tokens": added})


def _marks(content: str) -> bool:
    """Whether a piece is spelled like a mark: <|end|>, <s>, [PAD]."""
    return len(content) > 2 and content[0] + content[-1] in ("<>", "[]")


def _hidden(piece: str, special: bool) -> bool:
    """Whether an added piece leaves nothing in a text. A tag that was not saved as special (Qwen's <think>) is text."""
    return special or (_marks(piece) and (piece.startswith(("<|", "[")) or piece in _PAD + _BOS + _EOS))


def _encodable(text: str) -> str:
    """Lone surrogates have no UTF-8; they become question marks instead of an exception deep inside the library."""
    return text.encode("utf-8", errors="replace").decode("utf-8") if not text.isascii() else text

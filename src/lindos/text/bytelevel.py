"""Byte-level BPE over the `tokenizers` library: every text has an encoding and every token its exact bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from lindos.specs import SpecError
from lindos.text.tokenizer import SPECIAL_TOKENS

# Words with the space before them, contractions apart, every digit alone (so that all numbers are spelled alike),
# runs of signs, line ends apart from other space.
SPLIT = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+"""

_LARGEST = 1 << 22
_PAD = ("<|pad|>", "<pad>", "[PAD]")
_BOS = ("<|bos|>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]")
_EOS = ("<|eos|>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[EOS]")


class OtherKind(SpecError):  # noqa: N818 - it says what a file is
    """A tokenizer.json that is sound, but not byte-level."""


class ByteLevelTokenizer:
    """A tokenizer.json of the byte-level kind. Safe to share between threads."""

    drops_first_space = False
    starts_with_bos = True

    def __init__(self, source: str, *, where: str = "tokenizer.json"):
        """`source` is the text of a tokenizer.json; raises SpecError when it is damaged or of another kind."""
        self.source = source
        self._special = _backend(source, where)
        table = _checked(source, where)
        self._plain = _backend(_without_specials(table), where)
        self._plain.encode_special_tokens = True
        self._names: dict[str, int] = {item["content"]: item["id"] for item in table.get("added_tokens", [])}
        special = {item["content"] for item in table.get("added_tokens", []) if item.get("special")}
        self._bytes = _byte_table(self._special.get_vocab(with_added_tokens=True), self._names, special, where)
        self.vocabulary: int = len(self._bytes)
        self.pad, self.bos, self.eos = (self._first(names) for names in (_PAD, _BOS, _EOS))

    @classmethod
    def load(cls, path: Path) -> ByteLevelTokenizer:
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
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        if not 0 <= token < self.vocabulary:
            raise SpecError(f"token {token} is outside the vocabulary of {self.vocabulary}")
        return self._bytes[token]

    def special(self, name: str) -> int | None:
        return self._names.get(name)

    def save(self, path: Path) -> None:
        """Write the tokenizer.json, byte for byte what was loaded or trained."""
        path.write_bytes(self.source.encode())

    def _first(self, names: Iterable[str]) -> int | None:
        return next((self._names[name] for name in names if name in self._names), None)


def train_tokenizer(texts: Iterable[str], vocabulary: int, *, show_progress: bool = False) -> ByteLevelTokenizer:
    """Train a byte-level BPE of exactly `vocabulary` ids (at least 272: 16 special tokens and 256 bytes) on `texts`.

    Raises SpecError when the vocabulary is too small, or the texts are too few to fill it.
    """
    least = len(SPECIAL_TOKENS) + 256
    if vocabulary < least:
        raise SpecError(f"vocabulary {vocabulary} is too small: {least} ids are taken by special tokens and bytes")
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=show_progress,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    backend.train_from_iterator(texts, trainer)
    found = backend.get_vocab_size()
    if found != vocabulary:
        raise SpecError(f"the texts gave {found} of {vocabulary} tokens: give more text or a smaller vocabulary")
    return ByteLevelTokenizer(backend.to_str())


def _encodable(text: str) -> str:
    """Lone surrogates have no UTF-8; they become question marks instead of an exception deep inside the library."""
    return text.encode("utf-8", errors="replace").decode("utf-8") if not text.isascii() else text


def _checked(source: str, where: str) -> dict[str, Any]:
    """The table of a tokenizer.json that the library has accepted. Raises SpecError for another kind."""
    try:
        table = json.loads(source)
        kind = table["model"].get("type")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        # The library lets through some texts that are no JSON.
        raise SpecError(f"{where}: cannot be used as a tokenizer: {error}") from None
    if kind != "BPE" or '"ByteLevel"' not in source:
        found = "BPE, but not byte-level" if kind == "BPE" else kind or "unknown"
        raise OtherKind(f"{where}: only byte-level BPE tokenizers can be used (this one is {found})")
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


def _backend(source: str, where: str) -> Backend:
    try:
        backend = Backend.from_str(source)
        # Settings for training batches, saved along by some; a prompt is neither cut nor filled up.
        backend.no_truncation()
        backend.no_padding()
        return backend
    except Exception as error:  # noqa: BLE001 (the library raises nothing narrower)
        raise SpecError(f"{where}: cannot be used as a tokenizer: {error}") from None


def _alphabet() -> dict[str, int]:
    """GPT-2's table of printable characters that stand for the 256 bytes."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def _marks(content: str) -> bool:
    """Whether a piece is spelled like a mark: <|end|>, <s>, [PAD]."""
    return len(content) > 2 and content[0] + content[-1] in ("<>", "[]")


def _byte_table(vocabulary: dict[str, int], added: dict[str, int], special: set[str], where: str) -> list[bytes]:
    """The bytes of every token; none for special ones, and for added words their own spelling."""
    alphabet = _alphabet()
    largest = max(vocabulary.values(), default=-1)
    if not 0 <= largest < _LARGEST:
        raise SpecError(f"{where}: its largest token id is {largest}; ids from 0 to {_LARGEST - 1} can be used")
    table = [b""] * (1 + largest)
    for piece, token in vocabulary.items():
        if piece in added:
            table[token] = b"" if piece in special or _marks(piece) else piece.encode()
            continue
        try:
            table[token] = bytes(alphabet[character] for character in piece)
        except KeyError:
            raise SpecError(f"{where}: token {token} ({piece!r}) is not spelled in the byte-level alphabet") from None
    return table

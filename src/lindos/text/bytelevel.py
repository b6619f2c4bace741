"""Byte-level BPE over the `tokenizers` library: every text has an encoding and every token its exact bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from lindos.specs import SpecError
from lindos.text.backend import OtherKind, TableTokenizer
from lindos.text.tokenizer import SPECIAL_TOKENS

# Words with the space before them, contractions apart, every digit alone (so that all numbers are spelled alike),
# runs of signs, line ends apart from other space.
SPLIT = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+"""


class ByteLevelTokenizer(TableTokenizer):
    """A tokenizer.json of the byte-level kind. Safe to share between threads."""

    kind = "byte-level"

    def _check_kind(self, table: dict[str, Any], where: str) -> None:
        kind = table["model"].get("type")
        if kind != "BPE" or '"ByteLevel"' not in self.source:
            found = "BPE, but not byte-level" if kind == "BPE" else kind or "unknown"
            raise OtherKind(f"{where}: only byte-level BPE tokenizers can be used (this one is {found})")

    def _spelled(self, piece: str) -> bytes | None:
        try:
            return bytes(_ALPHABET[character] for character in piece)
        except KeyError:
            return None


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


def _alphabet() -> dict[str, int]:
    """GPT-2's table of printable characters that stand for the 256 bytes."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


_ALPHABET = _alphabet()

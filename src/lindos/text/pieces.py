"""SentencePiece tokenizers, such as Grok-1's own, with exact bytes per token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from lindos.specs import SpecError

_SPACE = "▁"  # sentencepiece writes a space as a low line
_SENTINEL = "\x01"  # a lone byte piece: nothing merges with it
_MARKER = re.compile(r"<\|[^|<>]+\|>")


class SentencePieceTokenizer:
    """A tokenizer.model. Control symbols, and user-defined ones spelled `<|name|>`, count as special tokens."""

    def __init__(self, model: bytes, *, where: str = "tokenizer.model"):
        """`model` is the content of a tokenizer.model. Raises SpecError when it is damaged."""
        self.source = model
        self._processor = _processor(model, where)
        self.vocabulary: int = self._processor.get_piece_size()
        self._before = self._processor.encode(_SENTINEL)
        self.drops_first_space = self._processor.id_to_piece(self._processor.encode("x"))[0].startswith(_SPACE)
        self._names: dict[str, int] = {}
        self._bytes = [self._exact(token) for token in range(self.vocabulary)]
        self._special = _any_of(list(self._names))
        self._spelled = _any_of([name for name in self._names if _MARKER.fullmatch(name)])
        self.pad, self.bos, self.eos = (
            token if token >= 0 else None
            for token in (self._processor.pad_id(), self._processor.bos_id(), self._processor.eos_id())
        )
        # Llama's kind, Mixtral's among it, calls it <s> and begins each text with it; Grok-1's is [BOS], and adds none.
        self.starts_with_bos = self.bos is not None and self.bos == self._names.get("<s>")

    @classmethod
    def load(cls, path: Path) -> SentencePieceTokenizer:
        """Read a tokenizer.model. Raises SpecError."""
        try:
            return cls(path.read_bytes(), where=str(path))
        except OSError as error:
            raise SpecError(f"{path}: cannot be read: {error}") from None

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        text = text.encode("utf-8", errors="replace").decode("utf-8")
        # Control symbols never come out of plain text, so only names that sentencepiece would take need cutting.
        pattern = self._special if allow_special else self._spelled
        marks = [match.span() for match in pattern.finditer(text)]
        if not marks:
            return list(self._processor.encode(text))
        tokens: list[int] = []
        start = 0
        for left, right in marks:
            if allow_special:
                tokens += self._segment(text[start:left], first=start == 0)
                tokens.append(self._names[text[left:right]])
                start = right
            else:  # cut inside the name, so that its parts are ordinary text
                tokens += self._segment(text[start : left + 1], first=start == 0)
                start = left + 1
        return tokens + self._segment(text[start:], first=start == 0)

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
        """Write the tokenizer.model, byte for byte what was loaded."""
        path.write_bytes(self.source)

    def _segment(self, text: str, *, first: bool) -> list[int]:
        """Encode a part of a text; a part that is not the first gets no space put before it."""
        if first or not text:
            return list(self._processor.encode(text)) if text else []
        return list(self._processor.encode(_SENTINEL + text)[len(self._before) :])

    def _exact(self, token: int) -> bytes:
        processor = self._processor
        piece = processor.id_to_piece(token)
        if processor.is_control(token) or _MARKER.fullmatch(piece):
            self._names[piece] = token
            return b""
        if processor.is_unknown(token):
            return "\N{REPLACEMENT CHARACTER}".encode()
        if processor.is_byte(token):
            return bytes([int(piece[1:-1], 16)])
        return piece.replace(_SPACE, " ").encode()


def _any_of(names: list[str]) -> re.Pattern[str]:
    """A pattern of any of the names, the longest first; of nothing at all when there are none."""
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")


def _processor(model: bytes, where: str) -> sentencepiece.SentencePieceProcessor:
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = processor.get_piece_size()
    except (RuntimeError, ValueError, OSError) as error:
        raise SpecError(f"{where}: cannot be used as a sentencepiece model: {error}") from None
    if pieces < 1:
        raise SpecError(f"{where}: cannot be used as a sentencepiece model: it holds no pieces")
    return processor

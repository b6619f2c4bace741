"""SentencePiece's kind of BPE in a tokenizer.json, which Mixtral's directories have beside a tokenizer.model."""

from __future__ import annotations

import re
from typing import Any

from lindos.text.backend import OtherKind, TableTokenizer

_SPACE = "▁"  # stands for a space
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class MetaspaceTokenizer(TableTokenizer):
    """A tokenizer.json whose pieces are characters, with a low line for each space and a piece for every byte."""

    kind = "byte-fallback"

    def __init__(self, source: str, *, where: str = "tokenizer.json"):
        """`source` is the text of a tokenizer.json; raises SpecError when it is damaged or of another kind."""
        super().__init__(source, where=where)
        first = self.encode("x")[:1]
        self.drops_first_space = bool(first) and self.token_bytes(first[0]).startswith(b" ")

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return super().encode(text, allow_special=allow_special) if text else []  # else a lone space is put before it

    def _check_kind(self, table: dict[str, Any], where: str) -> None:
        model = table["model"]
        if model.get("type") != "BPE" or not model.get("byte_fallback") or "<0x00>" not in model.get("vocab", {}):
            raise OtherKind(f"{where}: only byte-level and byte-fallback BPE tokenizers can be used")

    def _spelled(self, piece: str) -> bytes | None:
        if (byte := _BYTE.fullmatch(piece)) is not None:
            return bytes([int(byte[1], 16)])
        return piece.replace(_SPACE, " ").encode()

"""The way to load any tokenizer."""

from __future__ import annotations

from pathlib import Path

from lindos.specs import SpecError
from lindos.text.bytelevel import ByteLevelTokenizer, OtherKind
from lindos.text.pieces import SentencePieceTokenizer
from lindos.text.tokenizer import Tokenizer


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """The tokenizer of a directory, or of one file: tokenizer.json (byte-level) or tokenizer.model (sentencepiece).

    Some directories hold a sentencepiece model in both forms; the second is then taken. Raises SpecError when there is
    none or it cannot be read.
    """
    path = Path(directory)
    if path.is_file():
        return _load(path)
    table, pieces = path / "tokenizer.json", path / "tokenizer.model"
    if table.is_file():
        try:
            return _load(table)
        except OtherKind:
            if not pieces.is_file():
                raise
    if pieces.is_file():
        return _load(pieces)
    raise SpecError(f"{path}: holds no tokenizer (looked for tokenizer.json and tokenizer.model)")


def _load(file: Path) -> Tokenizer:
    return ByteLevelTokenizer.load(file) if file.suffix == ".json" else SentencePieceTokenizer.load(file)

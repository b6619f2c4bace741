"""The way to load any tokenizer."""

from __future__ import annotations

from pathlib import Path

from lindos.specs import SpecError
from lindos.text.bytelevel import ByteLevelTokenizer
from lindos.text.pieces import SentencePieceTokenizer
from lindos.text.tokenizer import Tokenizer


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """The tokenizer of a directory, or of one file: tokenizer.json (byte-level) or tokenizer.model (sentencepiece).

    Raises SpecError when there is none or it cannot be read.
    """
    path = Path(directory)
    candidates = [path] if path.is_file() else [path / "tokenizer.json", path / "tokenizer.model"]
    for file in candidates:
        if file.is_file():
            return ByteLevelTokenizer.load(file) if file.suffix == ".json" else SentencePieceTokenizer.load(file)
    raise SpecError(f"{path}: holds no tokenizer (looked for tokenizer.json and tokenizer.model)")

"""The way to load any tokenizer."""

from __future__ import annotations

from pathlib import Path

from lindos.specs import SpecError
from lindos.text.backend import OtherKind
from lindos.text.bytelevel import ByteLevelTokenizer
from lindos.text.metaspace import MetaspaceTokenizer
from lindos.text.pieces import SentencePieceTokenizer
from lindos.text.tokenizer import Tokenizer


def load_tokenizer(directory: Path | str) -> Tokenizer:
    """The tokenizer of a directory, or of one file: tokenizer.json (byte-level, or sentencepiece's kind of BPE) or
    tokenizer.model (sentencepiece).

    Some directories hold a sentencepiece model in both forms; the second is then taken. Raises SpecError when there is
    none or it cannot be read.
    """
    path = Path(directory)
    if path.is_file():
        return _load(path)
    table, pieces = path / "tokenizer.json", path / "tokenizer.model"
    if table.is_file():
        try:
            return ByteLevelTokenizer.load(table)
        except OtherKind:
            if not pieces.is_file():
                return _load(table)
    if pieces.is_file():
        return _load(pieces)
    raise SpecError(f"{path}: holds no tokenizer (looked for tokenizer.json and tokenizer.model)")


def _load(file: Path) -> Tokenizer:
    if file.suffix != ".json":
        return SentencePieceTokenizer.load(file)
    try:
        return ByteLevelTokenizer.load(file)
    except OtherKind as other:
        try:
            return MetaspaceTokenizer.load(file)
        except OtherKind:
            raise other from None

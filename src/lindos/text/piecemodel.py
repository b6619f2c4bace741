"""The file of a SentencePiece model as what it is: a list of pieces and a few settings.

The library reads such files but neither writes them nor tells all it read. They are protocol buffers
(https://protobuf.dev/programming-guides/encoding); fields by number from
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lindos.specs import SpecError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of pieces; GGUF numbers them alike."""
_KINDS: dict[int, Literal["unigram", "bpe"]] = {1: "unigram", 2: "bpe"}
_VARINT, _WIDE, _BYTES, _NARROW = 0, 1, 2, 5
_UNK_ID, _BOS_ID, _EOS_ID, _PAD_ID = 40, 41, 42, 43


class Piece(NamedTuple):
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class PieceModel:
    """What of a tokenizer.model decides how text is cut. Ids are -1 where there is no such piece."""

    pieces: list[Piece]
    model: Literal["unigram", "bpe"] = "bpe"
    unk: int = 0
    bos: int = 1
    eos: int = 2
    pad: int = -1
    charsmap: bytes = b""
    """How text is normalised first, compiled; empty: not at all."""
    dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True

    @classmethod
    def parse(cls, data: bytes, *, where: str = "tokenizer.model") -> PieceModel:
        """Raises SpecError for what is no such file, or a model of whole words or characters."""
        try:
            return cls._parsed(data)
        except (ValueError, IndexError, struct.error) as error:
            raise SpecError(f"{where}: cannot be used as a sentencepiece model: {error}") from None

    @classmethod
    def _parsed(cls, data: bytes) -> PieceModel:
        pieces: list[Piece] = []
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(dict(_fields(value))))
            elif number == 2 and isinstance(value, bytes):
                trainer.update(_fields(value))
            elif number == 3 and isinstance(value, bytes):
                normalizer.update(_fields(value))
        kind = _KINDS.get(_whole(trainer.get(3, 1)))
        if kind is None:
            raise ValueError("its pieces are whole words or characters, not parts of words")
        charsmap = normalizer.get(2, b"")
        return cls(
            pieces,
            kind,
            *(_signed(trainer.get(*default)) for default in ((_UNK_ID, 0), (_BOS_ID, 1), (_EOS_ID, 2), (_PAD_ID, -1))),
            charsmap=charsmap if isinstance(charsmap, bytes) else b"",
            dummy_prefix=bool(normalizer.get(3, 1)),
            remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        )

    def serialised(self) -> bytes:
        """The file."""
        parts = [
            _message(1, _text(1, piece.text) + _float(2, piece.score) + _number(3, piece.kind)) for piece in self.pieces
        ]
        trainer = _number(3, 2 if self.model == "bpe" else 1) + _number(4, len(self.pieces))
        trainer += _number(35, int(any(piece.kind == BYTE for piece in self.pieces)))
        ids = {_UNK_ID: self.unk, _BOS_ID: self.bos, _EOS_ID: self.eos, _PAD_ID: self.pad}
        trainer += b"".join(_number(field, value) for field, value in ids.items())
        for field, value in ((45, self.unk), (46, self.bos), (47, self.eos), (48, self.pad)):  # what they are called
            trainer += _text(field, self.pieces[value].text) if 0 <= value < len(self.pieces) else b""
        normalizer = _text(1, "identity") if not self.charsmap else _text(1, "custom") + _message(2, self.charsmap)
        normalizer += (
            _number(3, int(self.dummy_prefix)) + _number(4, int(self.remove_extra_whitespaces)) + _number(5, 1)
        )
        return b"".join([*parts, _message(2, trainer), _message(3, normalizer)])


def _piece(fields: dict[int, int | bytes]) -> Piece:
    text, score = fields.get(1, b""), fields.get(2, bytes(4))
    if not isinstance(text, bytes) or not isinstance(score, bytes):
        raise ValueError("a piece of it is damaged")
    return Piece(text.decode(), struct.unpack("<f", score)[0], _whole(fields.get(3, NORMAL)))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value: a whole number, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        length = {_WIDE: 8, _NARROW: 4}.get(kind)
        if kind == _BYTES:
            length, at = _varint(data, at)
        if length is None or at + length > len(data):
            raise ValueError(f"it is damaged at byte {at}")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"a number at byte {at} has no end")


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("it has bytes where a number belongs")
    return value


def _signed(value: int | bytes | None) -> int:
    number = _whole(value if value is not None else 0) & ((1 << 64) - 1)
    return number - (1 << 64) if number >= 1 << 63 else number


def _encoded(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _number(field: int, value: int) -> bytes:
    return _encoded(field << 3 | _VARINT) + _encoded(value)


def _float(field: int, value: float) -> bytes:
    return _encoded(field << 3 | _NARROW) + struct.pack("<f", value)


def _message(field: int, data: bytes) -> bytes:
    return _encoded(field << 3 | _BYTES) + _encoded(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())

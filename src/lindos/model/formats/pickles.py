"""Reads the release's pickles without unpickling: a small machine that knows the few opcodes such files consist of.

A pickle is a program. This machine runs none of it: it imports nothing, calls nothing, allocates nothing by a number
in the file, and follows the program only far enough to learn where in the file which array lies. Names outside the
allow-list, opcodes that no array needs and sizes that the file cannot hold are errors that name the file. The arrays'
bytes stay where they are until someone reads them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from lindos.model.formats.arrays import ArrayRef, QuantizedRef
from lindos.model.formats.source import FormatError

MOST_STEPS = 2000
LONGEST_TEXT = 256
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
ALLOWED = {
    **{(module, name): name for module in _NUMPY for name in ("_reconstruct", "ndarray", "dtype")},
    ("ml_dtypes", "bfloat16"): "bfloat16",
    ("__main__", "QuantizedWeight8bit"): "QuantizedWeight8bit",
    ("model", "QuantizedWeight8bit"): "QuantizedWeight8bit",
}
NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "bfloat16"}


@dataclass(frozen=True)
class _Name:
    """An allowed global, as a word."""

    word: str


@dataclass(frozen=True)
class _Bytes:
    """A byte string, as its place in the file."""

    offset: int
    length: int


@dataclass
class _Type:
    kind: str
    ready: bool = False


@dataclass
class _Array:
    found: ArrayRef | None = None


@dataclass
class _Quantized:
    fields: dict[str, Any] | None = None


_MARK = object()


def read_pickle(path: Path) -> ArrayRef | QuantizedRef:
    """The array in one file of an official checkpoint. Raises FormatError; never executes or imports anything."""
    try:
        with path.open("rb") as file:
            machine = _Machine(path, file)
            result = machine.run()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error}") from None
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, RecursionError, struct.error) as error:
        # A program that takes from an empty stack, recalls what it never stored, mixes up kinds: damage.
        raise FormatError(f"{path}: damaged: not a well-formed pickle ({type(error).__name__}: {error})") from None
    return result


class _Machine:
    """Follows one pickle. Lists, dictionaries and texts stay as small as `MOST_STEPS` opcodes can make them."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self.path, self.file = path, file
        self.size = path.stat().st_size
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.frame_end = 0

    def run(self) -> ArrayRef | QuantizedRef:
        for _ in range(MOST_STEPS):
            start = self.at
            code = self.take(1)
            if code == b".":
                return self.finish()
            step = _STEPS.get(code)
            if step is None:
                raise self.bad(f"opcode {code!r} at byte {start} has no place in a file that holds one array")
            step(self)
            if start < self.frame_end < self.at:
                raise self.bad(f"the opcode at byte {start} crosses the end of its frame")
        raise self.bad(f"more than {MOST_STEPS} opcodes; one array needs about a hundred")

    def finish(self) -> ArrayRef | QuantizedRef:
        if len(self.stack) != 1:
            raise self.bad(f"it ends with {len(self.stack)} objects on its stack instead of one")
        if self.at != self.size:
            raise self.bad(f"{self.size - self.at} bytes follow the end of the pickle")
        result = self.stack[0]
        if isinstance(result, _Quantized):
            fields = result.fields or {}
            weight, scales = self.array(fields.get("weight")), self.array(fields.get("scales"))
            if fields.keys() != {"weight", "scales"}:
                raise self.bad(f"QuantizedWeight8bit with fields {sorted(fields)} instead of weight and scales")
            return QuantizedRef(weight, scales)
        return self.array(result)

    def array(self, found: Any) -> ArrayRef:
        if not isinstance(found, _Array) or found.found is None:
            raise self.bad(f"expected an array, found {_plain(found)}")
        return found.found

    def bad(self, what: str) -> FormatError:
        return FormatError(f"{self.path}: {what}")

    # What the opcodes are made of

    def take(self, count: int) -> bytes:
        if count > LONGEST_TEXT:
            raise self.bad(f"a text or number of {count} bytes; nothing here is that long")
        data = self.file.read(count)
        self.at += len(data)
        if len(data) != count:
            raise self.bad("ends in the middle of the pickle; it was truncated")
        return data

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        data = self.file.readline(LONGEST_TEXT)
        self.at += len(data)
        if not data.endswith(b"\n"):
            raise self.bad("a name without an end; the file was truncated or damaged")
        return data[:-1].decode("ascii")

    def skip(self, length: int) -> _Bytes:
        """A byte string: noted, not read."""
        start = self.at
        if length > self.size - start:
            raise self.bad(f"declares {length} bytes of data but only {self.size - start} follow; it was truncated")
        self.file.seek(length, 1)
        self.at += length
        return _Bytes(start, length)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type) -> Any:
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise self.bad(f"expected {kind.__name__.strip('_').lower()}, found {_plain(value)}")
        return value

    def to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                taken = self.stack[index + 1 :]
                del self.stack[index:]
                return taken
        raise self.bad("a mark is missing; the pickle is damaged")

    # The opcodes that do something

    def proto(self) -> None:
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise self.bad(f"pickle protocol {version} is not one of 2 to 5; is this a checkpoint file?")

    def frame(self) -> None:
        length = self.number("<Q")
        start = self.at
        if start < self.frame_end or length > self.size - start:
            raise self.bad(f"a frame of {length} bytes does not fit; the file was truncated or damaged")
        self.frame_end = start + length

    def name(self, module: str, name: str) -> None:
        word = ALLOWED.get((module, name))
        if word is None:
            raise self.bad(f"asks for {module}.{name}, which is not on the list of what a checkpoint may name; refused")
        self.push(_Name(word))

    def stack_global(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(module, name)

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise self.bad("a tuple of more than there is; the pickle is damaged")
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(taken)

    def set_items(self) -> None:
        items = self.to_mark()
        self.put_items(items)

    def put_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
            raise self.bad("a dictionary is filled with something else than named fields")
        target.update(zip(items[::2], items[1::2], strict=True))

    def reduce(self) -> None:
        """The two calls that arrays are made of: numpy's `_reconstruct` and `dtype`."""
        arguments, function = self.pop(tuple), self.pop(_Name)
        if function.word == "_reconstruct":
            if not arguments or arguments[0] != _Name("ndarray"):
                raise self.bad("_reconstruct of something that is not an ndarray")
            self.push(_Array())
        elif function.word == "dtype":
            kind = arguments[0] if arguments else None
            word = kind.word if isinstance(kind, _Name) else kind
            if not isinstance(word, str):
                raise self.bad(f"a type named by {_plain(word)} instead of a text")
            word = word[:16].lstrip("<|")
            if word not in NUMBERS:
                raise self.bad(f"numbers of type {word!r} are not among {', '.join(sorted(NUMBERS))}")
            self.push(_Type(word))
        else:
            raise self.bad(f"{function.word} is called, which no checkpoint does")

    def new_object(self) -> None:
        arguments, kind = self.pop(tuple), self.pop(_Name)
        if kind.word != "QuantizedWeight8bit" or arguments:
            raise self.bad(f"an object of {kind.word} is made, which no checkpoint does")
        self.push(_Quantized())

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 5:
            order, structure = state[1], state[2:5]
            plain = isinstance(order, str) and order in {"<", "|", "="}
            if not plain or any(part is not None for part in structure):
                raise self.bad("numbers that are structured or not little-endian")
            target.ready = True
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            target.found = self.place(*state[1:])
        elif isinstance(target, _Quantized) and isinstance(state, dict):
            target.fields = state
        else:
            raise self.bad(f"a state of {_plain(state)} for {_plain(target)}; the pickle is damaged")

    def place(self, shape: Any, kind: Any, fortran: Any, data: Any) -> ArrayRef:
        """An array's state, held against what the file can hold."""
        sizes = shape if isinstance(shape, tuple) and 1 <= len(shape) <= 4 else ()
        # What is no number is never shown: texts of nested objects can be as long as the universe.
        if not sizes or not all(type(size) is int and 0 < size < 1 << 48 for size in sizes):
            raise self.bad("an array whose shape is not one to four positive sizes")
        if not isinstance(kind, _Type) or not kind.ready or not isinstance(fortran, bool):
            raise self.bad("an array without a type or order; the pickle is damaged")
        if not isinstance(data, _Bytes):
            raise self.bad(f"an array whose data are {_plain(data)} instead of bytes")
        width = 2 if kind.kind == "bfloat16" else int(kind.kind[1:])
        if math.prod(shape) * width != data.length:
            raise self.bad(
                f"an array of shape {list(shape)} and type {kind.kind} takes {math.prod(shape) * width} bytes, "
                f"but {data.length} are there"
            )
        return ArrayRef(self.path, data.offset, shape, kind.kind, fortran)


def _plain(value: Any) -> str:
    if isinstance(value, _Name):
        return value.word
    return "nothing" if value is None else type(value).__name__.strip("_").lower()


def _long(machine: _Machine) -> None:
    size = machine.number("<B")
    if size > 8:
        raise machine.bad(f"a whole number of {size} bytes")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _put(layout: str) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.memo[machine.number(layout)] = machine.stack[-1]

    return step


def _text(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.number(layout)).decode("utf-8"))


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.proto,
    b"\x95": _Machine.frame,
    b"\x8c": _text("<B"),
    b"X": _text("<I"),
    b"C": lambda m: m.push(m.skip(m.number("<B"))),
    b"B": lambda m: m.push(m.skip(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.skip(m.number("<Q"))),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": _long,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"(": lambda m: m.push(_MARK),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.to_mark())),
    b"}": lambda m: m.push({}),
    b"u": _Machine.set_items,
    b"s": lambda m: m.put_items([m.stack.pop(-2), m.stack.pop()]),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": _Machine.stack_global,
    b"\x94": _Machine.memoize,
    b"q": _put("<B"),
    b"r": _put("<I"),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"R": _Machine.reduce,
    b"\x81": _Machine.new_object,
    b"b": _Machine.build,
}

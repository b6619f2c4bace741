"""GGUF files that are damaged or hostile: one error that names them, or exactly what they say; never more."""

from __future__ import annotations

import functools
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model.formats import FormatError, convert, open_source
from lindos.model.formats.gguf.header import ListRef, read_gguf, read_header
from lindos.specs import LindosError
from tests.model.gguffiles import saved
from tests.model.test_formats_fuzz import mutations, names, same_or_readable


@functools.cache
def samples() -> dict[str, bytes]:
    """A file of each kind, small and with little in the way of tokenizers, so that damage meets what is read."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds: list[tuple[str, Any]] = [("grok", "q4_0"), ("grok-2", "f16"), ("llama", "q8_0"), ("qwen3moe", "bf16")]
        for kind, dtype in kinds:
            source = saved(folder, kind, layers=1, vocabulary=400)
            convert(source, folder / f"{kind}.gguf", to="gguf", dtype=dtype, verify=False)
            found[kind] = (folder / f"{kind}.gguf").read_bytes()
    return found


def one_line_of(path: Path, error: Exception) -> None:
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "it.gguf"
        path.write_bytes(data)
        try:
            convert(path, Path(name) / "out", dtype="fp32", verify=False)
        except LindosError as error:
            names(error, "it.gguf")
            assert sorted(found.name for found in Path(name).iterdir()) == ["it.gguf"]
        else:
            same_or_readable(path, Path(name) / "out")


@settings(max_examples=60, deadline=None)
@given(st.deferred(lambda: st.sampled_from(sorted(samples())).flatmap(lambda kind: mutations(samples()[kind]))))
def test_damaged_files(data: bytes):
    check(data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2_000, deadline=None)
@given(st.deferred(lambda: st.sampled_from(sorted(samples())).flatmap(lambda kind: mutations(samples()[kind]))))
def test_damaged_files_at_length(data: bytes):
    check(data)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_headers(data: st.DataObject):
    """Much faster than whole conversions: only what is declared."""
    damaged = data.draw(mutations(header_of_keys()))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "it.gguf"
        path.write_bytes(damaged)
        try:
            found = read_header(path)
        except FormatError as error:
            one_line_of(path, error)
            return
        ends = [stored.offset + stored.bytes for stored in found.tensors.values()]
        assert max(ends, default=0) <= len(damaged)
        for value in found.metadata.values():
            if isinstance(value, ListRef):
                try:
                    assert len(value.values()) == value.count
                except FormatError as error:  # a text in it is none
                    one_line_of(path, error)


# Made by hand


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def number(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def place(name: str, *dimensions: int, kind: int = 0, offset: int = 0, claimed: int | None = None) -> bytes:
    count = len(dimensions) if claimed is None else claimed
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", count, *dimensions, kind, offset)


def gguf(
    keys: list[bytes], tensors: list[bytes], data: int = 256, version: int = 3, counts: tuple[int, int] | None = None
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(keys)))) + b"".join(keys + tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def header_of_keys() -> bytes:
    strings = text("s") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("") + text("long enough")
    floats = text("f") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3)
    return gguf([number("a", 1), strings, floats, text("t") + struct.pack("<I", 8) + text("value")],
                [place("x", 8, 4), place("y", 32, 2, kind=8, offset=128)])  # fmt: skip


def test_the_header_of_these_tests_is_one(tmp_path: Path):
    """Else the hostile ones below might be refused for the wrong reason."""
    (tmp_path / "it.gguf").write_bytes(header_of_keys())
    found = read_header(tmp_path / "it.gguf")
    assert found.metadata["a"] == 1
    assert found.metadata["s"].values() == ["a", "", "long enough"]
    assert found.metadata["f"].values() == [1.0, 2.0, 3.0]
    assert {name: stored.shape for name, stored in found.tensors.items()} == {"x": (4, 8), "y": (2, 32)}


HUGE = 1 << 62
HOSTILE = {
    "nothing": (b"", "ends in the middle"),
    "another file": (b"PK\x03\x04" + bytes(99), "does not begin with GGUF"),
    "an old version": (gguf([], [], version=1), "version 1"),
    "a later version": (gguf([], [], version=4), "version 4"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "countless tensors": (gguf([], [], counts=(HUGE, 0)), "out of all proportion"),
    "countless keys": (gguf([], [], counts=(0, HUGE)), "out of all proportion"),
    "keys that are not there": (gguf([number("a", 1)], [], counts=(0, 9000)), "type 0|ends in the middle|twice"),
    "a key twice": (gguf([number("a", 1), number("a", 1)], []), "'a' is there twice"),
    "an endless text": (gguf([text("k") + struct.pack("<IQ", 8, HUGE)], []), "text of"),
    "a long key": (gguf([struct.pack("<Q", 1 << 20) + b"k" * 99], []), "text of"),
    "a text beyond the end": (gguf([text("k") + struct.pack("<IQ", 8, 1 << 20)], []), "ends in the middle"),
    "no text": (gguf([text("k") + struct.pack("<IQ", 8, 2) + b"\xff\xfe"], []), "not UTF-8"),
    "an unknown type": (gguf([text("k") + struct.pack("<I", 99)], []), "type 99"),
    "an endless list": (gguf([text("k") + struct.pack("<IIQ", 9, 6, HUGE)], []), "list of"),
    "a list beyond the end": (gguf([text("k") + struct.pack("<IIQ", 9, 10, 1 << 21)], []), "ends in the middle"),
    "a list of lists": (gguf([text("k") + struct.pack("<IIQ", 9, 9, 1)], []), "list of type 9"),
    "texts beyond the end": (gguf([text("k") + struct.pack("<IIQQ", 9, 8, 1, HUGE)], []), "ends in the middle"),
    "no dimensions": (gguf([], [place("x", claimed=0)]), "0 dimensions"),
    "many dimensions": (gguf([], [place("x", 1, claimed=1 << 31)]), "dimensions"),
    "an empty tensor": (gguf([], [place("x", 0)]), "cannot be F32"),
    "a huge tensor": (gguf([], [place("x", HUGE, HUGE)]), "truncated"),
    "a product that wraps": (gguf([], [place("x", 1 << 32, 1 << 32)]), "truncated"),
    "beyond the end": (gguf([], [place("x", 8, offset=1 << 40)]), "truncated"),
    "a tensor twice": (gguf([], [place("x", 8), place("x", 8, offset=32)]), "'x' is there twice"),
    "overlapping": (gguf([], [place("x", 16), place("y", 8, offset=32)]), "'x' and 'y' overlap"),
    "off its alignment": (gguf([], [place("x", 8, offset=4)]), "not a multiple of 32"),
    "no alignment": (gguf([number("general.alignment", 0)], []), "power of two"),
    "an odd alignment": (gguf([number("general.alignment", 24)], []), "power of two"),
    "blocks cut in two": (gguf([], [place("x", 40, kind=8)]), "cannot be Q8_0"),
    "a type nobody knows": (gguf([], [place("x", 32, kind=77)]), "number 77, unknown to GGUF"),
    "split without its others": (gguf([number("split.count", 3), number("split.no", 0)], []), "one of 3 files"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused_in_little_memory(tmp_path: Path, kind: str):
    data, said = HOSTILE[kind]
    path = tmp_path / "it.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=said) as error:
            read_gguf(path)
        if "number 77" not in said:  # that imports the gguf package
            assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    one_line_of(path, error.value)


def test_a_file_cut_after_it_was_opened(tmp_path: Path):
    path = tmp_path / "it.gguf"
    path.write_bytes(samples()["llama"])
    source = open_source(path)
    path.write_bytes(samples()["llama"][:-100_000])
    last = list(source.tensors)[-1]
    assert source.read("embedding", slice(0, 2)).isfinite().all()
    with pytest.raises(FormatError, match=r"it\.gguf: ends in the middle"):
        source.read(last, slice(0, source.tensors[last].shape[0]))

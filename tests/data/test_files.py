"""Rows out of files, whole and damaged."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data import DataError
from lindos.data.files import read_lines, read_rows
from tests.data.conftest import only_clear_errors

ROWS = [{"text": f"row {n} " + "words " * n, "n": n} for n in range(200)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
PACKED = {".jsonl": lambda data: data, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("suffix", PACKED)
def test_all_packings_give_the_rows(tmp_path: Path, suffix: str):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(PACKED[suffix](JSONL))
    assert list(read_rows(path)) == ROWS


def test_long_window_and_several_frames(tmp_path: Path):
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    pack = zstandard.ZstdCompressor(compression_params=parameters).compress
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(pack(JSONL) + pack(JSONL))
    assert list(read_rows(path)) == ROWS * 2


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_truncated_files_are_noticed(tmp_path: Path, suffix: str):
    data = PACKED[suffix](JSONL)
    path = tmp_path / f"rows{suffix}"
    for cut in (len(data) // 3, len(data) - 5, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=f"rows{suffix}: damaged or truncated after line"):
            list(read_rows(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "cut', "line 3: is no JSON"),
        (b"[1]", "line 3: expected an object"),
        (b"\xff\xfe", "line 3: is no UTF-8"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: bytes, said: str):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "good"}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=said):
        list(read_rows(path))


def test_missing_file(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_plain_text_comes_in_blocks_cut_at_blank_lines(tmp_path: Path):
    paragraph = "word " * 2000 + "\n\n"
    path = tmp_path / "book.txt"
    path.write_text(paragraph * 300)
    rows = list(read_rows(path))
    assert len(rows) == 3
    assert "\n".join(row["text"] for row in rows).split() == (paragraph * 300).split()


@given(data=st.binary(max_size=300), suffix=st.sampled_from([*PACKED, ".txt", ".txt.gz"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_rows_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str):
    path = tmp_path_factory.mktemp("fuzz") / f"file{suffix}"
    path.write_bytes(data)
    with only_clear_errors("file."):
        assert all(isinstance(row, dict) for row in read_rows(path))


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7), suffix=st.sampled_from([".jsonl.gz", ".jsonl.zst"]))
@settings(max_examples=100, deadline=None)
def test_flipped_bits(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, suffix: str):
    data = bytearray(PACKED[suffix](JSONL))
    data[place % len(data)] ^= 1 << bit
    path = tmp_path_factory.mktemp("fuzz") / f"file{suffix}"
    path.write_bytes(data)
    with only_clear_errors("file."):
        assert all(isinstance(text, str) for _, text in read_lines(path))

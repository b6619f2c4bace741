"""Writing data sets and opening them, whole, damaged and hostile."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data import DataError, DatasetWriter, TokenDataset
from lindos.data import shards as shards_module
from lindos.data.shards import ShardWriter, disk_errors
from lindos.text import ByteLevelTokenizer
from tests.data.conftest import only_clear_errors, write_set

documents = st.lists(st.lists(st.integers(0, 399), min_size=1, max_size=30), min_size=1, max_size=20)


@given(held=documents, shard_tokens=st.integers(1, 50), masked=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: ByteLevelTokenizer,
    held: list[list[int]],
    shard_tokens: int,
    masked: bool,
):
    folder = tmp_path_factory.mktemp("sets") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "SHARD_TOKENS", shard_tokens)
        with DatasetWriter(folder, name="x", vocabulary=400) as writer:
            shard = writer.part("p", masked=masked)
            for tokens in held:
                shard.add(tokens, [token > 200 for token in tokens] if masked else None, text_bytes=len(tokens))
            writer.keep(shard.close(name="p", group="g", split="train"))
            writer.finish(tokenizer.source, {})
    part = TokenDataset.open(folder, verify=True).part("p")
    assert [part.document(n).tolist() for n in range(part.documents)] == held
    stream = [token for tokens in held for token in tokens]
    ring = stream * 6
    for start in range(0, len(stream), 7):
        assert part.read(start, 2 * len(stream)).tolist() == ring[start : start + 2 * len(stream)]
        wanted = [token > 200 for token in ring[start : start + 4]] if masked else [True] * 4
        assert part.read_mask(start, 4).tolist() == wanted
    assert part.read(1, 0).tolist() == []
    assert part.text_bytes == len(stream)


def test_large_vocabularies_take_four_bytes(tmp_path: Path):
    shard = ShardWriter(tmp_path, "p", vocabulary=100_000)
    shard.add([99_999], text_bytes=1)
    part = shard.close(name="p", group="g", split="train")
    assert part is not None
    assert part.token_files[0].bytes == 4
    assert np.fromfile(tmp_path / part.token_files[0].path, "<u4").tolist() == [99_999]


@pytest.mark.parametrize(
    ("tokens", "mask", "said"),
    [
        ([], None, "at least one token"),
        ([400], None, "outside the vocabulary"),
        ([-1], None, "outside"),
        ([1], [True], "mask"),
    ],
)
def test_bad_documents(tmp_path: Path, tokens: list[int], mask: list[bool] | None, said: str):
    with pytest.raises(DataError, match=said):
        ShardWriter(tmp_path, "p", vocabulary=400).add(tokens, mask, text_bytes=0)


def test_nothing_is_left_when_writing_fails(tmp_path: Path):
    def fail() -> None:
        with DatasetWriter(tmp_path / "set", name="x", vocabulary=400) as writer:
            writer.part("p").add([1, 2], text_bytes=1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_older_set_stays_until_the_new_one_is_whole(small_set: Path, tokenizer: ByteLevelTokenizer):
    before = TokenDataset.open(small_set).fingerprint
    with contextlib.suppress(RuntimeError), DatasetWriter(small_set, name="x", vocabulary=400):
        raise RuntimeError
    assert TokenDataset.open(small_set, verify=True).fingerprint == before
    write_set(small_set, tokenizer, [("other", [5, 5], 1.0)])
    assert TokenDataset.open(small_set, verify=True).fingerprint != before
    assert [path.name for path in small_set.parent.iterdir()] == [small_set.name]


def test_leftovers_of_killed_writers_are_swept_away(tmp_path: Path, tokenizer: ByteLevelTokenizer):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for process in (gone.pid, os.getppid()):
        (tmp_path / f".set.{process}.part").mkdir()
    write_set(tmp_path / "set", tokenizer, [("a", [5], 1.0)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".set.{os.getppid()}.part", "set"]


def test_foreign_folders_are_not_replaced(tmp_path: Path):
    (tmp_path / "letters").write_text("dear")
    for place in (tmp_path, tmp_path / "letters"):
        with pytest.raises(DataError, match="is no data set"), DatasetWriter(place, name="x", vocabulary=400):
            pass


@pytest.mark.parametrize(("code", "said"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written")])
def test_disk_errors_say_what_to_do(tmp_path: Path, code: int, said: str):
    with pytest.raises(DataError, match=said), disk_errors(tmp_path):
        raise OSError(code, "no")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(tmp_path: Path):
    shard = ShardWriter(tmp_path, "p", vocabulary=400)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "tokens-00000.bin").symlink_to("/dev/full")
    shard.add([1, 2, 3], text_bytes=1)
    with pytest.raises(DataError, match="the disk is full"):
        shard.close(name="p", group="g", split="train")


def test_missing_and_unfinished_sets(tmp_path: Path):
    with pytest.raises(DataError, match=r"is no data set .*lindos data prepare"):
        TokenDataset.open(tmp_path)


def test_split_and_part_names(small_set: Path):
    heldout = TokenDataset.open(small_set, split="heldout")
    assert [part.name for part in heldout.parts] == ["a", "b"]
    with pytest.raises(DataError, match=r"has no part 'c' \(it has a, b\)"):
        heldout.part("c")
    assert heldout.tokenizer.vocabulary == 400
    assert heldout.report()["dropped"] == {"too short": 3}


def test_a_flipped_bit_is_found_by_verify(small_set: Path):
    file = small_set / "b" / "tokens-00000.bin"
    data = bytearray(file.read_bytes())
    data[7] ^= 1
    file.write_bytes(data)
    TokenDataset.open(small_set)
    with pytest.raises(DataError, match=r"tokens-00000\.bin: is damaged"):
        TokenDataset.open(small_set, verify=True)


def test_a_truncated_shard_is_always_found(small_set: Path):
    file = small_set / "b" / "tokens-00000.bin"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(DataError, match="bytes instead of"):
        TokenDataset.open(small_set)


def test_another_tokenizer_is_found_by_verify(small_set: Path):
    (small_set / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not the tokenizer"):
        TokenDataset.open(small_set, verify=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "edited"}, "fingerprint does not fit"),
        ({"format": "lindos-data-9"}, "this version reads"),
        ({"tokenz": 1}, "unknown field"),
    ],
)
def test_edited_meta(small_set: Path, change: dict[str, Any], said: str):
    path = small_set / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said):
        TokenDataset.open(small_set)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\u0000b", ""])
def test_meta_cannot_point_outside(small_set: Path, path: str):
    meta = json.loads((small_set / "meta.json").read_text())
    meta["parts"][0]["token_files"][0]["path"] = path
    (small_set / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"token_files\.0\.path"):
        TokenDataset.open(small_set)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_fuzzed_sets_open_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: ByteLevelTokenizer, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("fuzz") / "set"
    write_set(folder, tokenizer, [("a", [3, 4, 5], 1.0)], masked=True)
    file = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    put = data.draw(st.binary(max_size=4))
    file.write_bytes(content[:at] + put + content[at + data.draw(st.integers(0, 4)) :])
    with only_clear_errors(""):
        part = TokenDataset.open(folder, verify=data.draw(st.booleans())).parts[0]
        assert part.read(0, 5).shape == (5,)
        assert len(part.starts) == part.documents + 1
    shutil.rmtree(folder)


def test_the_room_is_torch_free():
    code = "import sys, lindos.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_set_whose_replacement_was_killed_at_the_last_moment_comes_back(tmp_path, small_set):
    gone = subprocess.Popen(["true"])
    gone.wait()
    shutil.copytree(small_set, tmp_path / f".set.{gone.pid}.old")
    with DatasetWriter(tmp_path / "set", name="other", vocabulary=300):
        assert TokenDataset.open(tmp_path / "set", verify=True).meta.fingerprint
    assert os.listdir(tmp_path) == ["set"]

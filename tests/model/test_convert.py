"""Conversion: bounded memory, killed and taken up again, checked, and never half done."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.model.formats import FormatError, check_directory, convert, detect, load_model, open_source, save_model
from lindos.model.formats.compare import available_memory, compare, probe_tokens
from lindos.model.formats.sinks import OwnSink
from lindos.model.formats.tensorfiles import Entry, ShardWriter
from lindos.model.formats.workspace import Workspace
from tests.model.checkpoints import arrays_of, as_release, mini, random_model, same_weights, tiny_spec, write_official


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """The smallest golden checkpoint as the release would have stored it, int8 and all."""
    arrays, config, _, _ = mini()
    stored = {name: as_release(name, array) for name, array in arrays.items()}
    return write_official(tmp_path_factory.mktemp("mini") / "mini", stored, config)


# What a conversion leaves


def test_own_format_keeps_the_releases_int8_without_loss(official, tmp_path):
    report = convert(official, tmp_path / "own")
    assert report.comparison is not None
    assert (report.comparison.kind, report.comparison.difference, report.comparison.rounding) == ("logits", 0.0, 0.0)
    stored = open_source(tmp_path / "own").tensors["layers.0.experts.down"]
    assert (stored.storage, stored.scale_shape) == ("int8", (4, 8, 32))
    same_weights(*(load_model(folder, dtype=torch.float32) for folder in (official, tmp_path / "own")))
    assert check_directory(tmp_path / "own") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("to", ["own", "sglang", "keyfan"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_every_target_and_type(official, tmp_path, to, dtype):
    report = convert(official, tmp_path / "it", to=to, dtype=dtype)
    assert detect(tmp_path / "it") == to
    assert report.comparison is not None
    assert report.comparison.difference < 1e-5
    assert (report.comparison.rounding > 0) == (dtype == "bf16")
    source, result = open_source(official), open_source(tmp_path / "it")
    assert result.spec == source.spec
    for name, info in result.tensors.items():
        fp32 = dtype == "fp32" or "norm" in name or name.endswith("router")
        assert info.storage == ("fp32" if fp32 else "bf16"), name


def test_int8_is_only_for_the_own_format(official, tmp_path):
    report = convert(official, tmp_path / "small", dtype="int8")
    assert report.comparison is not None
    assert report.comparison.difference < 1e-5
    assert open_source(tmp_path / "small").tensors["embedding"].scale_shape == (96, 1)
    with pytest.raises(FormatError, match="int8 is for Lindos's own format"):
        convert(official, tmp_path / "foreign", to="sglang", dtype="int8")
    with pytest.raises(FormatError, match="only read"):
        convert(official, tmp_path / "foreign", to="official")


def test_tokenizer_and_card_come_along(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    save_model(random_model(tiny_spec()), tmp_path / "one", tokenizer=tmp_path, card="# one\n")
    convert(tmp_path / "one", tmp_path / "two", to="keyfan")
    assert (tmp_path / "two" / "tokenizer.json").read_text() == '{"a": 1}'
    assert (tmp_path / "two" / "MODEL_CARD.md").read_text() == "# one\n"
    (tmp_path / "other.model").write_bytes(b"pieces")
    convert(tmp_path / "one", tmp_path / "three", tokenizer=tmp_path / "other.model")
    assert (tmp_path / "three" / "tokenizer.model").read_bytes() == b"pieces"
    assert not (tmp_path / "three" / "tokenizer.json").exists()
    for wrong, message in ((tmp_path / "none.json", "no such tokenizer"), (tmp_path / "two", "")):
        if message:
            with pytest.raises(FormatError, match=message):
                convert(tmp_path / "one", tmp_path / "four", tokenizer=wrong)
    assert not (tmp_path / "four").exists()


def test_an_occupied_destination_is_left_as_it_is(official, tmp_path):
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="exists already and is left as it is"):
        convert(official, busy)
    assert listing(busy) == {"thesis.txt": b"mine"}
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="in the way"):
        convert(official, tmp_path / "other")
    assert listing(tmp_path / "other.partial") == {"thesis.txt": b"mine"}
    with pytest.raises(FormatError, match="in the source directory"):
        convert(official, official / "inside")
    (tmp_path / "empty").mkdir()
    assert convert(official, tmp_path / "empty").files == 1


def test_checksums_find_what_changed(official, tmp_path):
    convert(official, folder := tmp_path / "it", shard_bytes=30_000)
    assert check_directory(folder) == len(list(folder.iterdir())) - 1
    shard = next(folder.glob("model-00002-of-*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=r"model-00002.*contents have changed"):
        check_directory(folder)
    shard.write_bytes(data[:-1])
    with pytest.raises(FormatError, match=r"model-00002.*bytes, expected"):
        check_directory(folder)
    shard.unlink()
    with pytest.raises(FormatError, match=r"model-00002.*is missing"):
        check_directory(folder)
    with pytest.raises(FormatError, match=r"no checksums\.json"):
        check_directory(official)
    (folder / "checksums.json").write_text('{"files": {"../x": {}}}')
    with pytest.raises(FormatError, match="is not a file's name"):
        check_directory(folder)


# Comparing


def test_a_result_that_says_something_else_is_found(tmp_path):
    one, other = random_model(tiny_spec()), random_model(tiny_spec(), seed=1)
    save_model(one, tmp_path / "one")
    save_model(other, tmp_path / "other")
    source, result = (open_source(tmp_path / name) for name in ("one", "other"))
    for memory in (None, 0):
        with pytest.raises(FormatError, match="more than rounding explains"):
            compare(source, result, OwnSink("keep"), memory)


def test_where_memory_is_short_samples_are_compared_and_it_says_so(official, tmp_path):
    report = convert(official, tmp_path / "it", to="sglang", dtype="bf16", memory=1 << 20)
    assert report.comparison is not None
    assert (report.comparison.kind, report.comparison.compared) == ("samples", 26)
    assert "does not fit in memory" in str(report.comparison)
    assert available_memory() > 1 << 20


@pytest.mark.parametrize("changes", [{}, {"vocabulary": 1, "pad_token": None}, {"sequence": 1}, {"vocabulary": 3}])
def test_probe_tokens_are_in_the_vocabulary(changes):
    spec = tiny_spec(**changes)
    tokens = probe_tokens(spec)
    assert tokens
    assert len(tokens) <= spec.sequence
    assert all(0 <= token < spec.vocabulary for token in tokens)


# Trouble with the disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_and_the_work_kept(official, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="No space") as found, ShardWriter(Path("/dev/full"), []):
        pass
    assert found.value.errno == errno.ENOSPC
    real = Workspace.draft
    monkeypatch.setattr(
        Workspace,
        "draft",
        lambda self, shard: Path("/dev/full") if "00003" in shard.file[:11] else real(self, shard),
    )
    with pytest.raises(FormatError, match=r"it\.partial: the disk is full; make room"):
        convert(official, tmp_path / "it", shard_bytes=30_000)
    assert not (tmp_path / "it").exists()
    monkeypatch.undo()
    assert convert(official, tmp_path / "it", shard_bytes=30_000).reused == 2


def test_too_little_room_is_said_before_anything_is_written(official, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(FormatError, match="are still to be written, but the disk has 1,000 free"):
        convert(official, tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_refuses_to_leave_holes(tmp_path):
    with (
        pytest.raises(ValueError, match="8 bytes were not written"),
        ShardWriter(tmp_path / "it", [Entry("a", "fp32", (4,))]) as writer,
    ):
        writer.put("a", 0, torch.zeros(2))
    with (
        pytest.raises(ValueError, match="does not belong"),
        ShardWriter(tmp_path / "it", [Entry("a", "fp32", (4,))]) as writer,
    ):
        writer.put("a", 0, torch.zeros(4, dtype=torch.bfloat16))


# Killed and taken up again


RUN = """
import sys
from lindos.model.formats import convert
report = convert(sys.argv[1], sys.argv[2], to=sys.argv[3], dtype="fp32", shard_bytes=int(sys.argv[4]), verify=False)
print(report.reused)
"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    """Some 20 MB of fp32 in 15 MB of files."""
    folder = tmp_path_factory.mktemp("larger") / "it"
    save_model(random_model(tiny_spec(width=128, expert_width=256, layers=6, experts=8), 3), folder, dtype="bf16")
    return folder


def start(source: Path, destination: Path, to: str = "keyfan", shard_bytes: int = 300_000) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(source), str(destination), to, str(shard_bytes)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(work: Path) -> list[str]:
    try:
        return list(json.loads((work / "state.json").read_text())["done"])
    except OSError:
        return []


def kill_when(process: subprocess.Popen[str], work: Path, files: int) -> None:
    while len(finished(work)) < files and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_and_run_again_continues_and_ends_the_same(larger, tmp_path):
    work = tmp_path / "it.partial"
    kill_when(start(larger, tmp_path / "it"), work, 4)
    done = finished(work)
    assert not (tmp_path / "it").exists()
    assert len(done) >= 4
    before = {name: (work / name).stat().st_mtime_ns for name in done}
    spoilt = work / done[1]
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")  # a finished file that a crash damaged is written again
    again = start(larger, tmp_path / "it")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert int(out) == len(done) - 1
    after = {name: (tmp_path / "it" / name).stat().st_mtime_ns for name in done}
    assert {name for name in done if after[name] == before[name]} == set(done) - {spoilt.name}
    assert not work.exists()
    convert(larger, tmp_path / "whole", to="keyfan", dtype="fp32", shard_bytes=300_000, verify=False)
    assert listing(tmp_path / "it") == listing(tmp_path / "whole")
    assert check_directory(tmp_path / "it") > len(done)


@pytest.mark.slow
def test_killed_at_any_moment(larger, tmp_path):
    convert(larger, tmp_path / "whole", to="sglang", dtype="fp32", shard_bytes=1_000_000, verify=False)
    moments = random.Random(0)
    for _ in range(30):
        process = start(larger, tmp_path / "it", "sglang", 1_000_000)
        try:
            process.communicate(timeout=moments.uniform(0.5, 6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if (tmp_path / "it").exists():
            break
    if not (tmp_path / "it").exists():
        convert(larger, tmp_path / "it", to="sglang", dtype="fp32", shard_bytes=1_000_000, verify=False)
    assert listing(tmp_path / "it") == listing(tmp_path / "whole")


def unfinished(source: Path, destination: Path, **options) -> None:
    """A conversion that stops after its second file."""

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("model-00003"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, destination, shard_bytes=30_000, progress=stop, **options)


def test_an_unfinished_conversion_of_something_else_is_not_touched(official, tmp_path):
    unfinished(official, tmp_path / "it")
    held = listing(tmp_path / "it.partial")
    others = (
        partial(convert, dtype="fp32", shard_bytes=30_000),
        partial(convert, to="sglang", shard_bytes=30_000),
        partial(convert, shard_bytes=50_000),
    )
    for other in others:
        with pytest.raises(FormatError, match="another source or with other options"):
            other(official, tmp_path / "it")
    assert listing(tmp_path / "it.partial") == held
    assert convert(official, tmp_path / "it", shard_bytes=30_000).reused == 2


def test_files_made_from_a_source_that_changed_are_made_again(tmp_path):
    arrays = arrays_of(random_model(tiny_spec(width=64, expert_width=64)))
    folder = write_official(
        tmp_path / "src", arrays, json.loads(tiny_spec(width=64, expert_width=64).model_dump_json())
    )
    unfinished(folder, tmp_path / "it")
    first = folder / "ckpt-0" / "tensor00000_000"
    data = bytearray(first.read_bytes())
    at = data.find(arrays["embedding"].tobytes())
    data[at : at + 4] = np.float32(7).tobytes()
    first.write_bytes(data)
    report = convert(folder, tmp_path / "it", shard_bytes=30_000)
    assert report.reused == 1
    assert load_model(tmp_path / "it", dtype=torch.float32).embedding[0, 0].item() == 7


def test_two_conversions_to_one_place_do_not_meet(official, tmp_path):
    def other(what: str, done: int, total: int) -> None:
        with pytest.raises(FormatError, match="another conversion is writing"):
            convert(official, tmp_path / "it")

    convert(official, tmp_path / "it", progress=other)


# Memory


MEASURE = """
import sys
from lindos.model.formats import convert

def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

small, large, out = sys.argv[1:]
for source in (small, large):
    for to, dtype in (("own", "bf16"), ("keyfan", "bf16"), ("own", "keep")):
        convert(source, f"{out}/{len(source)}-{to}-{dtype}", to=to, dtype=dtype, memory=0)  # samples are compared
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded_by_the_largest_tensor(tmp_path, official):
    """Source and results are many times larger than what a process grows by that converts and compares them."""
    spec = tiny_spec(width=256, expert_width=1024, experts=8, layers=8)
    arrays = arrays_of(random_model(spec.model_copy(update={"layers": 1})))
    stored = {name: as_release(name, array) for name, array in arrays.items()}
    for name in [name for name in stored if name.startswith("layers.0.")]:
        stored |= {name.replace(".0.", f".{layer}."): stored[name] for layer in range(1, spec.layers)}
    folder = write_official(tmp_path / "source of some size", stored, json.loads(spec.model_dump_json()))
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(official), str(folder), str(tmp_path / "out")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    base, peak = map(int, done.stdout.split())
    largest = max(info.elements for info in open_source(folder).tensors.values()) * 2
    read = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"read {read:,} three times, largest tensor {largest:,} in bf16, grew by {peak - base:,}")
    assert read > 10 * largest
    assert peak - base < 1.5 * largest


# The command


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_converts_and_checks(official, tmp_path):
    result = invoke("convert", official, tmp_path / "it", "--to", "sglang", "--dtype", "bf16")
    assert result.exit_code == 0, result.output
    assert "from official" in result.output
    assert "logits of 8 tokens equal the source's" in result.output
    assert "fewer bits" in result.output
    result = invoke("convert", "--check", tmp_path / "it")
    assert result.exit_code == 0, result.output
    assert "2 files, all as they were written" in result.output
    result = invoke("convert", official, tmp_path / "two", "--no-verify", "--spec", official / "config.json")
    assert "not compared" in result.output


def test_the_command_says_what_is_missing(official, tmp_path):
    assert "say where the result goes" in invoke("convert", official).output
    assert "one directory" in invoke("convert", "--check", official, tmp_path / "it").output
    assert "'gguf'" in invoke("convert", official, tmp_path / "it", "--to", "gguf").output
    result = invoke("convert", tmp_path / "nothing", tmp_path / "it")
    assert isinstance(result.exception, FormatError)

"""Conversion, killed and taken up again, in bounded memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lindos.model.formats import FormatError, check_directory, convert, load_model, open_source, save_model
from tests.model.checkpoints import arrays_of, as_release, mini, random_model, tiny_spec, write_official


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """The smallest golden checkpoint as the release would have stored it, int8 and all."""
    arrays, config, _, _ = mini()
    stored = {name: as_release(name, array) for name, array in arrays.items()}
    return write_official(tmp_path_factory.mktemp("mini") / "mini", stored, config)


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
    began = time.monotonic()
    convert_in_full = start(larger, tmp_path / "whole", "sglang", 1_000_000)
    _, err = convert_in_full.communicate()
    assert convert_in_full.returncode == 0, err
    duration, expected, moments, kills = time.monotonic() - began, listing(tmp_path / "whole"), random.Random(0), 0
    for _ in range(200):
        if kills == 25:
            break
        process = start(larger, tmp_path / "it", "sglang", 1_000_000)
        try:
            process.communicate(timeout=duration * moments.uniform(0.3, 1.1))
        except subprocess.TimeoutExpired:
            kills += 1
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if (tmp_path / "it").exists():
            with pytest.raises(FormatError, match="exists already"):  # and tidies, if the kill came just before the end
                convert(larger, tmp_path / "it", to="sglang", dtype="fp32")
            assert listing(tmp_path / "it") == expected
            shutil.rmtree(tmp_path / "it")
    assert kills == 25
    convert(larger, tmp_path / "it", to="sglang", dtype="fp32", shard_bytes=1_000_000, verify=False)
    assert listing(tmp_path / "it") == expected


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

"""Conversions to and from GGUF files: killed and taken up again, in bounded memory, and by command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.model.formats import FormatError, convert, open_source, save_model
from tests.model.checkpoints import random_model, tiny_spec
from tests.model.gguffiles import SPECS, saved

RUN = """
import sys
from lindos.model.formats import convert
report = convert(sys.argv[1], sys.argv[2], to="gguf", dtype="q8_0", shard_bytes=300_000, verify=False)
print(report.reused, report.files)
"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 10 MB of bf16."""
    folder = tmp_path_factory.mktemp("larger") / "it"
    spec = tiny_spec(width=128, head_size=64, expert_width=256, layers=6, experts=8)
    save_model(random_model(spec, 3), folder, dtype="bf16")
    return folder


def start(source: Path, destination: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(source), str(destination)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(work: Path) -> dict[str, dict[str, str]]:
    try:
        return json.loads((work / "state.json").read_text())["done"]
    except OSError:
        return {}


def test_killed_and_run_again_it_continues_and_ends_the_same(larger: Path, tmp_path: Path):
    convert(larger, tmp_path / "whole.gguf", to="gguf", dtype="q8_0", verify=False)
    work = tmp_path / "it.gguf.partial"
    process = start(larger, tmp_path / "it.gguf")
    while len(finished(work)) < 4 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = finished(work)
    assert len(done) >= 4
    assert not (tmp_path / "it.gguf").exists()
    unfinished = bytearray((work / "it.gguf").read_bytes())
    assert len(unfinished) == (tmp_path / "whole.gguf").stat().st_size
    source = open_source(tmp_path / "whole.gguf")
    spoilt = source.header.tensors["token_embd.weight"].offset  # type: ignore[attr-defined]
    unfinished[spoilt] ^= 1  # a stretch that a crash damaged is written again
    (work / "it.gguf").write_bytes(unfinished)
    out, err = start(larger, tmp_path / "it.gguf").communicate(timeout=120)
    assert out.split() == [str(len(done) - 1), "1"], err
    assert (tmp_path / "it.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()
    assert not work.exists()


def stopped(source: Path, destination: Path, **options: object) -> None:
    """A conversion that stops when half of it is done."""

    def stop(what: str, done: int, total: int) -> None:
        if 2 * done > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, destination, to="gguf", shard_bytes=30_000, progress=stop, **options)  # type: ignore[arg-type]


def test_an_unfinished_conversion_of_something_else_is_not_touched(tmp_path: Path):
    source = saved(tmp_path, "llama")
    stopped(source, tmp_path / "it.gguf")
    held = {path.name: path.read_bytes() for path in (tmp_path / "it.gguf.partial").iterdir()}
    other = tmp_path / "llama-tokenizer" / "tokenizer.model"
    longer = tmp_path / "other.json"
    longer.write_text(json.dumps(json.loads(SPECS["llama"].model_dump_json()) | {"title": "Another"}))
    for options in ({"dtype": "f16"}, {"shard_bytes": 40_000}, {"spec": longer}):
        with pytest.raises(FormatError, match="another source or with other options"):
            convert(source, tmp_path / "it.gguf", **({"to": "gguf", "shard_bytes": 30_000} | options))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in (tmp_path / "it.gguf.partial").iterdir()} == held
    report = convert(source, tmp_path / "it.gguf", to="gguf", shard_bytes=30_000, tokenizer=other)
    assert report.reused > 3
    assert report.comparison is not None


def test_stretches_made_of_a_source_that_changed_are_made_again(tmp_path: Path):
    source = saved(tmp_path, "grok")
    stopped(source, tmp_path / "it.gguf")
    save_model(random_model(SPECS["grok"], 99), source, tokenizer=tmp_path / "grok-tokenizer", replace=True)
    assert convert(source, tmp_path / "it.gguf", to="gguf", shard_bytes=30_000).reused == 0


MEASURE = """
import sys
from lindos.model.formats import convert

def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

small, large, out = sys.argv[1:]
for source in (small, large):
    size = len(source)
    for dtype in ("q4_0", "f16"):
        convert(source, f"{out}/{size}-{dtype}.gguf", to="gguf", dtype=dtype, memory=0)  # samples are compared
        convert(f"{out}/{size}-{dtype}.gguf", f"{out}/{size}-{dtype}", memory=0)
        convert(f"{out}/{size}-{dtype}.gguf", f"{out}/{size}-{dtype}-int4", quantise="int4", memory=0)
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded_by_a_matrix(tmp_path: Path):
    spec = tiny_spec(width=256, expert_width=1024, head_size=128, experts=8, layers=8)
    save_model(random_model(spec), tmp_path / "source of some size", dtype="bf16")
    small = tiny_spec(width=64, expert_width=64, head_size=32, experts=2, layers=1)
    save_model(random_model(small), tmp_path / "small", dtype="bf16")
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in ("small", "source of some size", "out"))],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    base, peak = map(int, done.stdout.split())
    matrix = spec.width * spec.expert_width * 4
    whole = sum(path.stat().st_size for path in (tmp_path / "source of some size").iterdir())
    print(f"read {whole:,} six times, one matrix {matrix:,} in fp32, grew by {peak - base:,}")
    assert whole > 60 * matrix
    assert peak - base < 12 * matrix


# The commands


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_by_command(tmp_path: Path):
    source = saved(tmp_path, "llama")
    said = run("convert", source, tmp_path / "it.gguf", "--to", "gguf", "--dtype", "q8_0")
    assert "1 file of tensors" in said
    assert "logits of 8 tokens equal" in said
    run("convert", tmp_path / "it.gguf", tmp_path / "own")
    run("convert", tmp_path / "it.gguf", tmp_path / "mixtral", "--to", "mixtral", "--dtype", "fp32")
    run("convert", tmp_path / "it.gguf", tmp_path / "packed", "--quantise", "int8")
    logits = {}
    for name in ("it.gguf", "own", "mixtral"):
        run("logits", tmp_path / name, "--tokens", "5,17,9", "--out", tmp_path / "logits.npy")
        logits[name] = np.load(tmp_path / "logits.npy")
    run("logits", tmp_path / "it.gguf", "--tokens", "5,17,9", "--out", tmp_path / "logits.npy", "--stream")
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits["it.gguf"], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(logits["own"], logits["it.gguf"])
    np.testing.assert_array_equal(logits["mixtral"], logits["it.gguf"])
    for name in ("own", "mixtral", "packed"):
        assert (tmp_path / name / "tokenizer.model").is_file()


def test_commands_that_cannot_be_done_say_why(tmp_path: Path):
    source = saved(tmp_path, "grok")
    for words, said in (
        (("convert", source, tmp_path / "it", "--to", "gguf"), "ends in .gguf"),
        (("convert", source, tmp_path / "it", "--dtype", "q4_0"), "q4_0 is for GGUF"),
        (("convert", source, tmp_path / "it.gguf", "--to", "gguf", "--dtype", "int8"), "int8 is not for GGUF"),
    ):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code != 0
        assert said in str(result.exception) + result.output


def test_a_directory_with_a_gguf_file_and_a_tokenizer_is_a_model(tmp_path: Path):
    source = saved(tmp_path, "qwen3moe")
    (tmp_path / "folder").mkdir()
    convert(source, tmp_path / "folder" / "it.gguf", to="gguf", dtype="fp32")
    assert open_source(tmp_path / "folder").spec == SPECS["qwen3moe"]
    (tmp_path / "folder" / "other.gguf").write_bytes((tmp_path / "folder" / "it.gguf").read_bytes())
    with pytest.raises(FormatError, match=r"one model in \.gguf files"):
        open_source(tmp_path / "folder")
    assert torch.equal(
        open_source(tmp_path / "folder/it.gguf").read("embedding", slice(3, 5)),
        open_source(source).read("embedding", slice(3, 5)),
    )

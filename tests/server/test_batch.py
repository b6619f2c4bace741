"""Batches: as a process, killed and gone on with, and what its lines may be."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.kernels.choosing import available_kernels
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, save_model
from lindos.server.batch import AnswersFile, BatchError
from lindos.server.batch.tasks import parse_task
from lindos.specs import ModelSpec


def batch(prompts: Path, out: Path, model: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "lindos", "batch", str(prompts), "--out", str(out), "--model", str(model), *more]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_every_kind_of_line_is_answered_in_order(tiny_model_dir: Path, tmp_path: Path):
    message = {"role": "user", "content": "What is it?"}
    prompts = write(
        tmp_path / "in.jsonl",
        [
            {"prompt": "Once", "id": "a", "max_tokens": 3, "seed": 1},
            "Upon a time",
            {"messages": [message], "max_tokens": 4, "logprobs": True, "seed": 1},
            {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [message]}},
            {"custom_id": "d", "url": "/v1/embeddings", "body": {}},
            {"prompt": "Twice", "temprature": 1},
            {"neither": 1},
            {"prompt": "Many", "n": 2, "max_tokens": 2},
        ],
    )
    with prompts.open("a") as file:
        file.write("\n{broken\n")
    out = tmp_path / "out.jsonl"
    done = run(batch(prompts, out, tiny_model_dir, "--max-tokens", "5", "--threads", "1"))
    assert done.returncode == 1, done.stderr  # some lines are wrong
    found = {answer["line"]: answer for answer in read(out)}
    assert list(found) == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert found[1]["id"] == "a"
    assert found[1]["usage"]["completion_tokens"] <= 3
    assert isinstance(found[2]["text"], str)
    # Tokens without text, such as the one that ends an answer, are not listed.
    assert 0 < len(found[3]["logprobs"][0]["content"]) <= found[3]["usage"]["completion_tokens"]
    assert found[4]["custom_id"] == "c"
    assert found[4]["response"]["status_code"] == 200
    assert found[4]["response"]["body"]["choices"][0]["message"]["role"] == "assistant"
    assert "POST" in found[5]["error"]["message"]
    assert "temperature" in found[6]["error"]
    assert "either" in found[7]["error"]
    assert len(found[8]["texts"]) == 2
    assert "not JSON" in found[10]["error"]
    assert "4 failed" in done.stderr
    again = run(batch(prompts, out, tiny_model_dir, "--threads", "1"))
    assert "5 of 9 prompts are answered already" in again.stderr
    assert [answer for answer in read(out) if not answer.get("error")] == [
        answer for answer in found.values() if not answer.get("error")
    ]


def test_a_batch_that_was_killed_goes_on_and_loses_nothing(tiny_model_dir: Path, tmp_path: Path):
    prompts = write(tmp_path / "in.jsonl", [{"prompt": f"Story {i}", "seed": i, "max_tokens": 60} for i in range(30)])
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert run(batch(prompts, whole, tiny_model_dir, "--threads", "1")).returncode == 0
    kills, returned = 0, None
    while returned is None:
        process = subprocess.Popen(
            batch(prompts, out, tiny_model_dir, "--threads", "1", "--together", "4"), stderr=subprocess.DEVNULL
        )
        before = size(out)
        while process.poll() is None and (size(out) < before + 2500 or kills == 3):
            time.sleep(0.005)
        returned = process.poll()
        if returned is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 1
    assert returned == 0
    assert read(out) == read(whole)


def test_answers_to_other_prompts_are_left_alone(tiny_model_dir: Path, tmp_path: Path):
    prompts = write(tmp_path / "in.jsonl", ["One", "Two"])
    out = tmp_path / "out.jsonl"
    assert run(batch(prompts, out, tiny_model_dir, "--max-tokens", "2")).returncode == 0
    kept = out.read_bytes()
    write(prompts, ["One", "Three"])
    done = run(batch(prompts, out, tiny_model_dir))
    assert done.returncode == 1
    assert "--restart" in done.stderr
    assert out.read_bytes() == kept
    assert run(batch(prompts, out, tiny_model_dir, "--restart", "--max-tokens", "2")).returncode == 0
    write(prompts, ["One"])
    with pytest.raises(BatchError, match="does not have"):
        AnswersFile(out, prompts)
    out.write_text("my diary\n")
    with pytest.raises(BatchError, match="no answer of a batch"):
        AnswersFile(out, prompts)
    assert out.read_text() == "my diary\n"
    assert run(batch(tmp_path / "nothing.jsonl", out, tiny_model_dir)).returncode == 1


names = st.sampled_from(["prompt", "messages", "body", "custom_id", "id", "url"])
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner),
)


@given(st.binary(max_size=200) | nested.map(lambda found: json.dumps(found).encode()))
def test_no_line_breaks_a_batch(line: bytes):
    task = parse_task(7, line, {"max_tokens": 3})
    assert task.line == 7
    assert bool(task.fault) != bool(task.route)
    if task.route:
        assert "model" not in task.body


@pytest.mark.skipif(not available_kernels(), reason="this install has no native kernels")
def test_memory_is_kept_by_all_processes_together(tiny_tokenizer_dir: Path, tmp_path: Path):
    spec = ModelSpec(
        name="wide",
        layers=3,
        width=512,
        vocabulary=600,
        sequence=256,
        heads=4,
        kv_heads=1,
        head_size=64,
        experts=24,
        experts_per_token=2,
        expert_width=1024,
    )
    model = Transformer(spec)
    initialise(model, seed=2)
    save_model(model, tmp_path / "plain", tokenizer=tiny_tokenizer_dir)
    convert(tmp_path / "plain", tmp_path / "int4", quantise="int4")
    prompts = write(tmp_path / "in.jsonl", [{"prompt": f"Tale {i}", "max_tokens": 12} for i in range(40)])
    out = tmp_path / "out.jsonl"
    refused = run(batch(prompts, out, tmp_path / "int4", "--memory", "100MiB"))
    assert refused.returncode == 1
    least = re.search(r"it takes ([0-9.]+) GiB at least", " ".join(refused.stderr.split()))
    assert least is not None, refused.stderr
    limit = int((float(least[1]) + 0.02) * 2**30)
    command = batch(prompts, out, tmp_path / "int4", "--memory", str(limit), "--together", "8", "--threads", "2")
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for number in [process.pid, *children(process.pid)]:
                peaks[number] = max(peaks.get(number, 0), peak(number))
            time.sleep(0.02)
        words = process.communicate()[1]
    assert process.returncode == 0, words
    held = re.search(r"(\d+) of its (\d+) experts", words)
    assert held is not None, words
    assert int(held[1]) < int(held[2]), "what does not fit stays on the disk"
    assert len(read(out)) == 40
    assert sum(peaks.values()) <= limit


def children(number: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    except OSError:
        return []


def peak(number: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{number}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def test_an_interrupted_batch_says_how_to_go_on(tiny_model_dir: Path, tmp_path: Path):
    prompts = write(tmp_path / "in.jsonl", [{"prompt": f"Tale {i}", "max_tokens": 200} for i in range(200)])
    out = tmp_path / "out.jsonl"
    command = batch(prompts, out, tiny_model_dir, "--threads", "1", "--together", "2")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in words
    assert read(out)

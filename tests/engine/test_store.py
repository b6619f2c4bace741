"""Experts that stay on the disk: the same tokens whatever fits into memory, and errors instead of wrong ones."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.engine.interface import Sampling
from lindos.engine.output import OutputText
from lindos.engine.packed import PackedNetwork
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Work
from lindos.kernels.choosing import available_kernels
from lindos.kernels.directfile import DirectReader, ReadError, aligned
from lindos.kernels.products import products
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, save_model
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import PackedSource
from lindos.specs import ModelSpec

SPEC = ModelSpec(
    name="many-experts",
    layers=3,
    width=64,
    vocabulary=90,
    sequence=128,
    heads=4,
    kv_heads=2,
    head_size=16,
    experts=6,
    experts_per_token=2,
    expert_width=64,
    shared_width=32,
)
BLOCKS = 48
ALL = SPEC.layers * SPEC.experts
NATIVE = [name for name in available_kernels() if name != "torch"]
pytestmark = pytest.mark.skipif(not NATIVE, reason="this install has no native kernels")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("packed") / "model"
    model = Transformer(SPEC)
    initialise(model, seed=5)
    save_model(model, plain)
    convert(plain, folder, quantise="int4")
    return folder


def network(folder: Path, slots: int | None) -> PackedNetwork:
    source = open_source(folder)
    assert isinstance(source, PackedSource)
    return PackedNetwork(source, products(NATIVE[0], 2), slots=slots)


@pytest.fixture(scope="module")
def whole(quantised: Path) -> Runner:
    return Runner(network(quantised, None), BLOCKS)


class Several:
    """Requests that go on step by step, each by the tokens it is given."""

    def __init__(self, runner: Runner, count: int) -> None:
        self.runner = runner
        self.requests = [
            Request(i, [], 1, Sampling(), OutputText(None, ()), blocks=[2 * i, 2 * i + 1]) for i in range(count)
        ]

    def step(self, tokens: dict[int, list[int]]) -> torch.Tensor:
        work = []
        for index, more in tokens.items():
            request = self.requests[index]
            start = len(request.tokens)
            request.tokens += more
            work.append(Work(request, start, len(request.tokens)))
        return self.runner.run(work)


steps = st.lists(
    st.dictionaries(st.integers(0, 3), st.lists(st.integers(1, 89), min_size=1, max_size=12), min_size=1),
    min_size=1,
    max_size=6,
)


@given(steps=steps, slots=st.integers(1, ALL))
@settings(max_examples=60, deadline=None)
def test_what_is_in_memory_changes_no_result(quantised: Path, whole: Runner, steps: list[Any], slots: int):
    part = network(quantised, slots)
    some, all_of = Several(Runner(part, BLOCKS), 4), Several(whole, 4)
    try:
        for tokens in steps:
            assert torch.equal(some.step(tokens), all_of.step(tokens))
    finally:
        part.store.close()


def test_a_store_reads_what_its_misses_need_and_little_more(quantised: Path):
    part = network(quantised, ALL // 2)
    alone = Several(Runner(part, BLOCKS), 1)
    alone.step({0: [3]})
    before = part.store.stats.bytes_read
    for token in range(4, 40):
        alone.step({0: [token]})
    stats = part.store.stats
    assert stats.hits > 0
    assert stats.misses > 0
    assert stats.bytes_read - before <= stats.bytes_needed
    part.store.close()


def test_a_sweep_reads_each_expert_that_is_not_kept_once(quantised: Path):
    slots = 12
    part = network(quantised, slots)
    sweep = Several(Runner(part, BLOCKS), 24)
    rounds, stats = 10, part.store.stats
    sweep.step({i: [3 + i] for i in range(24)})
    before = stats.bytes_read, stats.hits
    for step in range(rounds):
        sweep.step({i: [(7 * step + 5 * i) % 80 + 1] for i in range(24)})
    size = part.store.slot_bytes
    kept = slots - 3  # three places are enough to read through
    assert (stats.bytes_read - before[0]) / size <= rounds * (ALL - kept)
    assert stats.hits - before[1] >= rounds * (kept - 1)
    part.store.close()


@pytest.fixture
def copied(quantised: Path, tmp_path: Path) -> Iterator[tuple[PackedNetwork, Path]]:
    folder = tmp_path / "model"
    shutil.copytree(quantised, folder)
    part = network(folder, 2)
    (file,) = folder.glob("*.safetensors")
    yield part, file
    part.store.close()


def test_a_file_changed_underneath_is_an_error(copied: tuple[PackedNetwork, Path]):
    part, path = copied
    several = Several(Runner(part, BLOCKS), 1)
    several.step({0: [5, 6, 7]})
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\1")
    with pytest.raises(ReadError, match=r"was changed while the model ran"):
        several.step({0: [8, 9, 10, 11]})


def test_a_file_cut_short_is_an_error(copied: tuple[PackedNetwork, Path]):
    part, path = copied
    os.truncate(path, 8192)
    with pytest.raises(ReadError, match=r"changed|truncated"):
        Several(Runner(part, BLOCKS), 1).step({0: [5, 6, 7]})


def test_a_disk_that_fails_fails_only_who_needs_it(quantised: Path, whole: Runner, monkeypatch: pytest.MonkeyPatch):
    part = network(quantised, 1)
    expected = Several(whole, 1).step({0: [5, 6, 7]})
    read = os.preadv

    def failing(file: int, buffers: Any, offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    for _ in range(3):
        with pytest.raises(ReadError, match="Input/output error"):
            Several(Runner(part, BLOCKS), 1).step({0: [5, 6, 7]})
    monkeypatch.setattr(os, "preadv", read)
    assert torch.equal(Several(Runner(part, BLOCKS), 1).step({0: [5, 6, 7]}), expected)
    part.store.close()


@given(data=st.binary(max_size=30_000), start=st.integers(0, 30_000), size=st.integers(1, 30_000))
@settings(max_examples=60, deadline=None)
def test_any_bytes_of_a_file_are_fetched(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int, size: int):
    path = tmp_path_factory.mktemp("file") / "bytes"
    path.write_bytes(data)
    first, length = aligned(start, size)
    assert first <= start
    assert start + size <= first + length
    with DirectReader() as reader:
        if start + size <= len(data):
            assert reader.fetch(path, start, size).tobytes() == data[start : start + size]
        else:
            with pytest.raises(ReadError, match="truncated"):
                reader.fetch(path, start, size)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path):
    with DirectReader() as reader, pytest.raises(ReadError, match="cannot be read: No such file"):
        reader.fetch(tmp_path / "nothing", 0, 10)

"""A small prepared data set and a run file over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lindos.data import DatasetWriter
from lindos.specs import ModelSpec
from lindos.text import load_tokenizer
from tests.conftest import TINY_TEXT


def write_data(folder: Path, tokenizer_dir: Path, *, seed: int = 0, heldout: int = 12) -> Path:
    """A data set of shuffled sentences, with a held-out part."""
    tokenizer = load_tokenizer(tokenizer_dir)
    rng = np.random.default_rng(seed)
    sentences = TINY_TEXT.splitlines()
    with DatasetWriter(folder, name="tiny", vocabulary=tokenizer.vocabulary) as writer:
        sizes: dict[Literal["train", "heldout"], int] = {"train": 120, "heldout": heldout}
        for split, count in sizes.items():
            shard = writer.part(split)
            for _ in range(count):
                text = " ".join(rng.permutation(sentences))
                tokens = [1, *tokenizer.encode(text), 2]
                shard.add(tokens, text_bytes=len(text.encode()))
            writer.keep(shard.close(name=split, group="tiny", split=split, epochs=1.0, packing="stream"))
        writer.finish((tokenizer_dir / "tokenizer.json").read_text(), {})
    return folder


def write_talk(folder: Path, tokenizer_dir: Path) -> Path:
    """A data set of short conversations, packed whole, in which only the answers count."""
    tokenizer = load_tokenizer(tokenizer_dir)
    rng = np.random.default_rng(4)
    words = TINY_TEXT.split()
    with DatasetWriter(folder, name="talk", vocabulary=tokenizer.vocabulary) as writer:
        sizes: dict[Literal["train", "heldout"], int] = {"train": 400, "heldout": 20}
        for split, count in sizes.items():
            shard = writer.part(split, masked=True)
            for _ in range(count):
                asked, told = (tokenizer.encode(" ".join(rng.choice(words, rng.integers(1, most)))) for most in (8, 12))
                mask = [False] * (1 + len(asked)) + [True] * (len(told) + 1)
                shard.add([1, *asked, *told, 2], mask, text_bytes=40)
            writer.keep(shard.close(name=split, group="talk", split=split, epochs=1.0, packing="whole"))
        writer.finish((tokenizer_dir / "tokenizer.json").read_text(), {})
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_dir: Path) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "tiny", tiny_tokenizer_dir)


@pytest.fixture
def run_table(tiny_data: Path, tiny_spec: ModelSpec, tmp_path: Path) -> dict:
    """The table of a run file; tests change what they are about."""
    spec = tmp_path / "tiny.json"
    spec.write_text(tiny_spec.model_dump_json())
    return {
        "name": "tiny",
        "model": str(spec),
        "data": {"path": str(tiny_data), "sequence": 64, "batch": 4, "micro_batch": 2, "seed": 3},
        "optimizer": {"kind": "muon", "lr": 3e-3},
        "schedule": {"steps": 12, "warmup": 3},
        "evaluate": {"every": 5, "sequences": 4},
        "sample": {"every": 6, "prompts": ["The sun"], "tokens": 5},
        "checkpoint": {"every": 4},
        "machine": {"threads": 1},
    }


def write_run(path: Path, table: dict) -> Path:
    path.write_text(json.dumps(table))
    return path

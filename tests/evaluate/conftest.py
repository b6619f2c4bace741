"""A tiny model opened once, and tiny evaluation sets beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from lindos.model import Transformer
from lindos.model.formats import load_model
from lindos.text import Tokenizer, load_tokenizer

WORDS = (
    "the",
    "cat",
    "dog",
    "sun",
    "boat",
    "moon",
    "tree",
    "house",
    "runs",
    "sleeps",
    "sees",
    "likes",
    "red",
    "green",
    "old",
    "small",
    "big",
    "quickly",
    "slowly",
    "today",
)


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Path) -> Transformer:
    return load_model(tiny_model_dir, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_model_dir)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with small sets in the shapes of the real ones, drawn at random: nothing in them can be known."""
    import random

    folder = tmp_path_factory.mktemp("root")
    rng = random.Random(3)

    def sentence(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count)).capitalize() + "."

    def rows(path: str, made: Sequence[Mapping[str, object]]) -> None:
        import zstandard

        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in made)
        target.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))

    pairs = [
        {"sentence_good": sentence(5), "sentence_bad": sentence(5), "UID": f"paradigm_{n % 4}", "linguistics_term": "t"}
        for n in range(240)
    ]
    choices = [
        {"query": f"Question: {sentence(6)}", "choices": [sentence(3) for _ in range(4)], "gold": rng.randrange(4)}
        for _ in range(60)
    ]
    goals = [
        {"query": f"Question: {sentence(4)}\n", "choices": [sentence(6), sentence(6)], "gold": rng.randrange(2)}
        for _ in range(60)
    ]
    passages = [{"context": sentence(12)[:-1], "continuation": rng.choice(WORDS)} for _ in range(40)]
    rows("eval/blimp/blimp.jsonl.zst", pairs)
    rows("eval/gauntlet/arc_easy.jsonl.zst", choices)
    rows("eval/gauntlet/piqa.jsonl.zst", goals)
    rows("eval/gauntlet/lambada_openai.jsonl.zst", passages)
    return folder

"""A tokenizer small enough to train in the tests."""

import random

import pytest

from lindos.text import ByteLevelTokenizer, train_tokenizer

WORDS = """
the a small old good river house friend bread garden never walked talked under over because sometimes
morning evening winter summer café naïve über 東京 привет ñandú 12 1987 3.14 -- "quoted" (and) user's don't
""".split()  # noqa: SIM905


def sentences(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 14))) + "." for _ in range(count)]


@pytest.fixture(scope="session")
def tokenizer() -> ByteLevelTokenizer:
    return train_tokenizer(sentences(400), 400)

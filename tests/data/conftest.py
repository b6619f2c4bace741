"""Small data sets to open, and a tokenizer to make them with."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lindos.data import DataError, DatasetWriter
from lindos.text import ByteLevelTokenizer
from tests.text.conftest import tokenizer

__all__ = ["tokenizer"]


@contextlib.contextmanager
def only_clear_errors(named: str) -> Iterator[None]:
    """Foreign input may be good or refused with an error that names it; anything else is a fault of ours."""
    try:
        yield
    except DataError as error:
        if named not in str(error):
            raise AssertionError(f"the error does not say where: {error}") from error


def write_set(
    folder: Path,
    tokenizer: ByteLevelTokenizer,
    parts: Sequence[tuple[str, list[int], float]],
    *,
    masked: bool = False,
    packing: str = "stream",
) -> Path:
    """A data set of (name, document lengths, epochs); the tokens of a part count up, so that places can be told."""
    with DatasetWriter(folder, name="test", vocabulary=tokenizer.vocabulary) as writer:
        for split in ("train", "heldout"):
            for name, lengths, epochs in parts:
                shard = writer.part(name if split == "train" else f"heldout/{name}", masked=masked)
                count = 16
                for length in lengths:
                    tokens = [1, *((16 + (count + n) % 380) for n in range(length - 1))]
                    count += length - 1
                    mask = [token % 2 == 0 for token in tokens] if masked else None
                    shard.add(tokens, mask, text_bytes=length)
                part = shard.close(
                    name=name, group=name, split=split, epochs=epochs, packing=packing  # type: ignore[arg-type]
                )  # fmt: skip
                writer.keep(part)
        writer.finish(tokenizer.source, {"dropped": {"too short": 3}})
    return folder


@pytest.fixture
def small_set(tmp_path: Path, tokenizer: ByteLevelTokenizer) -> Path:
    rng = random.Random(3)
    parts = [(name, [rng.randint(2, 40) for _ in range(30)], epochs) for name, epochs in (("a", 1.0), ("b", 2.5))]
    return write_set(tmp_path / "set", tokenizer, parts)

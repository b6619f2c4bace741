"""Bits per byte of held-out text: the same as by hand, counted over the bytes the loss counts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from lindos.data import DatasetWriter, TokenDataset
from lindos.evaluate import EvaluationError, bits_per_byte

TEXTS = ["The sun rises in the east.", "A small boat left the harbour at dawn.", "Nobody knew why."] * 4


def written(folder: Path, tokenizer, *, vocabulary: int | None = None) -> Path:
    with DatasetWriter(folder, name="tiny", vocabulary=vocabulary or tokenizer.vocabulary) as writer:
        splits: tuple[tuple[Literal["train", "heldout"], str], ...] = (("train", "plain"), ("heldout", "heldout/plain"))
        for split, prefix in splits:
            shard = writer.part(prefix)
            for text in TEXTS:
                shard.add([tokenizer.bos, *tokenizer.encode(text), tokenizer.eos], text_bytes=len(text.encode()))
            writer.keep(shard.close(name=prefix.replace("/", "-"), group="plain", split=split))
        shard = writer.part("heldout/chat", masked=True)
        for text in TEXTS:
            words = tokenizer.encode(text)
            shard.add([tokenizer.bos, *words, *words], [False] * (1 + len(words)) + [True] * len(words), text_bytes=50)
        writer.keep(shard.close(name="heldout-chat", group="chat", split="heldout", packing="whole"))
        writer.finish(tokenizer.source, {})
    return folder


def test_bits_are_the_summed_loss_over_the_bytes(tmp_path, tiny_model, tiny_tokenizer):
    data = TokenDataset.open(written(tmp_path / "set", tiny_tokenizer), split="heldout")
    found = {result.group: result for result in bits_per_byte(tiny_model, data, sequence=32, batch=3)}
    assert set(found) == {"plain", "chat", "all"}
    part = data.part("heldout-plain")
    tokens = torch.from_numpy(part.read(0, part.tokens))
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, part.tokens - 1, 32):
            row = tokens[start : start + 33]
            logprobs = torch.log_softmax(tiny_model(row[None, :-1])[0], -1)
            nats -= float(logprobs.gather(1, row[1:, None]).sum())
    size = sum(len(text.encode()) for text in TEXTS)
    assert found["plain"].bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert found["plain"].tokens == part.tokens - 1
    assert found["plain"].whole


def test_only_counted_tokens_are_scored(tmp_path, tiny_model, tiny_tokenizer):
    data = TokenDataset.open(written(tmp_path / "set", tiny_tokenizer), split="heldout")
    chat = next(result for result in bits_per_byte(tiny_model, data, sequence=64) if result.group == "chat")
    part = data.part("heldout-chat")
    assert chat.tokens == int(np.count_nonzero(part.read_mask(0, part.tokens)))
    nats = 0.0
    for number in range(part.documents):  # packed side by side, but none sees another
        tokens = torch.from_numpy(part.document(number))
        said = len(tokens) // 2
        with torch.inference_mode():
            logprobs = torch.log_softmax(tiny_model(tokens[None, :-1])[0], -1).gather(1, tokens[1:, None])
        nats -= float(logprobs[-said:].sum())
    assert chat.nats_per_token == pytest.approx(nats / chat.tokens, rel=1e-5)


def test_a_part_of_the_text_says_so(tmp_path, tiny_model, tiny_tokenizer):
    data = TokenDataset.open(written(tmp_path / "set", tiny_tokenizer), split="heldout")
    whole = bits_per_byte(tiny_model, data, sequence=16, batch=1)[0]
    some = bits_per_byte(tiny_model, data, sequence=16, batch=1, limit=2)[0]
    assert not some.whole
    assert some.tokens == 32
    assert bits_per_byte(tiny_model, data, sequence=16, batch=5, limit=2)[0].tokens == 32
    assert some.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=0.5)


def test_another_vocabulary_is_refused(tmp_path, tiny_model, tiny_tokenizer):
    folder = written(tmp_path / "set", tiny_tokenizer, vocabulary=600)
    with pytest.raises(EvaluationError, match="own tokenizer"):
        bits_per_byte(tiny_model, TokenDataset.open(folder, split="heldout"))

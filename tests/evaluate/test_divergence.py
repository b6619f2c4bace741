"""How far a model strays from another: the same as by hand, nothing for the same weights, and refused where it has no
meaning."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.evaluate import EvaluationError, divergence, text_windows
from lindos.model.formats import convert, load_model

TEXTS = ["The sun rises in the east and sets in the west.", "A small boat left at dawn.", "Nobody knew why."]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "some.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture(scope="module")
def rounded(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounded") / "int4"
    convert(tiny_model_dir, folder, quantise="int4", verify=False)
    return folder


def test_it_is_the_formula(text: Path, rounded: Path, tiny_model, tiny_tokenizer):
    windows = text_windows(text, tiny_tokenizer, window=7)
    assert all(2 <= len(window) <= 8 for window in windows)
    other = load_model(rounded, dtype=torch.float32)
    found = divergence(tiny_model, other, windows)
    kl, nats, reference, same = [], [], [], []
    with torch.inference_mode():
        for window in windows:
            tokens = torch.tensor([window])
            p, q = (torch.log_softmax(each(tokens[:, :-1])[0].double(), -1) for each in (tiny_model, other))
            kl += (p.exp() * (p - q)).sum(-1).tolist()
            nats += (-q.gather(1, tokens[0, 1:, None])[:, 0]).tolist()
            reference += (-p.gather(1, tokens[0, 1:, None])[:, 0]).tolist()
            same += (p.argmax(-1) == q.argmax(-1)).tolist()
    mean = sum(kl) / len(kl)
    assert found.tokens == len(kl)
    assert found.kl == pytest.approx(mean, rel=1e-4)
    assert found.kl_error == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in kl)) / len(kl), rel=1e-3)
    assert found.perplexity == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert found.nats_more == pytest.approx((sum(nats) - sum(reference)) / len(nats), abs=1e-5)
    assert found.agreement == pytest.approx(sum(same) / len(same))
    assert found.kl > 0


def test_a_model_does_not_stray_from_itself(text: Path, tiny_model, tiny_tokenizer):
    found = divergence(tiny_model, tiny_model, text_windows(text, tiny_tokenizer))
    assert (found.kl, found.nats_more, found.agreement) == (0.0, 0.0, 1.0)


def test_every_token_but_the_first_of_a_document_is_predicted_once(text: Path, tiny_tokenizer):
    whole = text_windows(text, tiny_tokenizer, window=1000)
    assert len(whole) == len(TEXTS)
    cut = text_windows(text, tiny_tokenizer, window=5)
    assert [token for window in cut for token in window[1:]] == [token for window in whole for token in window[1:]]
    most = text_windows(text, tiny_tokenizer, window=5, most=13)
    assert sum(len(window) - 1 for window in most) == 13


def test_other_files(tmp_path: Path, tiny_tokenizer):
    (tmp_path / "plain.txt").write_text("One line.\nAnother.")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"context": "One line.", "continuation": "Another."}))
    (tmp_path / "bad.jsonl").write_text(json.dumps({"words": "One line."}))
    (tmp_path / "empty.jsonl").write_text("")
    assert len(text_windows(tmp_path / "plain.txt", tiny_tokenizer)) == 1
    assert len(text_windows(tmp_path / "pairs.jsonl", tiny_tokenizer)) == 1
    with pytest.raises(EvaluationError, match=r"row 1: has neither"):
        text_windows(tmp_path / "bad.jsonl", tiny_tokenizer)
    with pytest.raises(EvaluationError, match="no text"):
        text_windows(tmp_path / "empty.jsonl", tiny_tokenizer)


def test_the_command_prints_a_row_for_each_model(text: Path, tiny_model_dir: Path, rounded: Path):
    arguments = ["evaluate", str(rounded), str(tiny_model_dir), "--against", str(tiny_model_dir), "--text", str(text)]
    told = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert told.exit_code == 0, told.output
    rows = [line for line in told.output.splitlines() if "│" in line and str(tiny_model_dir) in line]
    assert len(rows) == 2
    assert "0.00000 ± 0.00000" in rows[1]
    assert str(rounded) in told.output


@pytest.mark.parametrize("arguments", [["MODEL", "MODEL"], ["MODEL", "--against", "MODEL"]])
def test_what_the_command_refuses(tiny_model_dir: Path, arguments: list[str]):
    given = [str(tiny_model_dir) if one == "MODEL" else one for one in arguments]
    assert CliRunner().invoke(app, ["evaluate", *given]).exit_code == 2

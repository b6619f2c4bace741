"""`lindos logits`: the same numbers from every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lindos.cli.main import app
from lindos.model import KVCache
from lindos.model.formats import FormatError, convert, load_model
from lindos.specs import LindosError
from tests.model.checkpoints import mini, write_official


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["logits", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    arrays, config, _, _ = mini()
    return write_official(tmp_path_factory.mktemp("mini") / "mini", arrays, config)


def test_logits_of_every_format_equal_the_release(official, tmp_path):
    _, _, tokens, expected = mini()
    row, wanted = tokens[1], expected[1]
    directories = [official]
    for to in ("own", "sglang", "keyfan"):
        directories.append(convert(official, tmp_path / to, to=to, verify=False).destination)
    for directory in directories:
        out = tmp_path / "logits.npy"
        result = invoke(directory, "--tokens", ",".join(map(str, row)), "--dtype", "fp32", "--out", out)
        assert result.exit_code == 0, result.output
        found = np.load(out)
        assert found.dtype == np.float32
        assert found.shape == (12, 96)
        assert np.abs(found - wanted)[row != 0].max() < 1e-4
        out.unlink()


def test_matrix_by_matrix_gives_the_same_logits(official, tmp_path):
    _, _, tokens, expected = mini()
    directories = [official]
    directories.append(convert(official, tmp_path / "own", verify=False).destination)
    directories.append(convert(official, tmp_path / "sglang", to="sglang", verify=False).destination)
    directories.append(convert(official, tmp_path / "int8", dtype="int8", verify=False).destination)
    found: list[np.ndarray] = []
    for directory in directories:
        found = []
        for how in ("--stream", "--in-memory"):
            out = tmp_path / f"{how}.npy"
            result = invoke(directory, "--tokens", ",".join(map(str, tokens[1])), how, "--out", out)
            assert result.exit_code == 0, result.output
            found.append(np.load(out))
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - expected[1])[tokens[1] != 0].max() > 1e-3  # int8 is another model, streamed or not


def test_a_model_larger_than_memory_is_read_matrix_by_matrix(official, tmp_path, monkeypatch):
    monkeypatch.setattr("lindos.kernels.available_memory", lambda: 100 << 20)
    result = invoke(official, "--tokens", "5,17", "--out", tmp_path / "it.npy")
    assert isinstance(result.exception, FormatError)
    assert "even matrix by matrix it takes about 0.5 GB" in str(result.exception)


def test_the_golden_official_checkpoint(shared, tmp_path):
    folder = shared / "golden" / "official-checkpoint"
    golden = np.load(folder / "logits.npz")
    tokens = golden["tokens"][0]
    for directory in (folder, folder / "ckpt-0"):
        result = invoke(directory, "--tokens", " ".join(map(str, tokens)), "--out", tmp_path / "here.npy")
        assert result.exit_code == 0, result.output
        found = np.load(tmp_path / "here.npy")
        assert np.abs(found - golden["logits_f32"][0])[tokens != 0].max() < 1e-4


@torch.inference_mode()
def test_the_golden_official_checkpoint_token_by_token(shared):
    folder = shared / "golden" / "official-checkpoint"
    golden = np.load(folder / "logits.npz")
    model = load_model(folder, dtype=torch.float32)
    tokens = torch.from_numpy(golden["tokens"]).long()
    cache = KVCache(model.spec, *tokens.shape)
    found = torch.cat([model(tokens[:, t : t + 1], cache=cache) for t in range(tokens.shape[1])], 1).numpy()
    assert np.abs(found - golden["logits_f32"])[golden["tokens"] != 0].max() < 1e-4


def test_bf16_computes_in_bf16_and_writes_float32(official, tmp_path):
    for dtype in ("fp32", "bf16"):
        result = invoke(official, "--tokens", "5,17,9", "--dtype", dtype, "--out", tmp_path / dtype)
        assert result.exit_code == 0, result.output
    full, half = np.load(tmp_path / "fp32"), np.load(tmp_path / "bf16")  # the name is taken as it is given
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [("5,96", "vocabulary of 96"), ("5,-1", "not a token id"), ("5,x", "not a token id"), (",", "no tokens given"),
     ("5,1e3", "not a token id"), ("9999999999999", "not a token id"), ("٣", "not a token id")],
)  # fmt: skip
def test_tokens_that_are_none(official, tmp_path, tokens, message):
    result = invoke(official, f"--tokens={tokens}", "--out", tmp_path / "it.npy")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_longer_than_meant_is_noted_and_a_bad_place_is_an_error(official, tmp_path):
    result = invoke(official, "--tokens", "5," * 13, "--out", tmp_path / "it.npy")
    assert result.exit_code == 0
    assert "12 at most" in result.output
    for out, words in ((tmp_path / "none" / "it.npy", "cannot be written"), (tmp_path, "is a directory")):
        result = invoke("a model nobody looks for yet", "--tokens", "5", "--out", out)
        assert isinstance(result.exception, LindosError)
        assert words in str(result.exception)

"""From directories to engines, and the reasons why not; in this process, to save the time of starting others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lindos.engine import EngineError, EngineOptions, RequestError, Sampling
from lindos.engine.loading import LoadedEngine, load_engine
from lindos.specs import LindosError


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def load(directory: Path, **options: Any) -> LoadedEngine:
    return load_engine(directory, EngineOptions(**options), lambda _message, _fraction: None)


@pytest.fixture
def copy(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A model directory to damage."""
    shutil.copytree(tiny_model_dir, tmp_path / "copy")
    return tmp_path / "copy"


def answer(engine: LoadedEngine, tokens: list[int]) -> tuple[str, list[int]]:
    sampling = Sampling(temperature=0, max_tokens=5, ignore_end=True)
    engine.core.add(engine.builder.build(1, {"tokens": tokens}, asdict(sampling)))
    events = []
    while not engine.core.idle:
        events += engine.core.step()
    return "".join(event.text for event in events), [token for event in events for token in event.ids]


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(LindosError, match="not a model directory"):
        load(tmp_path)
    with pytest.raises(LindosError, match="does not exist"):
        load(tmp_path / "nowhere")


def test_a_description_with_a_misspelt_field(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["spec"]["layerss"] = 3
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LindosError, match="did you mean 'layers'"):
        load(copy)


def test_a_damaged_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(LindosError, match=r"tokenizer\.json"):
        load(copy)


def test_weights_that_are_no_numbers(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["layers.0.attention.query"][3, 3] = float("nan")
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(LindosError, match="not finite"):
        load(copy)


def test_sizes_that_cannot_be(tiny_model_dir: Path) -> None:
    with pytest.raises(EngineError, match=r"context 100,000 exceeds what tiny was made for \(256\)"):
        load(tiny_model_dir, context=100_000)
    with pytest.raises(EngineError, match="cannot hold one full context"):
        load(tiny_model_dir, kv_tokens=100)
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="no accelerator"):
            load(tiny_model_dir, device="cuda")


def test_sizes_that_were_asked_for(tiny_model_dir: Path) -> None:
    engine = load(tiny_model_dir, context=100, kv_tokens=128, dtype="bf16", threads=1, device="cpu")
    assert (engine.info.context, engine.info.dtype, engine.info.threads) == (100, "bf16", 1)
    assert engine.core.stats().kv_budget == 128
    with pytest.raises(RequestError, match="holds 100"):
        engine.builder.build(1, {"tokens": [5] * 100}, {})


def test_a_model_without_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    engine = load(copy)
    assert engine.info.template is None
    text, ids = answer(engine, [5, 6])
    assert (text, len(ids)) == ("", 5)


def test_a_base_model_says_what_it_is(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["spec"]["kind"] = "base"
    (copy / "config.json").write_text(json.dumps(config))
    info = load(copy).info
    assert (info.kind, info.template) == ("base", "labelled-turns")
    assert "base model" in info.note


def test_a_chat_model_without_role_tokens_is_not_called_a_base_model(copy: Path) -> None:
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text.replace("<|assistant|>", "<|helper|>"))
    info = load(copy).info
    assert (info.kind, info.template) == ("chat", "labelled-turns")
    assert "no role tokens" in info.note
    assert "base model" not in info.note


def test_the_number_format_suits_model_and_machine(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tiny_model_dir, device="cpu").info.dtype == "fp32"
    monkeypatch.setattr("lindos.engine.loading.SMALL", 0)  # now it counts as a large one
    for units, memory, found in ((True, 1 << 40, "bf16"), (False, 1 << 40, "fp32"), (False, 1 << 28, "fp32")):
        monkeypatch.setattr("lindos.engine.loading.multiplies_bf16", lambda _device, units=units: units)
        monkeypatch.setattr("lindos.engine.loading.available_memory", lambda memory=memory: memory)
        assert load(tiny_model_dir, device="cpu").info.dtype == found, (units, memory)
    monkeypatch.setattr("lindos.engine.loading.available_memory", lambda: 100_000)  # fp32 would not fit
    assert load(tiny_model_dir, device="cpu", kv_tokens=256).info.dtype == "bf16"


def test_options_are_whole_numbers() -> None:
    for odd in (True, 0, 1.5):
        with pytest.raises(EngineError, match="max_running"):
            EngineOptions(max_running=odd)  # type: ignore[arg-type]

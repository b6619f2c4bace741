"""The engine serves Grok-2, Mixtral and Qwen3-MoE with the results of the model's own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lindos.engine import Sampling
from lindos.engine.blocks import BlockPool
from lindos.engine.core import EngineCore
from lindos.engine.interface import EngineOptions
from lindos.engine.loading import LoadedEngine, load_engine
from lindos.engine.network import TorchNetwork
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler, Work
from lindos.model import Transformer
from lindos.model.formats import convert, load_model
from tests.model import neighbours
from tests.model.grok2 import grok2_model
from tests.text.families import as_table, sentencepiece_model

KINDS = [
    "grok-2",
    *(f"mixtral: {name}" for name in neighbours.MIXTRAL),
    *(f"qwen3: {name}" for name in neighbours.QWEN3),
]
PROMPTS = [[1], [5, 6, 7], [9 + 3 * i % 50 for i in range(30)], [2 + 7 * i % 58 for i in range(61)]]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    kind, _, name = request.param.partition(": ")
    if kind == "grok-2":
        return grok2_model()
    folder = tmp_path_factory.mktemp("peer") / "it"
    make, cases = {"mixtral": (neighbours.mixtral, neighbours.MIXTRAL), "qwen3": (neighbours.qwen3, neighbours.QWEN3)}[
        kind
    ]
    make(folder, **cases[name])
    return load_model(folder, dtype=torch.float32)


def asked(number: int, tokens: list[int], limit: int = 12) -> Request:
    return Request(number, list(tokens), limit, Sampling(temperature=0, ignore_end=True), OutputText(None, ()))


@pytest.mark.parametrize("step", [5, 300])
def test_a_batch_gives_each_what_one_pass_gives(model: Transformer, step: int) -> None:
    pool = BlockPool(4096)
    core = EngineCore(Runner(TorchNetwork(model), pool.total), Scheduler(pool, max_running=4, step_tokens=step))
    for number, prompt in enumerate(PROMPTS):
        core.add(asked(number, prompt))
    found: dict[int, list[int]] = {}
    while not core.idle:
        for event in core.step():
            assert event.error is None
            found.setdefault(event.id, []).extend(event.ids)
    for number, prompt in enumerate(PROMPTS):
        ids = found[number]
        assert len(ids) == 12
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *ids[:-1]]]))[0, len(prompt) - 1 :]
        assert ids == logits.argmax(-1).tolist()


@pytest.mark.parametrize("cuts", [(61,), (1, 60, 61), (20, 40, 61), (60, 61)])
def test_logits_equal_the_models_however_a_prompt_is_cut(model: Transformer, cuts: tuple[int, ...]) -> None:
    """One new token and several take different ways through attention and experts."""
    prompt, runner = PROMPTS[3], Runner(TorchNetwork(model), 1)
    one, start = asked(0, prompt), 0
    one.blocks = [0]
    logits = torch.empty(0)
    for end in cuts:
        logits = runner.run([Work(one, start, end)])
        start = one.cached = end
    with torch.inference_mode():
        expected = model(torch.tensor([prompt]))[0, -1]
    torch.testing.assert_close(logits[0], expected, atol=1e-4, rtol=0)


def loaded(folder: Path) -> LoadedEngine:
    return load_engine(folder, EngineOptions(device="cpu", threads=1), lambda *_: None)


def greedy(engine: LoadedEngine, prompt: dict[str, Any]) -> tuple[list[int], list[int]]:
    """(the prompt's tokens, six of the answer)."""
    request = engine.builder.build(1, prompt, {"temperature": 0, "max_tokens": 6, "ignore_end": True})
    asked = list(request.tokens)
    engine.core.add(request)
    ids: list[int] = []
    while not engine.core.idle:
        ids += [token for event in engine.core.step() for token in event.ids]
    return asked, ids


def test_a_directory_as_transformers_saved_it_is_served(tmp_path: Path) -> None:
    peer = neighbours.mixtral(tmp_path / "it", **neighbours.MIXTRAL["large and few"])
    engine = loaded(tmp_path / "it")
    assert (engine.info.name, engine.info.context, engine.info.template) == ("it", 128, None)
    prompt, ids = greedy(engine, {"tokens": PROMPTS[2]})
    with torch.inference_mode():
        logits = peer(torch.tensor([[*prompt, *ids[:-1]]])).logits[0, len(prompt) - 1 :]
    assert ids == logits.argmax(-1).tolist()


@pytest.mark.parametrize("file", ["tokenizer.model", "tokenizer.json"])
def test_tokenizer_and_template_go_along_when_it_is_converted(file: str, tmp_path: Path) -> None:
    peer = neighbours.mixtral(tmp_path / "peer", **neighbours.MIXTRAL["large and few"], vocab_size=420)
    pieces = sentencepiece_model()
    data = pieces if file == "tokenizer.model" else as_table(pieces).encode()
    (tmp_path / "peer" / file).write_bytes(data)
    (tmp_path / "peer" / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    convert(tmp_path / "peer", tmp_path / "own")
    convert(tmp_path / "peer", tmp_path / "given", tokenizer=tmp_path / "peer" / file, verify=False)
    answers = []
    for folder in ("peer", "own", "given"):
        assert (tmp_path / folder / file).read_bytes() == data
        engine = loaded(tmp_path / folder)
        assert (engine.info.kind, engine.info.template) == ("chat", "instructions")
        answers.append(greedy(engine, {"messages": [{"role": "user", "content": "the old house"}]}))
    prompt, ids = answers[0]
    assert answers == [answers[0]] * 3
    assert prompt[0] == 1
    with torch.inference_mode():
        logits = peer(torch.tensor([[*prompt, *ids[:-1]]])).logits[0, len(prompt) - 1 :]
    assert ids == logits.argmax(-1).tolist()

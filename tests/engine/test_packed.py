"""Quantised models in the engine: what the kernels compute is what the weights say, alone and together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lindos.engine.blocks import BlockPool
from lindos.engine.core import EngineCore
from lindos.engine.interface import EngineOptions, Sampling
from lindos.engine.loading import load_engine
from lindos.engine.network import Network, TorchNetwork
from lindos.engine.output import OutputText
from lindos.engine.packed import PackedNetwork
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler, Work
from lindos.kernels.choosing import VARIABLE, available_kernels
from lindos.kernels.products import products
from lindos.model import Transformer, initialise
from lindos.model.formats import convert, load_model, save_model
from lindos.model.formats.opening import open_source
from lindos.model.formats.packedfiles import PackedSource
from lindos.specs import ModelSpec

GROK = ModelSpec(
    name="small-grok",
    layers=3,
    width=96,
    vocabulary=150,
    sequence=256,
    heads=6,
    kv_heads=2,
    head_size=16,
    experts=4,
    experts_per_token=2,
    expert_width=80,
    embedding_multiplier=9.8,
    logit_multiplier=0.577,
    attention_softcap=30.0,
    pad_token=0,
)
QWEN = GROK.model_copy(
    update={
        "name": "small-qwen",
        "experts": 16,
        "experts_per_token": 4,
        "expert_width": 24,
        "norms_per_layer": 2,
        "query_key_norms": True,
        "activation": "silu",
        "renormalise_gates": True,
        "tied_head": False,
        "attention_softcap": None,
    }
)
GROK2 = GROK.model_copy(
    update={
        "name": "small-grok-2",
        "shared_width": 40,
        "shared_multiplier": 0.7,
        "router_softcap": 30.0,
        "logit_softcap": 50.0,
        "attention_temperature_length": 5,
    }
)
PROMPT = [5, 17, 2, 99, 3, 3, 140, 21, 8, 60, 77, 12, 31]
PADDED = [5, 17, 0, 99, 3, 3, 140, 21, 0, 60, 77, 12]
"""Padding is not looked at."""


@pytest.fixture(scope="module", params=[GROK, QWEN, GROK2], ids=lambda spec: spec.name)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param.name
    model = Transformer(request.param)
    initialise(model, seed=11)
    save_model(model, folder)
    return folder


@pytest.fixture(scope="module", params=["int4", "int8", "bf16"])
def quantised(request: pytest.FixtureRequest, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / request.param
    convert(plain, folder, quantise=request.param)
    return folder


def network(folder: Path, kernels: str) -> PackedNetwork:
    source = open_source(folder)
    assert isinstance(source, PackedSource)
    return PackedNetwork(source, products(kernels, 2))


def request(number: int, tokens: list[int], limit: int = 12) -> Request:
    return Request(number, list(tokens), limit, Sampling(temperature=0), OutputText(None, ()))


def logits(net: Network, tokens: list[int], cut: int) -> torch.Tensor:
    """Of the last token, after a prompt that came in two pieces."""
    one, runner = request(0, tokens), Runner(net, 1)
    one.blocks = [0]
    if cut:
        runner.run([Work(one, 0, cut)])
    return runner.run([Work(one, cut, len(tokens))])[0]


@pytest.mark.parametrize("kernels", [*available_kernels(), "torch"])
@pytest.mark.parametrize("prompt", [PROMPT, PADDED], ids=["plain", "padded"])
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_logits_are_those_of_the_widened_weights(quantised: Path, kernels: str, prompt: list[int], cut: int):
    expected = logits(TorchNetwork(load_model(quantised, dtype=torch.float32)), prompt, 0)
    net = network(quantised, kernels)
    assert net.kv_dtype == (torch.float32 if kernels == "torch" else torch.bfloat16)
    rounded = logits(net, prompt, cut)
    net.kv_dtype = torch.float32
    found = logits(net, prompt, cut)
    bf16 = quantised.name == "bf16"
    # Inputs of quantised products are rounded to int8: half a percent each, which random layers add up and amplify.
    error = float((found - expected).norm() / expected.norm())
    assert error < (1e-5 if bf16 else 0.1)
    assert float((rounded - found).norm() / expected.norm()) < (0.01 if bf16 else 0.1)


@pytest.mark.parametrize("kernels", [*available_kernels(), "torch"])
def test_every_matrix_has_its_multiplier(plain: Path, kernels: str, tmp_path: Path):
    convert(plain, tmp_path / "int8", quantise="int8")
    before = logits(network(tmp_path / "int8", kernels), PROMPT, 0)
    config = tmp_path / "int8" / "config.json"
    table = json.loads(config.read_text())
    parts = {"attention.query": 4.0, "attention.key": 0.5, "attention.value": 2.0, "attention.output": 0.25}
    multipliers = {f"layers.{layer}.{name}": factor for layer in range(3) for name, factor in parts.items()}
    multipliers |= {"layers.1.experts.gate.2": 4.0, "embedding": 0.5}
    multipliers |= {} if "tied_head" in table["spec"] and table["spec"]["tied_head"] else {"head": 2.0}
    multipliers |= {"layers.0.shared.gate": 2.0} if table["spec"]["shared_width"] else {}
    config.write_text(json.dumps(table | {"multipliers": multipliers}))
    expected = logits(TorchNetwork(load_model(tmp_path / "int8", dtype=torch.float32)), PROMPT, 0)
    found = logits(network(tmp_path / "int8", kernels), PROMPT, 0)
    assert float((found - expected).norm() / expected.norm()) < 0.1
    assert float((before - expected).norm() / expected.norm()) > 0.2


@pytest.mark.parametrize("kernels", available_kernels())
def test_who_else_is_in_the_batch_does_not_matter(quantised: Path, kernels: str):
    def answers(prompts: list[list[int]]) -> list[list[int]]:
        pool = BlockPool(4096)
        runner = Runner(network(quantised, kernels), pool.total)
        core = EngineCore(runner, Scheduler(pool, max_running=8, step_tokens=16))
        requests = [request(number, prompt) for number, prompt in enumerate(prompts)]
        for one in requests:
            core.add(one)
        while not core.idle:
            core.step()
        return [one.tokens[one.prompt_tokens :] for one in requests]

    prompts = [PROMPT[at:] + PROMPT[:at] for at in range(5)] + [PADDED]
    assert answers(prompts) == [answers([prompt])[0] for prompt in prompts]


@pytest.mark.parametrize("kernels", [*available_kernels()[:1], "torch"])
def test_it_loads_as_any_model(quantised: Path, kernels: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, kernels)
    fractions: list[float] = []
    threads = torch.get_num_threads()
    try:
        engine = load_engine(quantised, EngineOptions(threads=2), lambda _, fraction: fractions.append(fraction))
    finally:
        torch.set_num_threads(threads)
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1
    assert engine.info.kernels == kernels
    assert engine.info.dtype == (quantised.name if kernels != "torch" else "fp32")
    assert engine.info.note == ""
    engine.core.add(request(1, PROMPT))
    events = []
    while not engine.core.idle:
        events += engine.core.step()
    assert events[-1].finish == "length"

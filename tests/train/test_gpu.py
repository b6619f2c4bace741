"""On an accelerator: a rank computes what a processor does, and holds what its rehearsal said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lindos.data import Batch
from lindos.model import Transformer, initialise
from lindos.specs import Layout, ModelSpec
from lindos.train.dryrun import trace
from lindos.train.observing import Observer
from lindos.train.optimizer import Optimizer
from lindos.train.parallel.building import Computing, build_stages, fill, fresh
from lindos.train.parallel.learning import ParallelLearner, passes_of
from lindos.train.parallel.mesh import Mesh, forget_groups
from lindos.train.parallel.weights import ShardedWeights
from lindos.train.run_file import OptimizerSection
from lindos.train.stage import Purpose, Stage
from lindos.train.step import PlainLearner

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")]
ADAM = OptimizerSection(lr=1e-4)
PURPOSE = Purpose(z_loss=1e-4, balance=0.01, router_z=1e-3)
FORMS = {
    "mixture": {"experts": 8, "experts_per_token": 2, "expert_width": 2816},
    "dense": {"layers": 12, "dense_layers": 12, "dense_width": 5632},
}


def spec_of(name: str, **changes: int) -> ModelSpec:
    fields = {
        "name": name, "layers": 8, "width": 2048, "vocabulary": 32768, "sequence": 4096, "heads": 16, "kv_heads": 8,
        "head_size": 128, "attention_softcap": 30.0, "attention_multiplier": 0.088, "norms_per_layer": 2,
    }  # fmt: skip
    return ModelSpec.model_validate(fields | FORMS[name] | changes)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one rank."""
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    forget_groups()
    dist.destroy_process_group()


def batch_of(spec: ModelSpec, rows: int, sequence: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, spec.vocabulary, (rows, sequence + 1), generator=generator).numpy()
    return Batch(tokens, torch.ones(rows, sequence, dtype=torch.bool).numpy())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("name", FORMS)
def test_a_rank_holds_what_was_rehearsed(alone: None, tmp_path: Path, name: str, recompute: str):
    device, layout, sequence, rounds = torch.device("cuda", 0), Layout(recompute=recompute), 4096, 2  # type: ignore[arg-type]
    spec = spec_of(name)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    mesh = Mesh(layout, device="cuda")
    computing = Computing(device, torch.bfloat16, on_device=True, lean=True)
    stages, pieces = build_stages(spec, layout, mesh, PURPOSE, computing)
    fill(stages, pieces, device, fresh(spec, 1, torch.bfloat16))
    weights = ShardedWeights(stages, pieces, mesh)
    optimizer = Optimizer(weights, ADAM)
    learner = ParallelLearner(stages, weights, mesh, 1, passes_of(stages, layout, mesh, device, torch.bfloat16), device)
    batch, observer = batch_of(spec, rounds, sequence), Observer()
    for step in range(2):
        learner.learn(batch)
        optimizer.step(step, 1.0)
    held = torch.cuda.max_memory_allocated() - before
    with observer.watching():
        learner.learn(batch)
    del learner, optimizer, weights, stages
    forget_groups()
    dist.destroy_process_group()
    try:
        seen = trace(spec, layout, sequence, ADAM, 0, rounds)
    finally:
        # For the fixture, which gives up what it opened.
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/again", rank=0, world_size=1)
    print(
        f"{name}, recompute {recompute}: {held / 2**30:.2f} GiB held, {seen.peak / 2**30:.2f} rehearsed {seen.memory}"
    )
    assert held == pytest.approx(seen.peak, rel=0.05)
    assert sum(observer.flops.values()) == pytest.approx(seen.total_flops, rel=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_rank_computes_what_a_processor_does(alone: None, name: str):
    device, layout, spec = (
        torch.device("cuda", 0),
        Layout(micro_batch=2),
        spec_of(name, layers=2, width=256, **({"dense_layers": 2} if name == "dense" else {})),
    )
    batch = batch_of(spec, 4, 256)
    model = Transformer(spec)
    initialise(model, 1)
    expected = PlainLearner(Stage(model, PURPOSE), 2).learn(batch)
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    mesh = Mesh(layout, device="cuda")
    computing = Computing(device, torch.bfloat16, on_device=True, lean=True)
    stages, pieces = build_stages(spec, layout, mesh, PURPOSE, computing)
    fill(stages, pieces, device, fresh(spec, 1, torch.bfloat16))
    weights = ShardedWeights(stages, pieces, mesh)
    learner = ParallelLearner(stages, weights, mesh, 2, passes_of(stages, layout, mesh, device, torch.bfloat16), device)
    found = learner.learn(batch)
    assert found.loss == pytest.approx(expected.loss, rel=2e-3)
    assert found.router_loss == pytest.approx(expected.router_loss, rel=1e-2)
    for key, gradient in weights.gradients.items():
        reference = gradients[key]
        assert reference is not None
        off = (gradient.cpu() - reference).norm() / reference.norm()
        assert off < 0.08, (key, float(off))

"""What the processes of a pool are told to do, and the same on one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import lindos.train.optimizer
from lindos.data import Batch
from lindos.model import Transformer, initialise
from lindos.specs import Layout, ModelSpec, SpecError
from lindos.train.dryrun import by_name, group_names
from lindos.train.observing import Observer
from lindos.train.optimizer import MasterWeights, Optimizer
from lindos.train.parallel.building import Computing, build_stages, fill, fresh
from lindos.train.parallel.learning import ParallelLearner, passes_of
from lindos.train.parallel.mesh import Mesh
from lindos.train.parallel.weights import ShardedWeights
from lindos.train.ranks import Ranks
from lindos.train.run_file import OptimizerSection
from lindos.train.stage import Purpose, Stage
from lindos.train.step import PlainLearner, micro_batches

SETTINGS = OptimizerSection(lr=1e-2, clip=0.5, eps=1e-4)
"""With a smaller eps Adam gives every weight the same step, were its gradient only noise."""
MUON = OptimizerSection(kind="muon", lr=1e-2, clip=0.5, eps=1e-4)
CPU = torch.device("cpu")
PURPOSE = Purpose(z_loss=1e-3, balance=0.1, router_z=1e-2)


@dataclass(frozen=True)
class Case:
    """A run of a few steps."""

    spec: ModelSpec
    layout: Layout
    batch: int = 8
    sequence: int = 32
    steps: int = 3
    share: float = 1.0
    """Of tokens that count."""
    purpose: Purpose = PURPOSE
    optimizer: OptimizerSection = SETTINGS

    def __str__(self) -> str:
        told = (f"{key}={value}" for key, value in self.layout.model_dump(exclude_defaults=True).items())
        return "-".join((*told, str(self.share)))

    def rows(self, step: int) -> Batch:
        rng = np.random.default_rng((step, 7))
        tokens = rng.integers(1, self.spec.vocabulary, (self.batch, self.sequence + 1))
        if self.purpose.pad_token is not None:
            for row, length in zip(
                tokens, rng.integers(self.sequence // 2, self.sequence + 2, self.batch), strict=True
            ):
                row[length:] = self.purpose.pad_token
        mask = rng.random((self.batch, self.sequence)) < self.share
        return Batch(tokens, mask)

    def rows_of(self, step: int, index: int) -> Batch:
        """Those of one data rank: micro-batches are dealt out in turn."""
        batch, data, rows = self.rows(step), self.layout.data, self.layout.micro_batch
        mine = np.arange(self.batch).reshape(-1, data, rows)[:, index].reshape(-1)
        return Batch(batch.tokens[mine], batch.loss_mask[mine])


@dataclass
class Trace:
    """Losses of each step, gradients of each step by name, and the weights at the end."""

    results: list[Any]
    gradients: list[dict[str, Any]]
    weights: dict[str, Any]


def alone(case: Case) -> Trace:
    """The run on one process."""
    model = Transformer(case.spec)
    initialise(model, 1)
    learner = PlainLearner(Stage(model, case.purpose), case.layout.micro_batch)
    master = MasterWeights(model)
    return _steps(case, learner, master, lambda step: case.rows(step), lambda _name, x: x.numpy().copy())


def shared(case: Case) -> Trace:
    """The run on this rank of the pool; tensors are (where they lie in the whole, values)."""
    mesh = Mesh(case.layout)
    computing = Computing(CPU, torch.float32)
    stages, pieces = build_stages(case.spec, case.layout, mesh, case.purpose, computing)
    fill(stages, pieces, CPU, fresh(case.spec, 1, torch.float32))
    weights = ShardedWeights(stages, pieces, mesh)
    passes = passes_of(stages, case.layout, mesh, CPU, torch.float32)
    learner = ParallelLearner(stages, weights, mesh, case.layout.micro_batch, passes, CPU)
    return _steps(
        case,
        learner,
        weights,
        lambda step: case.rows_of(step, mesh.data_index),
        lambda name, x: (pieces[name].slices, pieces[name].shape, x.numpy().copy()),
    )


def watched(case: Case) -> tuple[dict[str, float], dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """Products and exchanges of one real step on this rank: operations, times, bytes."""
    mesh = Mesh(case.layout)
    computing = Computing(CPU, torch.float32, lean=True)
    stages, pieces = build_stages(case.spec, case.layout, mesh, case.purpose, computing)
    fill(stages, pieces, CPU, fresh(case.spec, 1, torch.float32))
    weights = ShardedWeights(stages, pieces, mesh)
    optimizer = Optimizer(weights, SETTINGS)
    passes = passes_of(stages, case.layout, mesh, CPU, torch.float32)
    batches = micro_batches(case.rows_of(0, mesh.data_index), case.layout.micro_batch, CPU)
    passes(batches, False)  # the first time neighbours ask each other what they know
    for stage in stages:
        stage.begin(case.batch * case.sequence, len(batches))
    passes(batches, True)
    weights.collect()
    weights.clear()
    observer = Observer()
    for stage in stages:
        stage.begin(case.batch * case.sequence, len(batches))
    with observer.watching():
        passes(batches, True)
        weights.collect()
        optimizer.step(0, 1.0, norm=1.0)
    names = group_names(mesh)
    return dict(observer.flops), by_name(observer.counts, names), by_name(observer.moved, names)


def _exact() -> None:
    """Muon's iteration in fp32 wherever it runs: bf16 shows the last bit of its input in its third digit."""
    lindos.train.optimizer.product_dtype = lambda _device: torch.float32


def _steps(case: Case, learner: Any, master: Any, rows: Any, kept: Any) -> Trace:
    optimizer = Optimizer(master, case.optimizer)
    _exact()
    trace = Trace([], [], {})
    for step in range(case.steps):
        result = learner.learn(rows(step))
        trace.gradients.append({name: kept(name, each) for name, each in master.gradients.items()})
        norm = optimizer.step(step, 1.0)
        trace.results.append((result, norm))
    trace.weights = {name: kept(name, each) for name, each in master.masters.items()}
    return trace


def whole(parts: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Tensors from the pieces of all ranks; every element must be somebody's, and the same wherever it is."""
    found: dict[str, np.ndarray] = {}
    for part in parts:
        for name, (slices, shape, values) in part.items():
            into = found.setdefault(name, np.full(shape, np.nan, np.float32))
            before = into[slices]
            same = np.isnan(before) | np.isclose(before, values, rtol=1e-5, atol=1e-7)
            assert same.all(), f"{name}: ranks differ by {np.nanmax(np.abs(before - values))}"
            into[slices] = values
    for name, values in found.items():
        assert not np.isnan(values).any(), f"{name}: nobody holds some of it"
    return found


def unlike() -> str:
    """What a rank is told where the second one has something else."""
    ranks = Ranks.all()
    ranks.alike({"precision": "bf16"})
    try:
        ranks.alike({"precision": "bf16" if ranks.first else "fp32", "fused": True})
    except SpecError as error:
        return str(error)
    return ""

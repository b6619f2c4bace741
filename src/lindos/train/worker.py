"""What one process of a run works with: a whole model on its own, or a part of one among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from lindos.model import Transformer, initialise
from lindos.model.formats import load_model, open_source
from lindos.specs import ModelSpec, SpecError
from lindos.train.machine import Platform
from lindos.train.optimizer import MasterWeights, Weights
from lindos.train.parallel.building import Computing, Values, build_stages, fill, fresh
from lindos.train.parallel.learning import ParallelLearner, passes_of
from lindos.train.parallel.mesh import Mesh
from lindos.train.parallel.pieces import Piece
from lindos.train.parallel.weights import ShardedWeights
from lindos.train.run_file import RunFile
from lindos.train.stage import Purpose, Stage
from lindos.train.step import Learner, PlainLearner


@dataclass(frozen=True)
class Worker:
    """A process's part of a run."""

    learner: Learner
    weights: Weights
    model: Transformer | None
    """The whole network, where this process has it."""
    data_index: int = 0
    """Which of the `data_ranks` that see different sequences it is."""
    data_ranks: int = 1


def make_worker(run: RunFile, platform: Platform, purpose: Purpose) -> Worker:
    """The worker of this process, with the weights that the run begins with. Raises SpecError."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    if run.layout.world != processes:
        raise SpecError(
            f"layout: replicas * shards * tensor * pipeline * context = {run.layout.world}, but "
            f"{'one process runs' if processes == 1 else f'{processes} processes run'}; start so many with torchrun, "
            "or change the layout"
        )
    if processes == 1:
        return _alone(run, platform, purpose)
    mesh = Mesh(run.layout, device=platform.device.type)
    computing = Computing(
        platform.device, platform.dtype, on_device=platform.device.type == "cuda", lean=platform.device.type == "cuda"
    )
    stages, pieces = build_stages(run.spec, run.layout, mesh, purpose, computing)
    values = _started(Path(run.start)) if run.start else fresh(run.spec, run.seed, platform.dtype)
    fill(stages, pieces, platform.device, values)
    weights = ShardedWeights(stages, pieces, mesh)
    passes = passes_of(stages, run.layout, mesh, platform.device, platform.dtype)
    learner = ParallelLearner(stages, weights, mesh, run.data.micro_batch, passes, platform.device)
    return Worker(learner, weights, None, mesh.data_index, mesh.data.size)


def _alone(run: RunFile, platform: Platform, purpose: Purpose) -> Worker:
    if run.start:
        model = load_model(Path(run.start), dtype=platform.dtype, device=platform.device)
        # Of one shape, but what it is called and made for is what this run says.
        model.spec = run.spec
    else:
        model = Transformer(run.spec, dtype=platform.dtype, device=platform.device)
        initialise(model, run.seed)
    learner = PlainLearner(Stage(model, purpose), run.data.micro_batch, device=platform.device)
    return Worker(learner, MasterWeights(model), model)


def _started(directory: Path) -> Values:
    """The weights of a model directory, of which each rank reads what it needs."""
    source = open_source(directory)

    def values(piece: Piece) -> Tensor:
        rows, *others = piece.slices
        return source.read(piece.name, rows)[(slice(None), *others)].float()

    return values


def start_spec(run: RunFile) -> ModelSpec:
    """The network of the model that a run starts from."""
    return open_source(Path(run.start)).spec


def whole_shapes(spec: ModelSpec) -> dict[str, Sequence[int]]:
    """Every weight of the whole model."""
    model = Transformer(spec, device="meta", dtype=torch.float32)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

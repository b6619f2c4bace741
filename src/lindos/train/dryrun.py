"""A dry run: the training code itself, as one rank of any number, on tensors without values.

Nothing is computed and nobody answers: PyTorch's fake process group and fake tensors carry shapes only. What the code
would multiply, exchange and hold is watched (`observing`). A few layers and micro-batches are enough: all layers of a
kind do the same, so the rest follows along a line, from a rehearsal with one and one with two of each.
"""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage
from torch.testing._internal.distributed.fake_pg import FakeStore

from lindos.model.lean_attention import Blocks
from lindos.specs import Layout, ModelSpec, SpecError
from lindos.train.observing import Exchanged, Observer
from lindos.train.optimizer import Optimizer, state_kinds
from lindos.train.parallel.building import Computing, build_stages
from lindos.train.parallel.learning import MicroBatches, passes_of
from lindos.train.parallel.mesh import Group, Mesh, forget_groups, place_of
from lindos.train.parallel.weights import ShardedWeights, local
from lindos.train.run_file import OptimizerSection, check_layout
from lindos.train.stage import Purpose, Stage

CPU = torch.device("cpu")
BEFORE, UPPER, LEAVING, AFTER = "before", "passes", "last gradients leave", "optimizer"
"""Phases of a step, each with a peak of its own: the lowest layer and the ends are the last to give gradients."""
PURPOSE = Purpose(z_loss=1e-4, balance=0.01, router_z=1e-3)


@dataclass(frozen=True)
class Rehearsed:
    """What one rank would do in one step."""

    rank: int
    flops: dict[str, float]
    """By kind of product."""
    counts: dict[tuple[str, str], float]
    """Exchanges by operation and group."""
    moved: dict[tuple[str, str], float]
    """Bytes of the same through the rank's link."""
    peaks: dict[str, dict[str, float]]
    """Bytes by kind when most are held, of every phase of the step: the largest of all is another one in a deeper
    network than in a shallow one."""
    timeline: tuple[dict[str, int], ...] = ()
    """Bytes by kind after every event, of the largest rehearsal."""

    @property
    def memory(self) -> dict[str, float]:
        """Bytes by kind when most are held."""
        return max(self.peaks.values(), key=lambda held: sum(held.values()))

    @property
    def peak(self) -> float:
        return sum(self.memory.values())

    @property
    def total_flops(self) -> float:
        return sum(self.flops.values())


def rehearse(
    spec: ModelSpec, layout: Layout, *, batch: int, sequence: int, optimizer: OptimizerSection, rank: int = 0
) -> Rehearsed:
    """What `rank` would do in a step of this run. Raises SpecError where the layout does not divide."""
    check_layout(layout, spec, batch=batch, sequence=sequence)
    if not 0 <= rank < layout.world:
        raise SpecError(f"there is no rank {rank} among {layout.world:,}")
    rounds = batch // (layout.data * layout.micro_batch)
    layers = _layers_of(spec, layout, rank)
    if 0 < spec.dense_layers < spec.layers:  # two kinds of layers: no line to follow
        return trace(spec, layout, sequence, optimizer, rank, rounds)
    few, many = _rounds(rounds, layout)
    # Where weights are gathered again and again, that of the next layer happens while this one computes: shorter
    # networks are another matter.
    one = 2 if layout.pipeline > 1 else 3
    depths = [one * layout.virtual_stages, (one + 1) * layout.virtual_stages]
    if layers <= depths[1]:
        one, two = (trace(spec, layout, sequence, optimizer, rank, count) for count in (few, many))
        return _along(one, two, few, many, rounds)
    traced = {
        (depth, count): trace(_shallow(spec, layout, depth), _plain(layout), sequence, optimizer, rank, count)
        for depth in depths
        for count in sorted({few, many})
    }
    by_rounds = {depth: _along(traced[depth, few], traced[depth, many], few, many, rounds) for depth in depths}
    return _along(by_rounds[depths[0]], by_rounds[depths[1]], depths[0], depths[1], layers, memory=True)


@dataclass(frozen=True)
class Holding:
    """What one rank keeps between steps."""

    rank: int
    layers: tuple[int, ...]
    """The layers it computes, in the order of its stages."""
    parameters: int
    """Of its own: numbers whose masters and optimiser state it holds."""
    masters: int
    """Bytes, as of the rest."""
    optimizer: int
    groups: dict[str, tuple[int, ...]]
    """Whom it works with: the ranks of each group that it is not alone in."""


def holding(spec: ModelSpec, layout: Layout, optimizer: OptimizerSection, rank: int) -> Holding:
    """What `rank` would hold. Nothing is computed."""
    with _nobody(layout.world, rank):
        mesh = Mesh(layout)
        stages, pieces = build_stages(spec, layout, mesh, PURPOSE, Computing(CPU, _dtype(layout)))
        sizes = {name: math.prod(piece.local_shape) for name, piece in pieces.items()}
        states = sum(size * len(state_kinds(name, len(pieces[name].shape), optimizer)) for name, size in sizes.items())
        return Holding(
            rank=rank,
            layers=tuple(layer for stage in stages for layer in stage.layers),
            parameters=sum(sizes.values()),
            masters=4 * sum(sizes.values()),
            optimizer=4 * states,
            groups={
                group.name: group.ranks for group in vars(mesh).values() if isinstance(group, Group) and group.size > 1
            },
        )


def _layers_of(spec: ModelSpec, layout: Layout, rank: int) -> int:
    stage = place_of(rank, layout).pipeline
    return sum(len(each) for each in layout.stages(spec)[stage :: layout.pipeline])


def _plain(layout: Layout) -> Layout:
    return layout.model_copy(update={"ends_count": False})


def _shallow(spec: ModelSpec, layout: Layout, depth: int) -> ModelSpec:
    """The same network with so many layers on every pipeline rank."""
    layers = depth * layout.pipeline
    return spec.model_copy(update={"layers": layers, "dense_layers": layers if spec.dense_layers else 0})


def _rounds(rounds: int, layout: Layout) -> tuple[int, int]:
    """Two numbers of micro-batches from which all others follow: a pipeline is full with as many as it has stages."""
    few = layout.pipeline
    return (rounds, rounds) if rounds <= 2 * few else (few, 2 * few)


def _along(one: Rehearsed, two: Rehearsed, at: int, then: int, to: int, *, memory: bool = False) -> Rehearsed:
    """What is seen at `at` and at `then`, continued to `to`; memory only where it follows too (else as at `then`)."""

    def line(first: Mapping[Any, float], second: Mapping[Any, float]) -> dict[Any, float]:
        keys = dict.fromkeys([*first, *second])
        if at == then:
            return dict(second)
        return {k: first.get(k, 0) + (second.get(k, 0) - first.get(k, 0)) * (to - at) / (then - at) for k in keys}

    return Rehearsed(
        rank=one.rank,
        flops=line(one.flops, two.flops),
        counts=line(one.counts, two.counts),
        moved=line(one.moved, two.moved),
        peaks={name: line(one.peaks[name], two.peaks[name]) if memory else two.peaks[name] for name in two.peaks},
        timeline=two.timeline,
    )


def trace(
    spec: ModelSpec, layout: Layout, sequence: int, optimizer: OptimizerSection, rank: int, rounds: int
) -> Rehearsed:
    """One step of `rounds` micro-batches of the whole model, watched."""
    spec = spec.model_copy(update={"pad_token": None})  # whether a row is filled up is a question to its values
    with _nobody(layout.world, rank):
        mesh, observer = Mesh(layout), Observer(phase=BEFORE)
        computing = Computing(CPU, _dtype(layout), known=_even, on_device=_dtype(layout) is torch.bfloat16, lean=True)
        stages, pieces = build_stages(spec, layout, mesh, PURPOSE, computing)
        with FakeTensorMode(allow_non_fake_inputs=True), observer.watching(), _largest_blocks(observer):
            for stage in stages:
                stage.to_empty(device=CPU)
            weights = ShardedWeights(stages, pieces, mesh)
            moves = Optimizer(weights, optimizer)
            observer.tell("weights", weights.masters.values())
            observer.tell("optimizer", moves.state.values())
            observer.tell("gradients", weights.gradients.values())
            observer.on_mark = partial(_marked, observer, stages, layout.pipeline == 1)
            passes = passes_of(stages, layout, mesh, CPU, _dtype(layout), stage_type=_Unanswered)
            for stage in stages:
                stage.begin(sequence, rounds)
            observer.phase = UPPER
            passes(_micro_batches(layout, sequence, rounds), True)
            observer.phase = AFTER
            weights.collect()
            observer.tell("gradients", weights.gradients.values())
            moves.step(0, 1.0, norm=1.0)
        names = group_names(mesh)
        timeline, peaks = observer.timeline(), observer.peaks()
        del stages, weights, moves, passes
        gc.collect()
    return Rehearsed(
        rank=rank,
        flops=dict(observer.flops),
        counts=by_name(observer.counts, names),
        moved=by_name(observer.moved, names),
        peaks={name: dict(peak) for name, peak in peaks.items()},
        timeline=tuple(timeline),
    )


@contextmanager
def _nobody(world: int, rank: int) -> Iterator[None]:
    """A process group in which nobody is."""
    if dist.is_initialized():
        raise SpecError("a dry run wants a process that is no rank of a real run")
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        forget_groups()
        dist.destroy_process_group()


@contextmanager
def _largest_blocks(observer: Observer) -> Iterator[None]:
    """Attention computes the block of queries that sees most, which counts for all of them."""

    def chosen(blocks: list[slice], seen: list[int]) -> Iterator[slice]:
        pairs = [(rows.stop - rows.start) * keys for rows, keys in zip(blocks, seen, strict=True)]
        most = max(range(len(blocks)), key=pairs.__getitem__)
        observer.times = sum(pairs) / pairs[most]
        yield blocks[most]
        observer.times = 1.0

    before, Blocks.chosen = Blocks.chosen, chosen
    try:
        yield
    finally:
        Blocks.chosen = before


class _Unanswered(PipelineStage):
    """A stage that does not ask its neighbours whether they, too, know the shapes."""

    def _warmup_forward_vote(self, has_backward: bool, received_acc: Any = None) -> Any:
        return _Yes()

    def _warmup_backward_result(self, received_result: Any = None) -> Any:
        return _Yes()


class _Yes:
    def item(self) -> int:
        return 1


def _even(counts: Tensor, total: int) -> list[int]:
    """What the routers would say if all experts were chosen alike."""
    parts = counts.numel()
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]


def _dtype(layout: Layout) -> torch.dtype:
    return torch.float32 if layout.precision == "fp32" else torch.bfloat16


def _micro_batches(layout: Layout, sequence: int, rounds: int) -> MicroBatches:
    return [(torch.zeros(layout.micro_batch, sequence + 1, dtype=torch.int64), None) for _ in range(rounds)]


def _marked(observer: Observer, stages: list[Stage], straight: bool, mark: str) -> None:
    """FSDP says what it is at: how far a backward pass has come, and what it holds meanwhile."""
    if not straight:  # backward passes come between forward passes, and gradients leave when all are done
        observer.phase = LEAVING if "post_backward_reduce" in mark else observer.phase
    elif ("pre_forward" in mark or "pre_backward" in mark) and ".experts)" not in mark:
        observer.phase = LEAVING if mark == "FSDP::pre_backward (model.layers.0)" else UPPER
    _tell_fsdp(observer, stages)


def _tell_fsdp(observer: Observer, stages: list[Stage]) -> None:
    """Gathered weights, and gradients that wait to be reduced."""
    for stage in stages:
        for module in stage.modules():
            if not isinstance(module, FSDPModule):
                continue
            state: Any = module._get_fsdp_state()
            # A list since torch 2.13; one group, or none, before.
            for group in getattr(state, "_fsdp_param_groups", None) or filter(
                None, [getattr(state, "_fsdp_param_group", None)]
            ):
                for parameter in group.fsdp_params:
                    observer.tell("weights", parameter.all_gather_outputs)
                    whole = getattr(parameter, "_unsharded_param", None)
                    waiting = [parameter.unsharded_accumulated_grad, None if whole is None else whole.grad]
                    observer.tell("gradients", [local(each) for each in waiting if each is not None])


def group_names(mesh: Mesh) -> dict[tuple[int, ...], str]:
    """What groups are called; one group may have several tasks."""
    names: dict[tuple[int, ...], str] = {}
    for group in vars(mesh).values():
        if isinstance(group, Group) and group.size > 1:
            names[group.ranks] = f"{names[group.ranks]}, {group.name}" if group.ranks in names else group.name
    return names


def by_name(found: Counter[Exchanged], names: dict[tuple[int, ...], str]) -> dict[tuple[str, str], float]:
    return {(kind.operation, names.get(kind.ranks, f"{len(kind.ranks)} ranks")): n for kind, n in found.items()}

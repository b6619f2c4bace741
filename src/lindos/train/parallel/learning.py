"""Losses and gradients of a layout: micro-batches through this rank's stages, results brought together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
)

from lindos.data import Batch
from lindos.specs import Layout
from lindos.train.parallel.mesh import Mesh
from lindos.train.parallel.weights import ShardedWeights
from lindos.train.stage import Stage
from lindos.train.step import StepResult, Whole, micro_batches

MicroBatches = list[tuple[Tensor, Tensor | None]]
Passes = Callable[[MicroBatches, bool], None]
"""Forward passes of all micro-batches, and backward passes where the second argument says so."""


class ParallelLearner:
    """The `Learner` of a layout."""

    def __init__(
        self,
        stages: list[Stage],
        weights: ShardedWeights,
        mesh: Mesh,
        micro_batch: int,
        passes: Passes,
        device: torch.device,
    ) -> None:
        self.stages, self.weights, self.mesh = stages, weights, mesh
        self.micro_batch, self.passes, self.device = micro_batch, passes, device

    def learn(self, batch: Batch, whole: Whole | None = None) -> StepResult:
        whole = self._begin(whole or self._here(batch))
        self.passes(micro_batches(batch, self.micro_batch, self.device), True)
        self.weights.collect()
        return self._result(whole)

    @torch.no_grad()
    def measure(self, batches: list[Batch]) -> float:
        import numpy as np

        batch = Batch(*(np.concatenate([getattr(b, key) for b in batches]) for key in ("tokens", "loss_mask")))
        whole = self._begin(self._here(batch))
        self.passes(micro_batches(batch, self.micro_batch, self.device), False)
        return self._result(whole).loss

    def _here(self, batch: Batch) -> Whole:
        """What the ranks of this learner have together."""
        counted = torch.tensor(int(batch.loss_mask.sum()), device=self.device)
        if self.mesh.data.size > 1:
            dist.all_reduce(counted, group=self.mesh.data.handle)
        return Whole(int(counted), len(batch.tokens) // self.micro_batch * self.mesh.data.size)

    def _begin(self, whole: Whole) -> Whole:
        for stage in self.stages:
            stage.begin(max(1, whole.counted), whole.parts)
        return whole

    def _result(self, whole: Whole) -> StepResult:
        """Sums over ranks of losses, and the mean over layers of the busiest expert's share."""
        shares = [torch.stack(stage.tally.shares).sum(0) for stage in self.stages if stage.tally.shares]
        busiest, layers = torch.zeros((), device=self.device), 0
        if shares:
            shares_LE = torch.cat(shares) / self.stages[0].parts
            if self.mesh.data.size > 1:
                dist.all_reduce(shares_LE, group=self.mesh.data.handle)
            whole.add_up([shares_LE])  # before the busiest is looked for
            busiest, layers = (shares_LE.max(-1).values * shares_LE.shape[-1]).sum(), len(shares_LE)
        text, router = (sum(getattr(stage.tally, key) for stage in self.stages) for key in ("text", "router"))
        everybody = self.mesh.stage.size
        found = (text, router, busiest / everybody, layers / everybody)
        sums = torch.stack([torch.as_tensor(each, dtype=torch.float64, device=self.device) for each in found])
        if self.mesh.world.size > 1:
            dist.all_reduce(sums, group=self.mesh.world.handle)
        losses, (balance, all_layers) = sums[:2], sums[2:].tolist()
        whole.add_up([losses])
        loss, router_loss = losses.tolist()
        return StepResult(loss, router_loss, balance / all_layers if all_layers else 1.0, whole.counted)


def passes_of(
    stages: list[Stage],
    layout: Layout,
    mesh: Mesh,
    device: torch.device,
    dtype: torch.dtype,
    *,
    stage_type: type[PipelineStage] = PipelineStage,
) -> Passes:
    """The way a layout runs its micro-batches."""
    if layout.pipeline > 1:
        return PipelinePasses(stages, layout, mesh, device, dtype, stage_type)
    return StraightPasses(stages[0], layout)


class StraightPasses:
    """One micro-batch after the other, without a pipeline."""

    def __init__(self, stage: Stage, layout: Layout) -> None:
        assert isinstance(stage, FSDPModule)
        self.stage: Any = stage
        self.layout = layout

    def __call__(self, micro_batches: MicroBatches, learns: bool) -> None:
        for number, (tokens, mask) in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            if not learns:
                self.stage(tokens, tokens_BT=tokens, mask_BT=mask)
                continue
            each = self.layout.sharding in ("gradients", "weights")
            self.stage.set_is_last_backward(last or each)  # else what was reduced stays until the next one's end
            self.stage.set_requires_gradient_sync(last or each)
            self.stage.set_requires_all_reduce(last)
            self.stage.set_reshard_after_backward(last or self.layout.sharding == "weights")
            self.stage(tokens, tokens_BT=tokens, mask_BT=mask).backward()


class PipelinePasses:
    """PyTorch's pipeline schedules over this rank's stages."""

    def __init__(
        self,
        stages: list[Stage],
        layout: Layout,
        mesh: Mesh,
        device: torch.device,
        dtype: torch.dtype,
        stage_type: type[PipelineStage] = PipelineStage,
    ) -> None:
        self.stages, self.layout, self.mesh, self.device = stages, layout, mesh, device
        self.dtype, self.stage_type = dtype, stage_type
        self._schedules: dict[tuple[int, torch.Size], Any] = {}

    def __call__(self, micro_batches: MicroBatches, learns: bool) -> None:
        schedule = self._schedule(len(micro_batches), micro_batches[0][0])
        tokens = torch.cat([tokens for tokens, _ in micro_batches])
        every = all(mask is None for _, mask in micro_batches)
        masks = [torch.ones_like(t[:, 1:], dtype=torch.bool) if m is None else m for t, m in micro_batches]
        arguments = (tokens,) if self.stages[0].first else ()
        known = {
            "target": tokens if self.stages[-1].last else None,
            "tokens_BT": tokens,
            "mask_BT": None if every else torch.cat(masks),
        }
        if learns:
            schedule.step(*arguments, return_outputs=False, **known)
        else:
            schedule.eval(*arguments, **known)

    def _schedule(self, rounds: int, tokens: Tensor) -> Any:
        """The schedule for so many micro-batches of one shape."""
        key = rounds, tokens.shape
        if key not in self._schedules:
            stages: list[Any] = [self._pipeline_stage(index, tokens) for index in range(len(self.stages))]
            common: dict[str, Any] = {"n_microbatches": rounds, "loss_fn": _loss, "scale_grads": False}
            if self.layout.schedule == "zero-bubble":
                self._schedules[key] = ScheduleInterleavedZeroBubble(stages, **common)
            elif self.layout.schedule == "interleaved":
                self._schedules[key] = ScheduleInterleaved1F1B(stages, **common)
            elif rounds < len(stages) * self.layout.pipeline:  # fewer than there are stages: nothing to alternate
                self._schedules[key] = ScheduleGPipe(stages[0], **common)
            else:
                self._schedules[key] = Schedule1F1B(stages[0], **common)
        return self._schedules[key]

    def _pipeline_stage(self, index: int, tokens: Tensor) -> PipelineStage:
        """A stage, told the shapes that pass between stages, so that it need not find them out by a pass of its own."""
        stage = self.stages[index]
        here = (tokens.shape[1] - 1) // self.mesh.sequence.size
        stream = torch.empty(len(tokens), here, stage.spec.width, dtype=self.dtype, device="meta")
        return self.stage_type(
            stage,
            index * self.layout.pipeline + self.mesh.place.pipeline,
            self.layout.pipeline * self.layout.virtual_stages,
            self.device,
            input_args=tokens.to("meta") if stage.first else stream.requires_grad_(),
            output_args=torch.empty(1, device="meta") if stage.last else stream.requires_grad_(),
            group=self.mesh.pipeline.handle,
        )


def _loss(output: Tensor, _target: Tensor) -> Tensor:
    """A last stage gives the loss itself."""
    return output.sum()

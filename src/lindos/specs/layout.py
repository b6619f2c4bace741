"""Layout: how the work of one training step is spread."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field

from lindos.specs.base import Spec, SpecError
from lindos.specs.model import ModelSpec

Count = Annotated[int, Field(gt=0)]


class Layout(Spec):
    """The degrees of parallelism and what each rank keeps.

    The world is `replicas * shards * tensor * pipeline * context`; expert ranks are drawn from all ranks of one
    pipeline stage. With `expert` above 1 every expert lies whole on its rank; with 1 its width is split over `tensor`.
    """

    replicas: Count = 1
    """Copies of the whole model (the outer part of data parallelism)."""
    shards: Count = 1
    """Ranks over which weights, gradients and optimiser state are sharded (the inner part)."""
    tensor: Count = 1
    """Ranks one matrix product is split over, with the sequence split between products."""
    pipeline: Count = 1
    virtual_stages: Count = 1
    schedule: Literal["1f1b", "interleaved", "zero-bubble"] = "1f1b"
    ends_count: bool = False
    """Whether embedding and head (and further-token layers) each take a layer's place when layers go to stages."""
    context: Count = 1
    expert: Count = 1
    sharding: Literal["none", "optimizer", "gradients", "weights"] = "weights"
    micro_batch: Count = 1
    """Sequences in one forward pass of one data rank."""
    recompute: Literal["none", "selective", "full"] = "none"
    """What the backward pass computes again: nothing, what is cheap (norms, activations, attention's inside), all."""
    precision: Literal["fp32", "fp16", "bf16", "fp8", "fp4"] = "bf16"
    """Of the large matrix products; fp8 and fp4 stand for the machine's recipes (block scales where it has them)."""

    @property
    def world(self) -> int:
        return self.replicas * self.shards * self.tensor * self.pipeline * self.context

    @property
    def stage_ranks(self) -> int:
        """Ranks of one pipeline stage."""
        return self.replicas * self.shards * self.tensor * self.context

    @property
    def data(self) -> int:
        """Ranks that see different sequences."""
        return self.replicas * self.shards

    def expert_inner(self, model: ModelSpec) -> int:
        """The expert width that `tensor` splits: none where experts lie whole on their ranks."""
        return model.expert_width if self.expert == 1 else 0

    def stages(self, model: ModelSpec) -> list[range]:
        """The layers of each stage, in the order that a token passes them; stage i lies on pipeline rank i % pipeline.

        Where ends count, the first stage has a layer fewer for the embedding, and the last for the head.
        """
        count = self.pipeline * self.virtual_stages
        ends = 1 if self.ends_count else 0
        each = (model.layers + 2 * ends) // count
        bounds = [0, *(number * each - ends for number in range(1, count)), model.layers]
        return [range(first, last) for first, last in itertools.pairwise(bounds)]

    def check(self, model: ModelSpec, *, batch: int | None = None, sequence: int | None = None) -> None:
        """Raise SpecError naming the first number that does not divide, or choices that contradict each other.

        `batch` is sequences in one optimiser step, `sequence` tokens in each (the model's longest by default).
        """
        self._agree(model)
        inner = self.expert_inner(model)
        ends = 2 + model.mtp_layers if self.ends_count else 0
        stages = f"{'layers + ends' if ends else 'layers'}", "pipeline * virtual_stages"
        rules = [
            (model.layers + ends, self.pipeline * self.virtual_stages, *stages),
            (model.heads, self.tensor, "heads", "tensor"),
            (max(model.dense_width, inner), self.tensor, "MLP width", "tensor"),
            (model.experts, self.expert, "experts", "expert"),
            (self.stage_ranks, self.expert, "replicas * shards * tensor * context", "expert"),
            (sequence or model.sequence, self.context, "sequence", "context"),
        ]
        for whole, part, whole_name, part_name in rules:
            if whole % part:
                hint = " (ends_count = true counts embedding and head as layers)" if whole_name == "layers" else ""
                raise SpecError(
                    f"layout does not divide: {whole_name} = {whole} is not a multiple of {part_name} = {part}{hint}"
                )
        if batch is not None and batch % (self.data * self.micro_batch):
            raise SpecError(
                f"layout does not divide: a batch of {batch} sequences is not a multiple of "
                f"replicas * shards * micro_batch = {self.data * self.micro_batch}"
            )
        rounds = 0 if batch is None else batch // (self.data * self.micro_batch)
        if self.virtual_stages > 1 and rounds % self.pipeline:
            raise SpecError(
                f"layout does not divide: {rounds} micro-batches are not a multiple of pipeline = {self.pipeline}, "
                "which interleaving needs"
            )

    def _agree(self, model: ModelSpec) -> None:
        """Raise SpecError where one choice leaves no meaning to another."""
        interleaved = self.schedule == "interleaved"
        contradictions = (
            (self.expert > 1 and not model.mixture_layers, f"expert = {self.expert}, but {model.name} has no experts"),
            (self.virtual_stages > 1 and self.pipeline == 1, "virtual_stages need pipeline stages"),
            (self.virtual_stages > 1 and not interleaved, "virtual_stages need schedule = interleaved"),
            (interleaved and self.virtual_stages == 1, "schedule = interleaved needs virtual_stages of 2 or more"),
            (self.schedule == "zero-bubble" and self.pipeline == 1, "schedule = zero-bubble needs pipeline stages"),
            (self.ends_count and self.pipeline == 1, "ends_count needs pipeline stages"),
        )
        for wrong, text in contradictions:
            if wrong:
                raise SpecError(f"layout contradicts itself: {text}")

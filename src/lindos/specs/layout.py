"""Layout: how the work of one training step is spread."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lindos.specs.base import Spec, SpecError
from lindos.specs.model import ModelSpec

Count = Annotated[int, Field(gt=0)]


class Layout(Spec):
    """The degrees of parallelism and what each rank keeps.

    The world is `replicas * shards * tensor * pipeline * context`; expert ranks are drawn from `shards * context`,
    as experts are spread over the ranks that otherwise hold equal weights.
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
    context: Count = 1
    expert: Count = 1
    sharding: Literal["none", "optimizer", "gradients", "weights"] = "weights"
    micro_batch: Count = 1
    """Sequences in one forward pass of one data rank."""
    recompute: Literal["none", "selective", "full"] = "none"

    @property
    def world(self) -> int:
        return self.replicas * self.shards * self.tensor * self.pipeline * self.context

    @property
    def data(self) -> int:
        """Ranks that see different sequences."""
        return self.replicas * self.shards

    def check(self, model: ModelSpec, *, batch: int | None = None) -> None:
        """Raise SpecError naming the first number that does not divide; `batch` is sequences in one optimiser step."""
        rules = (
            (model.kv_heads, self.tensor, "kv_heads", "tensor"),
            (model.expert_width, self.tensor, "expert_width", "tensor"),
            (model.layers, self.pipeline * self.virtual_stages, "layers", "pipeline * virtual_stages"),
            (model.experts, self.expert, "experts", "expert"),
            (self.shards * self.context, self.expert, "shards * context", "expert"),
        )
        for whole, part, whole_name, part_name in rules:
            if whole % part:
                raise SpecError(
                    f"layout does not divide: {whole_name} = {whole} is not a multiple of {part_name} = {part}"
                )
        if batch is not None and batch % (self.data * self.micro_batch):
            raise SpecError(
                f"layout does not divide: a batch of {batch} sequences is not a multiple of "
                f"replicas * shards * micro_batch = {self.data * self.micro_batch}"
            )

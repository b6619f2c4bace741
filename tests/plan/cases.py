"""Small models and clusters for the planner's tests, and cases of one layout."""

from __future__ import annotations

from typing import Any

from lindos.plan.arrays import layouts_of
from lindos.plan.case import Case
from lindos.plan.training import shared_case
from lindos.specs import Cluster, Layout, ModelSpec, load_cluster

DENSE = ModelSpec(
    name="dense", layers=8, width=1024, vocabulary=32_000, sequence=4096, heads=16, kv_heads=4, head_size=64,
    dense_layers=8, dense_width=4096, norms_per_layer=2, tied_head=False,
)  # fmt: skip
MIXTURE = ModelSpec(
    name="mixture", layers=8, width=1024, vocabulary=32_000, sequence=4096, heads=16, kv_heads=4, head_size=64,
    experts=16, experts_per_token=2, expert_width=1024, norms_per_layer=2, tied_head=False,
)  # fmt: skip


def cluster(nodes: int = 8, name: str = "h100-64", machine: dict[str, Any] | None = None) -> Cluster:
    """A cluster of the catalogue with another number of machines; `machine` changes its accelerator."""
    found = load_cluster(name)
    if machine and found.machine.accelerator is not None:
        chip = found.machine.accelerator.model_copy(update=machine)
        found = found.model_copy(update={"machine": found.machine.model_copy(update={"accelerator": chip})})
    return found.model_copy(update={"nodes": nodes})


def case(model: ModelSpec, layout: Layout, *, on: Cluster | None = None, sequence: int = 4096, batch: int = 64) -> Case:
    """One layout of a model on a cluster."""
    shared = shared_case(model, on or cluster(), sequence=sequence, batch=batch)
    return Case(shared.work, shared.hardware, layouts_of([layout]), shared.software)

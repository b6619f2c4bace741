"""Lindos's own trainer as the planner describes software, so that both can be held against each other."""

from __future__ import annotations

from dataclasses import dataclass

from lindos.plan.arrays import USUAL_WAYS, Software, layouts_of, work_of
from lindos.plan.case import Case
from lindos.plan.memory import memory_of
from lindos.plan.stages import stage_of
from lindos.plan.step import TODAY
from lindos.plan.volumes import UNIT, volumes
from lindos.specs import Layout, ModelSpec


def own_software() -> Software:
    """How the trainer does a step."""
    return Software.of(
        USUAL_WAYS
        | {
            "date": TODAY, "flash": 2, "query_block": 128, "gathering": 1, "compiled": 0, "graphs": 0,
            "dispatch_overlap": 0, "tensor_overlap": 0, "sequence_parallel": 1, "gathered_again": 1, "stops_early": 1,
            "gradient_bytes": 4, "ends_kept": 1, "key_gradient_bytes": 4, "site": 1, "logit_bytes": 14,
            "logit_rows": 1024, "head_gradient_bytes": 4, "late_gradients": 1, "gate_again": 1, "inner_bytes": 28,
            "scatter_bytes": 4, "products_again": 0, "fused_sort": 0, "token_drop": 0,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class OwnCounts:
    """What the planner says that one rank of Lindos's trainer does in a step."""

    flops: float
    """Operations of matrix products, recompute included."""
    moved: float
    """Bytes through its link."""
    memory: float
    """Bytes when most are held."""


def own_counts(spec: ModelSpec, layout: Layout, *, batch: int, sequence: int, rank: int) -> OwnCounts | None:
    """The counts of `rank`; None where the planner's formulas do not fit the case: they know bf16, stages of equal
    length, few of them on a rank, and networks whose layers are all of one kind."""
    lengths = {len(layers) for layers in layout.stages(spec)}
    stage = rank // layout.stage_ranks
    # PyTorch keeps three stages' weights gathered, and gathers others again; and what waits for the second half of its
    # backward pass, on all stages but the first, holds more than activations.
    odd = layout.virtual_stages > 3 or (layout.schedule == "zero-bubble" and stage > 0)
    if odd or layout.precision != "bf16" or len(lengths) > 1 or 0 < spec.dense_layers < spec.layers:
        return None
    case = Case(work_of(spec, sequence=sequence, batch=batch), UNIT, layouts_of([layout]), own_software())
    seen, memory = volumes(case, stage), memory_of(case, stage_of(case, stage))
    return OwnCounts(*(float(each[0]) for each in (seen.total_flops, seen.total_moved, memory.total)))

"""The dry run beside the planner's formulas: operations, exchanged bytes and memory of one rank are the same."""

from __future__ import annotations

from typing import Any

import pytest

from lindos.plan.own_trainer import own_counts
from lindos.specs import Layout, load_model_spec
from lindos.train.dryrun import rehearse
from lindos.train.run_file import OptimizerSection

ADAM = OptimizerSection(lr=1e-3)
STEPS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "dense, sharded": ("llama-3.1-8b", {"shards": 16}, 32, 0),
    "dense, once": ("llama-3.1-8b", {"shards": 32, "micro_batch": 2}, 64, 0),
    "dense, recomputed": ("llama-3.1-8b", {"replicas": 2, "shards": 8, "tensor": 2, "recompute": "full"}, 32, 0),
    "dense, tensor": ("llama-3.1-70b", {"shards": 16, "tensor": 8}, 32, 0),
    "dense, context": ("llama-3.1-8b", {"shards": 8, "context": 4}, 16, 0),
    "dense, pipeline": ("llama-3.1-70b", {"shards": 4, "tensor": 8, "pipeline": 4, "sharding": "optimizer"}, 32, 0),
    "dense, last stage": ("llama-3.1-70b", {"shards": 4, "tensor": 8, "pipeline": 4, "sharding": "optimizer"}, 32, 127),
    "dense, zero bubble": ("llama-3.1-8b", {"shards": 4, "pipeline": 2, "schedule": "zero-bubble"}, 16, 0),
    "dense, selectively": ("llama-3.1-8b", {"shards": 16, "tensor": 2, "recompute": "selective"}, 32, 0),
    "experts, selectively": ("grok-1", {"shards": 64, "expert": 8, "recompute": "selective"}, 64, 0),
    "dense, few micro-batches": ("llama-3.1-8b", {"tensor": 8, "pipeline": 2, "micro_batch": 4}, 8, 0),
    "dense, fewer than stages": ("llama-3.1-8b", {"tensor": 8, "pipeline": 4, "micro_batch": 2}, 4, 31),
    "dense, optimizer, once": ("llama-3.1-8b", {"shards": 8, "sharding": "optimizer"}, 8, 0),
    "experts, sharded": ("mixtral-8x7b", {"shards": 64}, 64, 0),
    "experts apart": ("mixtral-8x7b", {"shards": 64, "expert": 8}, 128, 0),
    "experts, tensor": ("mixtral-8x7b", {"shards": 8, "tensor": 8}, 16, 0),
    "experts, pipeline": ("mixtral-8x7b", {"shards": 8, "tensor": 2, "pipeline": 2, "expert": 8}, 32, 0),
    "many experts, recomputed": ("qwen3-30b-a3b", {"shards": 32, "expert": 16, "recompute": "full"}, 64, 0),
    "many experts, everything": ("qwen3-30b-a3b", {"shards": 16, "context": 2, "tensor": 2, "expert": 32}, 32, 0),
    "grok-1": ("grok-1", {"shards": 16, "tensor": 8, "pipeline": 4, "expert": 8, "sharding": "optimizer"}, 64, 0),
    "grok-1, last": ("grok-1", {"shards": 16, "tensor": 8, "pipeline": 4, "expert": 8, "sharding": "none"}, 64, 511),
}

LONG = ("dense, once", "dense, pipeline", "experts, tensor", "many experts, recomputed", "many experts, everything")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in STEPS])
def test_a_dry_run_and_the_planner_count_the_same(name: str):
    model, degrees, batch, rank = STEPS[name]
    spec, layout, sequence = load_model_spec(model), Layout.model_validate(degrees), 2048
    seen = rehearse(spec, layout, batch=batch, sequence=sequence, optimizer=ADAM, rank=rank)
    planned = own_counts(spec, layout, batch=batch, sequence=sequence, rank=rank)
    assert planned is not None
    assert planned.flops == pytest.approx(seen.total_flops, rel=0.002)
    assert planned.moved == pytest.approx(sum(seen.moved.values()), rel=0.005)
    assert planned.memory == pytest.approx(seen.peak, rel=0.05)


def test_where_the_formulas_do_not_fit_the_planner_says_nothing():
    spec = load_model_spec("grok-1")
    uneven = Layout(pipeline=3, ends_count=True)
    turns = Layout(pipeline=8, virtual_stages=4, schedule="interleaved")
    for layout in (Layout(precision="fp32"), uneven, turns):
        assert own_counts(spec, layout, batch=8, sequence=64, rank=0) is None
    halves = Layout(pipeline=2, schedule="zero-bubble")
    assert own_counts(spec, halves, batch=8, sequence=64, rank=0) is not None
    assert own_counts(spec, halves, batch=8, sequence=64, rank=1) is None

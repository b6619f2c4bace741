"""The step model: counts agree with the specs, more hardware never hurts, arrays and single cases agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.plan.arrays import Layouts, layouts_of
from lindos.plan.case import Case, stack_cases
from lindos.plan.constants import shipped_constants
from lindos.plan.memory import GIB, memory
from lindos.plan.step import step
from lindos.specs import Layout, Precision, catalog_models, load_cluster, load_model_spec
from tests.plan.cases import DENSE, MIXTURE, case, cluster

CONSTANTS = shipped_constants()

layouts = st.builds(
    Layout,
    shards=st.sampled_from([1, 2, 4, 8]),
    replicas=st.sampled_from([1, 2]),
    tensor=st.sampled_from([1, 2, 4]),
    pipeline=st.sampled_from([1, 2, 4]),
    virtual_stages=st.sampled_from([1, 2]),
    context=st.sampled_from([1, 2]),
    expert=st.sampled_from([1, 2, 4]),
    sharding=st.sampled_from(["none", "optimizer", "gradients", "weights"]),
    micro_batch=st.sampled_from([1, 2, 4]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    precision=st.sampled_from(["bf16", "fp8"]),
)
models = st.sampled_from([DENSE, MIXTURE])


def seconds(one: Case) -> float:
    return float(step(one, CONSTANTS).seconds[0])


@pytest.mark.parametrize("name", catalog_models())
def test_counts_agree_exactly_with_the_specs(name):
    spec = load_model_spec(name)
    one = case(spec, Layout(), sequence=2048, batch=4)
    flops = spec.training_flops_per_token(2048) * 2048 * 4
    assert one.model_flops[0] == pytest.approx(flops, rel=1e-12)
    positions = spec.sequence * spec.width if spec.learned_positions else 0
    further = spec.mtp_layers * (spec.layer_parameters if spec.mixture_layers else 0)
    held = one.dense_rank_parameters[0] + one.expert_rank_parameters[0]
    norms = spec.width * (2 if spec.embedding_norm and spec.norm_bias else 1 if spec.embedding_norm else 0)
    assert held == pytest.approx(spec.parameters + further, abs=positions + norms)


@given(models, layouts)
@settings(max_examples=60, deadline=None)
def test_parts_are_never_negative_and_add_up(model, layout):
    one = case(model, layout, batch=256)
    parts = step(one, CONSTANTS).parts
    assert all(np.isfinite(v).all() and (v >= 0).all() for v in parts.values()), parts
    assert seconds(one) == pytest.approx(sum(float(v[0]) for v in parts.values()))
    assert all((v >= 0).all() for v in memory(one).table().values())


FASTER = (
    {"memory_bandwidth": 2.0}, {"link_bandwidth": 2.0}, {"peak_flops": 2.0},
)  # fmt: skip


@given(models, layouts, st.sampled_from(FASTER), st.floats(1.0, 8.0))
@settings(max_examples=80, deadline=None)
def test_a_faster_accelerator_is_never_slower(model, layout, change, factor):
    chip = load_cluster("h100-64").machine.accelerator
    assert chip is not None
    name = next(iter(change))
    old = getattr(chip, name)
    new = {k: v * factor for k, v in old.items()} if isinstance(old, dict) else old * factor
    slow, fast = case(model, layout, batch=256), case(model, layout, on=cluster(machine={name: new}), batch=256)
    assert seconds(fast) <= seconds(slow) * (1 + 1e-12)


@given(models, layouts, st.floats(1.0, 8.0))
@settings(max_examples=60, deadline=None)
def test_a_faster_network_is_never_slower(model, layout, factor):
    wide = cluster()
    wide = wide.model_copy(
        update={"fabric": wide.fabric.model_copy(update={"bandwidth": wide.fabric.bandwidth * factor})}
    )
    assert seconds(case(model, layout, on=wide, batch=256)) <= seconds(case(model, layout, batch=256)) * (1 + 1e-12)


@given(st.lists(st.tuples(models, layouts), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_many_cases_at_once_are_the_same_as_one_by_one(several):
    ones = [case(model, layout, batch=256) for model, layout in several]
    together = stack_cases(ones)
    assert step(together, CONSTANTS).seconds == pytest.approx([seconds(one) for one in ones])
    assert memory(together).total == pytest.approx([float(memory(one).total[0]) for one in ones])


def test_recompute_trades_time_for_memory():
    ways = [case(DENSE, Layout(shards=8, micro_batch=4, recompute=r)) for r in ("none", "selective", "full")]
    times = [seconds(one) for one in ways]
    sizes = [float(memory(one).activations[0]) for one in ways]
    assert times == sorted(times)
    assert sizes == sorted(sizes, reverse=True)
    assert times[2] > times[0] * 1.1


def test_sharding_takes_memory_from_every_kind_in_turn():
    ways = [case(DENSE, Layout(shards=8, sharding=s)) for s in ("none", "optimizer", "gradients", "weights")]
    held = [memory(one) for one in ways]
    assert held[1].optimizer[0] == pytest.approx(held[0].optimizer[0] / 8)
    assert held[2].gradients[0] == pytest.approx(held[1].gradients[0] / 8)
    assert held[3].weights[0] < held[2].weights[0]


def test_interleaving_and_zero_bubble_shorten_the_bubble():
    def bubble(**fields):
        one = case(DENSE, Layout(shards=1, pipeline=4, **fields), batch=8)
        return float(step(one, CONSTANTS).parts["pipeline bubble"][0])

    plain = bubble()
    assert bubble(virtual_stages=2, schedule="interleaved") == pytest.approx(plain / 2)
    assert bubble(schedule="zero-bubble") == pytest.approx(plain / 3)


def test_dense_memory_is_the_arithmetic_of_mixed_precision():
    held = memory(case(DENSE, Layout(sharding="none")))
    assert held.weights[0] == 2 * DENSE.parameters
    assert held.optimizer[0] == 12 * DENSE.parameters


def test_grok_1_takes_its_experts_from_every_rank():
    grok = load_model_spec("grok-1")
    whole = case(grok, Layout(expert=8, shards=8), sequence=8192, batch=8)
    assert whole.expert_rank_parameters[0] * 8 == grok.layers * grok.experts * grok.expert_parameters
    assert memory(whole).total[0] > 300 * GIB


def test_slower_exchanges_with_experts_across_the_network():
    """Experts over 64 ranks run slower than over 8 on the same accelerators, as measured on H100."""
    model = MIXTURE.model_copy(update={"experts": 64, "experts_per_token": 8})
    near, far = (case(model, Layout(shards=64, expert=e), batch=64) for e in (8, 64))
    assert step(far, CONSTANTS).parts["expert parallel"][0] > 1.5 * step(near, CONSTANTS).parts["expert parallel"][0]


def test_launches_bind_small_mixtures_on_fast_accelerators():
    on = cluster(name="b200-256", nodes=1)
    small = load_model_spec("qwen3-30b-a3b")
    one, four = (case(small, Layout(shards=8, expert=8, micro_batch=b), on=on, batch=512) for b in (1, 4))
    assert step(one, CONSTANTS).parts["host"][0] > 0.15 * seconds(one)
    assert seconds(one) > 1.3 * seconds(four)


def test_four_bit_products_are_faster_where_there_are_units_for_them():
    on = cluster(name="gb200-nvl72-x64", nodes=1)
    chip = on.machine.accelerator
    assert chip is not None
    assert chip.peak_flops[Precision.FP4] > chip.peak_flops[Precision.FP8]
    big = load_model_spec("llama-3.1-405b")
    spread = {"tensor": 4, "pipeline": 2, "ends_count": True, "shards": 9}
    eight, four = (case(big, Layout(precision=p, **spread), on=on, sequence=8192, batch=72) for p in ("fp8", "fp4"))
    assert seconds(four) < seconds(eight)


def test_layouts_come_back_from_arrays_as_they_went_in():
    several = [Layout(tensor=2), Layout(pipeline=4, schedule="zero-bubble", ends_count=True, precision="fp8")]
    table = layouts_of(several)
    assert isinstance(table, Layouts)
    assert [table.layout(i) for i in range(2)] == several

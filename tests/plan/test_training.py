"""What a training plan says: amounts that follow from each other, plans that survive JSON, refusals in one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.plan.arrays import accelerator_of
from lindos.plan.constants import shipped_constants
from lindos.plan.explain import FORMULAS, explain
from lindos.plan.training import TrainPlan, layout_for, plan_train, read_layout, usual_batch
from lindos.specs import Layout, Precision, SpecError, load_cluster, load_model_spec
from tests.plan.cases import DENSE, MIXTURE, cluster

TOKENS = 1e10


@pytest.fixture(scope="module")
def plan() -> TrainPlan:
    return plan_train(MIXTURE, cluster(4), tokens=TOKENS, batch=64)


def test_amounts_follow_from_each_other(plan):
    best = plan.options[0]
    per_step = plan.batch * plan.sequence
    assert best.tokens_per_s == pytest.approx(per_step / best.step_s.value)
    assert sum(best.parts_s.values()) == pytest.approx(best.step_s.value)
    assert best.training_days.value == pytest.approx(TOKENS / best.tokens_per_s / 86400)
    assert best.calendar_days.value == pytest.approx(best.training_days.value / best.goodput.share)
    assert best.devices + best.spares == plan.cluster.devices
    assert best.memory_total <= best.memory_limit
    assert best.step_s.low < best.step_s.value < best.step_s.high
    flops = MIXTURE.training_flops_per_token(plan.sequence)
    peak = accelerator_of(plan.cluster).peak_flops
    assert best.mfu == pytest.approx(flops * best.tokens_per_s / (best.devices * peak[Precision.BF16]), rel=1e-9)


def test_five_different_layouts_the_fastest_first(plan):
    times = [o.step_s.value for o in plan.options]
    assert len(times) == 5
    assert times == sorted(times)
    kinds = {
        (o.layout.tensor, o.layout.pipeline, o.layout.context, o.layout.expert, o.layout.precision)
        for o in plan.options
    }
    assert len(kinds) == 5
    assert plan.fit <= plan.candidates


def test_a_plan_read_back_gives_the_same_plan(plan):
    again = TrainPlan.model_validate_json(plan.model_dump_json())
    assert again == plan
    best = again.options[0]
    same = plan_train(again.model, again.cluster, tokens=again.tokens, batch=again.batch, layout=best.layout)
    assert same.options[0] == best


def test_why_names_what_the_other_choices_cost(plan):
    assert {"tensor", "precision", "recompute"} <= {reason.field for reason in plan.why}
    assert all(reason.slower >= -1e-9 and reason.because for reason in plan.why)


def test_scaling_goes_from_8_to_100_000_through_the_cluster_itself(plan):
    sizes = [p.devices for p in plan.scaling]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (8, 100_000)
    assert plan.scaling[sizes.index(32)].step_s == plan.options[0].step_s.value
    domains = plan_train(MIXTURE, cluster(2, "gb200-nvl72-x64"), tokens=TOKENS, batch=64).scaling
    assert all(p.devices % 72 == 0 for p in domains)
    assert len(domains) > 5


def test_one_micro_batch_gains_nothing_from_more_stages_than_its_weights_gradients():
    """No schedule beats the way of one micro-batch through the network; zero-bubble may spread its weight gradients."""
    from lindos.plan.step import step
    from tests.plan.cases import case

    def seconds(**fields):
        return float(step(case(DENSE, Layout(sharding="none", **fields), batch=1), shipped_constants()).seconds[0])

    alone = seconds()
    for pipeline in (2, 4, 8):
        assert seconds(pipeline=pipeline) > 0.9 * alone
        assert seconds(pipeline=pipeline, schedule="zero-bubble") > 0.6 * alone
        for virtual in (2, 4):
            if pipeline * virtual <= DENSE.layers:
                assert seconds(pipeline=pipeline, virtual_stages=virtual, schedule="interleaved") > 0.9 * alone


def test_replicas_of_experts_sum_their_gradients_too():
    from lindos.plan.step import step
    from tests.plan.cases import case

    def shared(model):
        spread = Layout(replicas=2, shards=32, expert=1 if model is DENSE else 16)
        return float(step(case(model, spread, batch=64), shipped_constants()).parts["data parallel"][0])

    more = MIXTURE.model_copy(update={"experts": 64})
    assert shared(more) > 1.5 * shared(MIXTURE)


def test_sharding_gradients_costs_a_scatter_in_every_micro_batch():
    from lindos.plan.step import step
    from tests.plan.cases import case

    own, shared = (
        step(case(DENSE, Layout(shards=8, sharding=s), batch=64), shipped_constants()).parts["data parallel"][0]
        for s in ("optimizer", "gradients")
    )
    assert shared > 2 * own


def test_every_term_is_explained_and_they_add_up(plan):
    terms = {term.name: term for term in explain(plan, 0, shipped_constants())}
    assert set(plan.options[0].parts_s) == set(FORMULAS)
    assert sum(terms[name].value for name in FORMULAS) == pytest.approx(terms["step"].value)
    assert terms["step"].value == pytest.approx(plan.options[0].step_s.value)
    assert all(term.formula for term in terms.values())


@given(st.floats(1e9, 1e14), st.sampled_from([2048, 8192]), st.integers(8, 200_000))
def test_the_usual_batch_is_a_power_of_two_that_leaves_steps(tokens, sequence, devices):
    batch = usual_batch(tokens, sequence, devices)
    assert batch & (batch - 1) == 0
    assert batch == 1 or tokens / (batch * sequence) >= 99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens must be more than zero"),
        ({"tokens": float("nan")}, "tokens must be a number"),
        ({"tokens": 1e305}, "more than any run"),
        ({"batch": 10**12}, "at most 100,000,000 sequences"),
        ({"layout": Layout(shards=8, precision="fp4")}, "has no units for fp4"),
        ({"layout": Layout(expert=2, shards=8)}, "contradicts itself: expert = 2, but dense has no experts"),
        ({"layout": Layout(virtual_stages=2)}, "virtual_stages need pipeline stages"),
        ({"layout": Layout(pipeline=2, virtual_stages=2)}, "need schedule = interleaved"),
        ({"layout": Layout(pipeline=2, schedule="interleaved")}, "virtual_stages of 2 or more"),
        ({"layout": Layout(ends_count=True)}, "ends_count needs pipeline stages"),
        ({"layout": Layout(context=2), "sequence": 4095}, "sequence = 4095 is not a multiple of context = 2"),
        (
            {"layout": Layout(pipeline=4, virtual_stages=2, schedule="interleaved", shards=8, micro_batch=4)},
            "interleaving",
        ),
        ({"batch": -1}, "at least one sequence"),
        ({"sequence": -5}, "at least one token"),
        ({"tokens": 1000.0}, "more than all tokens"),
        ({"layout": Layout(tensor=3)}, "layout does not divide: heads = 16 is not a multiple of tensor = 3"),
        ({"layout": Layout(tensor=2, shards=5)}, "batch of 64 sequences is not a multiple"),
        ({"layout": Layout(shards=64)}, "takes 64 accelerators; 'h100-64' has 32"),
    ],
)
def test_amounts_and_layouts_that_cannot_be_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        plan_train(DENSE, cluster(4), **{"tokens": TOKENS, "batch": 64, **change})


def test_what_does_not_fit_says_by_how_much():
    with pytest.raises(SpecError, match=r"grok-1 does not fit on 'h100-8': the smallest of .* GiB too many"):
        plan_train(load_model_spec("grok-1"), load_cluster("h100-8"), tokens=1e12, batch=64)
    one = plan_train(load_model_spec("grok-1"), load_cluster("h100-8"), tokens=1e12, batch=64, layout=Layout(shards=8))
    assert not one.options[0].fits
    assert "does not fit" in one.notes[-1]


def test_a_cluster_that_always_fails_is_refused():
    broken = cluster(4).model_copy(update={"failures": 1e4})
    with pytest.raises(SpecError, match="no training gets done"):
        plan_train(DENSE, broken, tokens=TOKENS, batch=64)


def test_layouts_are_read_from_a_line():
    assert read_layout("tensor=8, pipeline=4 schedule=interleaved") == {
        "tensor": 8, "pipeline": 4, "schedule": "interleaved",
    }  # fmt: skip
    for wrong in ("tensor", "tensor=", "=8", "tensor=8,tensor=4"):
        with pytest.raises(SpecError, match="--layout"):
            read_layout(wrong)
    with pytest.raises(SpecError, match="did you mean 'tensor'"):
        layout_for({"tensr": 8}, cluster(4), 64)


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.integers(1, 100))
@settings(max_examples=50)
def test_missing_shards_fill_the_cluster_as_far_as_the_batch_divides(tensor, pipeline, micro, batch):
    batch *= micro
    layout = layout_for({"tensor": tensor, "pipeline": pipeline, "micro_batch": micro}, cluster(4), batch)
    assert layout.world <= 32
    assert batch % (layout.shards * micro) == 0


def test_borrowed_efficiencies_are_said():
    plan = plan_train(DENSE, load_cluster("tpu-v5p-8k"), tokens=1e12, picture=False)
    assert any("borrowed from" in note for note in plan.notes)

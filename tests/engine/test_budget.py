"""How a promise of memory is divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.engine.budget import FEWEST, SPARE, Wanted, Weights, divide, step_bytes
from lindos.engine.interface import EngineError
from lindos.specs import ModelSpec

MIB = 1 << 20
SPEC = ModelSpec(
    name="divided",
    layers=8,
    width=1024,
    vocabulary=32_000,
    sequence=4096,
    heads=8,
    kv_heads=2,
    head_size=128,
    experts=16,
    experts_per_token=2,
    expert_width=4096,
)
KV = 2 * SPEC.layers * SPEC.kv_heads * SPEC.head_size * 2
WEIGHTS = Weights(dense=120 * MIB, expert=7 * MIB, experts=SPEC.layers * SPEC.experts, kv_bytes=KV)

wanted = st.builds(
    Wanted,
    max_running=st.integers(1, 256),
    step_tokens=st.integers(1, 2048),
    context=st.none() | st.integers(1, 4096),
    kv_tokens=st.none() | st.integers(4096, 20_000),
)


@given(promised=st.integers(1, 8192), process=st.integers(100, 600), wanted=wanted)
def test_a_plan_keeps_its_promise(promised: int, process: int, wanted: Wanted):
    try:
        plan = divide(promised * MIB, process * MIB, WEIGHTS, SPEC, wanted)
    except EngineError:
        return
    taken = process * MIB + WEIGHTS.dense + plan.slots * WEIGHTS.expert + plan.kv_tokens * KV + SPARE
    taken += step_bytes(SPEC, plan.step_tokens, wanted.max_running)
    assert taken <= promised * MIB
    assert FEWEST <= plan.slots <= WEIGHTS.experts
    assert plan.context <= plan.kv_tokens
    assert wanted.context in (None, plan.context)
    assert wanted.kv_tokens in (None, plan.kv_tokens)
    assert plan.context <= SPEC.sequence


@given(process=st.integers(100, 600), wanted=wanted)
def test_what_a_refusal_says_would_do_does(process: int, wanted: Wanted):
    with pytest.raises(EngineError) as refused:
        divide(200 * MIB, process * MIB, WEIGHTS, SPEC, wanted)
    least = float(str(refused.value).rsplit("it takes ", 1)[1].split(" GiB")[0])
    assert divide(int(least * 2**30), process * MIB, WEIGHTS, SPEC, wanted).slots >= FEWEST


def test_more_memory_is_never_worse():
    asked = Wanted(max_running=16, step_tokens=256)
    plans = [divide(size * MIB, 300 * MIB, WEIGHTS, SPEC, asked) for size in range(720, 4000, 20)]
    whole = [plan.slots for plan in plans]
    assert whole == sorted(whole)
    assert whole[-1] == WEIGHTS.experts
    assert plans[-1].kv_tokens == 16 * SPEC.sequence

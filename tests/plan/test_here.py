"""Lindos's own engine on a measured machine: what fits, how fast, and what makes it faster."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.kernels import Probe
from lindos.kernels.rates import ROWS, KernelRate
from lindos.plan.constants import shipped_constants
from lindos.plan.install.here import decode_here, here_precisions
from lindos.plan.install.install import plan_install
from lindos.plan.install.packed import chosen_by, decode_packed, packed_bytes, seconds_per_weight
from lindos.plan.install.places import distinct_experts
from lindos.specs import ModelSpec, Precision, load_model_spec

QUANTISED = (Precision.INT8, Precision.INT4)
CONSTANTS = shipped_constants()


def here(**fields) -> Probe:
    """A machine of eight cores, unless something else is said."""
    known = {
        "processor": "Some Processor", "cores": 8, "instructions": ("avx2",), "memory_available": 16e9,
        "memory_bandwidth": 40e9, "matrix_flops": 500e9, "call_seconds": 5e-7, "disk_note": "not measured: a test",
    }  # fmt: skip
    return Probe.model_validate({**known, **fields})


def rates(fastest: float = 40e9) -> tuple[KernelRate, ...]:
    """Kernels that memory holds back up to four inputs, and their arithmetic from there on; int8 half as fast."""
    return tuple(
        KernelRate(precision=precision, rows=rows, weights_per_second=speed / max(1.0, rows / 4))
        for precision, speed in ((Precision.INT8, fastest / 2), (Precision.INT4, fastest))
        for rows in ROWS
    )


def test_this_machine_says_why_its_engine_does_not_run_a_model():
    found = decode_here(load_model_spec("grok-1"), here(), Precision.BF16, 1, 1024, CONSTANTS)
    assert not found.fits
    assert "keeps weights that are not quantised in memory" in found.reason
    for precision in (Precision.BF16, Precision.INT4):
        found = decode_here(load_model_spec("deepseek-v3"), here(kernel_rates=rates()), precision, 1, 1024, CONSTANTS)
        assert "not compute" in found.reason
    found = decode_here(load_model_spec("grok-1"), here(kernel_rates=rates()), Precision.INT4, 1, 1024, CONSTANTS)
    assert not found.fits
    assert found.missing_bytes > 100e9
    assert "than memory and disk hold" in found.reason


def test_this_machine_is_as_fast_as_memory_and_dispatch_allow():
    pebble = load_model_spec("pebble")
    assert here_precisions(pebble, here()) == (Precision.FP32, Precision.BF16)
    one = decode_here(pebble, here(), Precision.FP32, 1, 256, CONSTANTS)
    assert one.fits
    assert one.from_memory
    assert one.step_seconds == pytest.approx(sum(part.seconds for part in one.parts) + one.launch_seconds)
    faster, slower = here(memory_bandwidth=80e9), here(call_seconds=1e-6)
    assert decode_here(pebble, faster, Precision.FP32, 1, 256, CONSTANTS).step_seconds < one.step_seconds
    assert decode_here(pebble, slower, Precision.FP32, 1, 256, CONSTANTS).step_seconds > one.step_seconds
    assert decode_here(pebble, here(), Precision.BF16, 1, 256, CONSTANTS).step_seconds > one.step_seconds
    many = decode_here(pebble, here(), Precision.FP32, 8, 256, CONSTANTS)
    assert many.tokens_per_second > one.tokens_per_second
    wide = here(instructions=("amx_bf16",), memory_available=400e9)
    assert here_precisions(load_model_spec("mixtral-8x7b"), wide)[0] is Precision.BF16


def test_quantised_models_are_told_of_where_the_kernels_were_measured():
    measured = here(kernel_rates=rates(), memory_available=64e9)
    mixtral = load_model_spec("mixtral-8x7b")
    assert here_precisions(mixtral, measured)[2:] == QUANTISED
    plan = plan_install(mixtral, precisions=[Precision.INT4], machines=[], probe=measured)
    assert [row.precision for row in plan.here] == [*here_precisions(mixtral, measured)]
    assert all(row.fits for row in plan.here if row.precision in QUANTISED)
    near = CONSTANTS["engine_spread"]
    for row in plan.here[2:]:
        for speed in row.speeds:
            figure = speed.tokens_per_second
            assert figure.high == pytest.approx(near * figure.value)


@pytest.mark.parametrize("precision", QUANTISED)
def test_a_step_is_its_parts(precision: Precision):
    mixtral, measured = load_model_spec("mixtral-8x7b"), here(kernel_rates=rates(), memory_available=64e9)
    one = decode_packed(mixtral, measured, precision, 1, 512, CONSTANTS)
    seconds = {part.name: part.seconds for part in one.parts}
    assert one.step_seconds == pytest.approx(sum(seconds.values()) + one.launch_seconds)
    speed = next(rate.weights_per_second for rate in rates() if rate.precision is precision)
    active = mixtral.layers * mixtral.experts_per_token * mixtral.expert_parameters
    assert seconds["experts"] == pytest.approx(active / speed)
    assert seconds["embedding"] == pytest.approx(mixtral.vocabulary * mixtral.width / 20e9)  # int8 in either


def test_faster_kernels_memory_and_python_make_a_step_faster():
    mixtral = load_model_spec("mixtral-8x7b")
    usual = here(kernel_rates=rates(), memory_available=64e9)
    before = decode_packed(mixtral, usual, Precision.INT4, 4, 4096, CONSTANTS).step_seconds
    better = (
        {"kernel_rates": rates(80e9)},
        {"memory_bandwidth": 80e9, "matrix_flops": 1e12},
        {"call_seconds": 1e-7},
    )
    for change in better:
        measured = usual.model_copy(update=change)
        assert decode_packed(mixtral, measured, Precision.INT4, 4, 4096, CONSTANTS).step_seconds < before


def test_models_that_stay_in_the_caches_are_faster_for_their_size():
    def beside_kernels(name: str) -> float:
        spec = load_model_spec(name)
        step = decode_packed(spec, here(kernel_rates=rates(), memory_available=64e9), Precision.INT4, 1, 64, CONSTANTS)
        return step.launch_seconds / (CONSTANTS["packed_step_calls"] + spec.layers * CONSTANTS["packed_layer_calls"])

    assert beside_kernels("pebble") < 0.8 * beside_kernels("mixtral-8x7b")


def test_experts_that_memory_does_not_hold_are_read_from_the_disk():
    mixtral = load_model_spec("mixtral-8x7b")
    full = here(kernel_rates=rates(), memory_available=64e9, disk_bandwidth=1e9, disk_free=500e9)
    all_there = decode_packed(mixtral, full, Precision.INT4, 1, 512, CONSTANTS)
    assert all_there.from_memory
    steps = []
    for memory in (20e9, 12e9, 6e9):
        found = decode_packed(
            mixtral, full.model_copy(update={"memory_available": memory}), Precision.INT4, 1, 512, CONSTANTS
        )
        assert found.fits
        assert found.disk_experts == "cached"
        assert found.disk_seconds > 0
        steps.append(found)
    assert [step.disk_hits for step in steps] == sorted((step.disk_hits for step in steps), reverse=True)
    for more, less in pairwise([all_there, *steps]):
        assert more.step_seconds < less.step_seconds


@pytest.mark.parametrize("name", ["grok-1", "mixtral-8x7b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("precision", QUANTISED)
def test_bytes_are_those_of_all_weights(name: str, precision: Precision):
    spec: ModelSpec = load_model_spec(name)
    stored = packed_bytes(spec, precision, 1, 64)
    weights = sum(size for part, size in stored.items() if part != "kv")
    bits = 8 * weights / spec.parameters
    assert (4.5 if precision is Precision.INT4 else 8.5) <= bits < 8.5 + 1e-9
    assert bits < 5.5 or precision is Precision.INT8


@given(st.integers(2, 128), st.integers(1, 8), st.integers(1, 300))
def test_every_choice_meets_an_expert(experts: int, chosen: int, rows: int):
    chosen = min(chosen, experts)
    shares = chosen_by(experts, chosen, rows)
    assert sum(met * share for met, share in shares) * experts == pytest.approx(rows * chosen)
    assert sum(share for _, share in shares) * experts == pytest.approx(distinct_experts(experts, chosen, rows))


@given(st.floats(1, 1e4), st.floats(1, 1e4))
def test_more_inputs_never_take_less(few: float, many: float):
    known = [(1, 1.0), (2, 1.0), (8, 3.0), (32, 12.0)]
    few, many = sorted((few, many))
    assert seconds_per_weight(known, few) <= seconds_per_weight(known, many)
    assert seconds_per_weight(known, 64) == pytest.approx(24.0)
    assert seconds_per_weight(known, 5) == pytest.approx(2.0)
    assert seconds_per_weight(known, 0.5) == 1.0

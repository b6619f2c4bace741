"""Speed of an installed model: what must hold for every machine, and numbers one can check by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.plan.constants import shipped_constants
from lindos.plan.install.decode import decode, rate_of
from lindos.plan.install.install import installed
from lindos.plan.install.places import cache_hits, distinct_experts, place, rooms, stored_bytes
from lindos.plan.report.install_report import dollars, interval_text, price_text
from lindos.specs import Accelerator, Machine, ModelSpec, Precision, SpecError, catalog_models, load_model_spec

MODELS = [load_model_spec(name) for name in ("grok-1", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "llama-3.1-8b")]
WEIGHTS = [Precision.BF16, Precision.FP8, Precision.INT8, Precision.INT4]


def server(memory: float = 800e9, bandwidth: float = 400e9, **fields) -> Machine:
    return Machine(name="server", cores=64, host_memory_bytes=memory, host_bandwidth=bandwidth, **fields)


def gpu(memory: float = 80e9, bandwidth: float = 3e12, link: float = 450e9) -> Accelerator:
    return Accelerator(
        name="gpu", source="made up", generation="hopper", released="2023-01", memory_bytes=memory,
        memory_bandwidth=bandwidth, peak_flops={Precision.BF16: 1e15}, link_bandwidth=link, link_domain=8,
    )  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines whose places get slower from accelerators to disk, as real ones do."""
    host = draw(st.floats(50e9, 600e9))
    disk = draw(st.sampled_from([0.0, 1e9, 7e9]))
    many = draw(st.sampled_from([0, 1, 2, 8]))
    carried = {}
    if many:
        chip = gpu(draw(st.floats(8e9, 200e9)), draw(st.floats(900e9, 8e12)), draw(st.sampled_from([0.0, 450e9])))
        carried = {"accelerator": chip, "accelerators": many, "host_link": draw(st.floats(16e9, 64e9))}
    return server(draw(st.floats(4e9, 2e12)), host, disk_bytes=4e12, disk_bandwidth=disk, **carried)


def grown(machine: Machine, what: str, factor: float) -> Machine:
    chip = machine.accelerator
    if what.startswith("gpu "):
        if chip is None:
            return machine
        name = what.removeprefix("gpu ")
        return machine.model_copy(update={"accelerator": chip.model_copy(update={name: getattr(chip, name) * factor})})
    return machine.model_copy(update={what: getattr(machine, what) * factor})


GROWING = ["host_memory_bytes", "gpu memory_bytes", "disk_bytes"]
SPEEDING = ["host_bandwidth", "disk_bandwidth", "host_link", "gpu memory_bandwidth", "gpu link_bandwidth"]


@given(
    st.sampled_from(MODELS), machines(), st.sampled_from(WEIGHTS), st.sampled_from([1, 7, 64]),
    st.sampled_from(GROWING + SPEEDING), st.floats(1.01, 4),
)  # fmt: skip
def test_more_of_anything_is_never_worse(model, machine, precision, batch, what, factor):
    before = decode(model, machine, precision, batch, 1024)
    bigger = grown(machine, what, factor)
    if what == "host_bandwidth" and bigger.accelerator is not None:
        bigger = bigger.model_copy(update={"host_bandwidth": min(bigger.host_bandwidth, 1e12)})
    after = decode(model, bigger, precision, batch, 1024)
    assert after.fits or not before.fits
    assert after.missing_bytes <= before.missing_bytes
    if before.fits:
        assert after.step_seconds <= before.step_seconds * (1 + 1e-9)


@given(st.sampled_from(MODELS), machines(), st.sampled_from(WEIGHTS), st.sampled_from([1, 32]), st.integers(1, 8000))
def test_every_byte_lies_somewhere(model, machine, precision, batch, context):
    stored = stored_bytes(model, precision, batch, context)
    assert sum(size for part, size in stored.items() if part != "kv") == model.weight_bytes(precision)
    room = rooms(machine, shipped_constants())
    placed = place(stored, room)
    assert sum(sum(where.values()) for where in placed.where.values()) + placed.missing == sum(stored.values())
    for name, size in room.items():
        assert sum(where[name] for where in placed.where.values()) <= size
    assert not any(placed.where[part]["disk"] for part in ("embedding", "dense", "kv"))
    found = decode(model, machine, precision, batch, context)
    assert not found.fits or found.weight_bytes == model.weight_bytes(precision)
    assert found.fits or found.missing_bytes > 0
    assert found.fits or "short" in found.reason


@given(st.sampled_from(MODELS), machines(), st.sampled_from(WEIGHTS))
def test_more_users_never_get_less_together(model, machine, precision):
    row = installed(model, machine, precision, [1, 3, 8, 32, 256], 1024, shipped_constants())
    speeds = [speed.tokens_per_second.value for speed in row.speeds]
    assert speeds == sorted(speeds)
    assert all(speed.taken <= speed.offered for speed in row.speeds)


def test_a_server_reads_what_a_token_touches():
    grok = load_model_spec("grok-1")
    machine = server(host_flops={Precision.BF16: 1e15})
    found = decode(grok, machine, Precision.INT8, 1, 1)
    constants = shipped_constants()
    touched = grok.active_parameters + grok.embedding_parameters + 2 * grok.width + grok.kv_bytes_per_token()
    by_hand = touched / (400e9 * constants["install_host_bandwidth"]) + 64 * constants["install_host_layer"]
    assert found.step_seconds == pytest.approx(by_hand, rel=1e-6)
    assert found.from_memory
    assert found.user_tokens_per_second == pytest.approx(1 / by_hand)


def test_a_graphics_card_beside_memory_takes_the_dense_part_and_helps():
    grok = load_model_spec("grok-1")
    plain = decode(grok, server(), Precision.INT4, 1, 1024)
    helped = decode(
        grok, server(accelerator=gpu(32e9, 1.8e12), accelerators=1, host_link=64e9), Precision.INT4, 1, 1024
    )
    where = {part.name: part for part in helped.parts}
    assert where["dense"].host == 0
    assert where["kv"].host == 0
    assert where["experts"].host > where["experts"].accelerator > 0
    assert helped.host_experts == "computed"
    assert helped.step_seconds < plain.step_seconds


def test_experts_are_fetched_over_the_link_when_many_tokens_share_them():
    slow = server(200e9, 60e9, accelerator=gpu(24e9), accelerators=1, host_link=64e9)
    found = decode(load_model_spec("mixtral-8x7b"), slow, Precision.BF16, 64, 512)
    assert found.host_experts == "streamed"


def test_eight_accelerators_share_every_matrix_and_pay_for_their_links():
    grok = load_model_spec("grok-1")
    node = server(accelerator=gpu(), accelerators=8, host_link=64e9)
    found = decode(grok, node, Precision.INT8, 1, 1024)
    assert found.split == "tensor"
    assert found.link_seconds > 0
    slow = node.model_copy(update={"accelerator": gpu(link=0.0), "host_link": 1e6})
    assert decode(grok, slow, Precision.INT8, 1, 1024).split == "layers"


def test_an_all_reduce_over_a_rack_takes_longer_than_over_eight():
    grok = load_model_spec("grok-1")
    chip = gpu().model_copy(update={"link_domain": 72, "link_bandwidth": 1e18})  # latency alone is left
    of = {n: decode(grok, server(accelerator=chip, accelerators=n), Precision.INT8, 1, 1024) for n in (4, 8, 64, 72)}
    assert of[4].link_seconds == pytest.approx(of[8].link_seconds)
    assert of[64].link_seconds == pytest.approx(2 * of[8].link_seconds)
    assert of[72].link_seconds == pytest.approx(math.log2(72) / 3 * of[8].link_seconds)


EXTREME = {
    "memory_bytes": [1.0, 1e18], "memory_bandwidth": [1e3, 1e18], "link_bandwidth": [0.0, 1e3, 1e18],
    "power_watts": [0.0, 1e9], "peak_flops": [{Precision.BF16: 1e3}, {Precision.FP32: 1e20}],
}  # fmt: skip
OWN = {
    "host_memory_bytes": 1.0, "host_bandwidth": 1e3, "host_link": 1e3, "disk_bytes": 1.0, "disk_bandwidth": 1e3,
}  # fmt: skip


@given(st.fixed_dictionaries({name: st.sampled_from(found) for name, found in EXTREME.items()}), st.data())
def test_the_limits_of_own_figures_overflow_nowhere(chip, data):
    far = {name: data.draw(st.sampled_from([0.0, low, 1e18])) for name, low in OWN.items()}
    money = {name: data.draw(st.sampled_from([0.0, 1e-6, 1e12])) for name in ("price", "rent")}
    count = data.draw(st.sampled_from([1, 1_000_000]))
    machine = Machine.parse(
        {"name": "own", "accelerator": {**gpu().model_dump(), **chip}, "accelerators": count, **far, **money}
    )
    row = installed(data.draw(st.sampled_from(MODELS)), machine, Precision.INT4, [1, 256], 1024, shipped_constants())
    assert row.model_dump_json()
    assert all(len(words) < 40 for words in (dollars(row.hour.lowest), interval_text(row.one), price_text(row)))


def test_what_memory_lacks_is_read_from_disk_and_large_batches_sweep():
    grok = load_model_spec("grok-1")
    machine = server(64e9, 80e9, disk_bytes=1e12, disk_bandwidth=1.5e9)
    one = decode(grok, machine, Precision.INT4, 1, 128)
    assert one.fits
    assert not one.from_memory
    assert one.disk_experts == "cached"
    assert 5 < one.step_seconds < 60
    many = decode(grok, machine, Precision.INT4, 256, 128)
    assert many.disk_experts == "swept"
    assert many.tokens_per_second > 15 * one.tokens_per_second


def test_a_dense_model_larger_than_memory_does_not_fit_and_says_by_how_much():
    found = decode(load_model_spec("llama-3.1-405b"), server(disk_bytes=4e12, disk_bandwidth=7e9), Precision.BF16)
    assert not found.fits
    assert found.tokens_per_second == 0
    assert "only experts may lie on disk" in found.reason
    assert f"{found.missing_bytes / 1e9:,.1f} GB short" in found.reason


def test_distinct_experts_of_a_batch():
    assert distinct_experts(8, 2, 1) == pytest.approx(2)
    assert distinct_experts(8, 2, 2) == pytest.approx(8 * (1 - 0.75**2))
    assert distinct_experts(8, 2, 10_000) == pytest.approx(8)
    assert distinct_experts(0, 0, 5) == 0


def test_a_recency_cache_of_an_eighth_hits_two_thirds_with_one_sequence():
    constants = shipped_constants()
    assert cache_hits(1 / 8, 0.25, 0.25, constants) == pytest.approx(2 / 3, abs=1e-3)
    assert cache_hits(1 / 8, 1.0, 0.25, constants) == pytest.approx(1 / 8)
    assert cache_hits(0, 0.25, 0.25, constants) == 0
    assert cache_hits(1, 0.5, 0.25, constants) == pytest.approx(1)


def test_four_bit_weights_are_multiplied_wider():
    peaks = {Precision.BF16: 1.0, Precision.FP8: 2.0, Precision.INT8: 3.0}
    assert rate_of(peaks, Precision.INT4) == 1.0
    assert rate_of(peaks, Precision.INT8) == 3.0
    assert rate_of({Precision.FP32: 0.5}, Precision.FP8) == 0.5


def test_bad_sizes_are_refused():
    with pytest.raises(SpecError, match="at least 1"):
        decode(MODELS[0], server(), batch=0)


def test_every_model_of_the_catalogue_has_a_speed():
    big = server(20e12, 1e12)
    for model in catalog_models().values():
        assert isinstance(model, ModelSpec)
        assert decode(model, big, Precision.INT8, 8, min(512, model.sequence)).tokens_per_second > 0

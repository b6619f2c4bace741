"""The closed form of goodput against the facts published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.plan.goodput import goodput, restart_seconds
from lindos.specs import load_cluster

SITE = load_cluster("colossus").model_copy(update={"checkpoint_stall": 0.0})


@pytest.mark.parametrize(("restart", "interval", "share"), [(600, 300, 0.59), (60, 30, 0.96)])
def test_at_100_000_the_restart_decides(restart, interval, share):
    """At 3.79 failures per 1,000 node-days one comes every half hour; what is left is known for two ways to restart."""
    found = goodput(SITE.model_copy(update={"restart": restart}), 100_000, interval=interval)
    assert found.hours_between * 60 == pytest.approx(30.4, abs=0.1)
    assert found.share == pytest.approx(share, abs=0.005)


def test_llama_3_stayed_above_nine_tenths():
    found = goodput(load_cluster("llama-3-16k"), 16_384)
    assert found.failures_per_day == pytest.approx(419 / 54, rel=0.01)
    assert 0.90 < found.share < 0.97


def test_meta_s_larger_cluster_at_131_072():
    """Mean time to failure at 131,072 GPUs and 6.50 per 1,000 node-days: 0.23 hours."""
    assert goodput(SITE.model_copy(update={"failures": 0.0065}), 131_072).hours_between == pytest.approx(
        0.23, abs=0.005
    )


def test_start_up_grows_as_the_logs_say():
    assert restart_seconds(512) == pytest.approx(291, rel=0.05)
    assert restart_seconds(3072) == pytest.approx(439, rel=0.05)


@given(st.floats(1, 7200), st.integers(8, 200_000))
def test_no_interval_beats_the_best_one(interval, devices):
    site = load_cluster("colossus")
    best, other = goodput(site, devices), goodput(site, devices, interval=interval)
    if best.checkpoint_interval_s > 30:  # Young's optimum is first order in the rate
        assert other.share <= best.share + 0.005


@given(st.floats(0, 0.05), st.floats(1, 3600))
def test_more_failures_and_slower_restarts_never_help(failures, restart):
    calm = SITE.model_copy(update={"failures": failures, "restart": restart})
    worse = SITE.model_copy(update={"failures": failures * 1.5, "restart": restart * 1.5})
    assert 0 <= goodput(worse, 100_000, interval=120).share <= goodput(calm, 100_000, interval=120).share <= 1

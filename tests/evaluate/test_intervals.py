"""Wilson's interval: inside [0, 1], around the share, narrower with more, and right for known figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.evaluate import wilson

counts = st.integers(1, 10**6).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))


@given(counts)
def test_it_holds_the_share_and_stays_inside(counted):
    hits, count = counted
    low, high = wilson(hits, count)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= hits / count <= high + 1e-12


@given(counts)
def test_misses_mirror_hits(counted):
    hits, count = counted
    low, high = wilson(hits, count)
    low_misses, high_misses = wilson(count - hits, count)
    assert low == pytest.approx(1 - high_misses, abs=1e-9)
    assert high == pytest.approx(1 - low_misses, abs=1e-9)


@given(counts, st.integers(2, 10))
def test_more_questions_make_it_narrower(counted, times):
    hits, count = counted
    low, high = wilson(hits, count)
    low_more, high_more = wilson(hits * times, count * times)
    assert high_more - low_more < high - low


def test_known_values():
    # 10 of 20, by hand: (0.5 + 1.92073/20 -+ 1.95996 * sqrt(0.25/20 + 0.960365/400)) / (1 + 3.84146/20)
    assert wilson(10, 20) == pytest.approx((0.29930, 0.70070), abs=1e-4)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 10)[1] == pytest.approx(0.27753, abs=1e-4)


@pytest.mark.parametrize(("hits", "count"), [(1, 0), (-1, 5), (6, 5), (0, 0)])
def test_no_share_is_refused(hits, count):
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, count)

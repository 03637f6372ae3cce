"""Wilson's interval: values from the literature, and what holds of any share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.stats import wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0), (81, 263, 0.2553, 0.3662), (50, 100, 0.4038, 0.5962)],
)
def test_known_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == wilson(3, 0) == wilson(0, -1) == (0.0, 1.0)


@settings(derandomize=True)
@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_share_lies_within_and_more_cases_make_it_narrower(pair: tuple[int, int]) -> None:
    hits, of = pair
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of + 1e-9 and hits / of - 1e-9 <= high <= 1
    more = wilson(10 * hits, 10 * of)
    assert more[1] - more[0] < high - low
    assert wilson(of - hits, of) == pytest.approx((1 - high, 1 - low))

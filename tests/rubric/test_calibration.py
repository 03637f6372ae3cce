"""Calibration: bins by weight, monotone, with enough in each; and nothing at all said of few decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.calibration import LEAST, MOST_BINS, NEEDED, Bin, Calibration, Decision, calibrate, equal, monotone
from rubric.stats import wilson


def some(weight: float, right: int, of: int) -> list[Decision]:
    return [(weight, place < right) for place in range(of)]


def test_too_few_decisions_say_only_how_many_they_are() -> None:
    found = calibrate(some(0.9, 12, 12), 0.9)
    assert found == Calibration(decisions=12, needed=50) and not found.calibrated
    assert calibrate([], 0.9).decisions == 0
    assert not calibrate(some(0.9, 49, 49), 0.9).calibrated and calibrate(some(0.9, 50, 50), 0.9).calibrated


def test_like_hints_are_counted_with_an_interval() -> None:
    found = calibrate([*some(1.2, 58, 64), *some(0.7, 20, 40)], 1.2)
    low, high = wilson(58, 64)
    assert (found.decisions, found.alike, found.right, found.share, found.low, found.high) == (104, 64, 58, 58 / 64, low, high)
    assert (round(low, 2), round(high, 2)) == (0.81, 0.96)


def test_a_weight_between_bins_is_told_by_the_lower_one() -> None:
    known = [*some(0.6, 10, 40), *some(1.0, 36, 40)]
    assert [calibrate(known, weight).right for weight in (0.1, 0.6, 0.99, 1.0, 9.0)] == [10, 10, 10, 36, 36]


def test_untried_hints_are_compared_with_each_other_only() -> None:
    known = [*some(0, 55, 60), *some(0.6, 5, 60)]
    assert [(found.decisions, found.right) for found in (calibrate(known, 0), calibrate(known, 0.6))] == [(60, 55), (60, 5)]
    assert calibrate(some(0, 60, 60), 0.6) == Calibration(decisions=0)


def test_bins_are_cut_by_weight_and_equal_weights_stay_together() -> None:
    known = [*some(0.5, 0, 3), *some(0.6, 0, 18), *some(0.7, 0, 45), *some(0.8, 0, 5)]
    assert [(one.low, one.of) for one in equal(known)] == [(0.5, 21), (0.7, 50)]
    assert equal(known[::-1]) == equal(known)


def test_a_heavier_bin_that_was_right_less_often_is_pooled() -> None:
    assert monotone([Bin(0.1, 20, 5), Bin(0.2, 20, 15), Bin(0.3, 20, 10), Bin(0.4, 20, 18)]) == [Bin(0.1, 20, 5), Bin(0.2, 40, 25), Bin(0.4, 20, 18)]
    assert monotone([Bin(0.1, 10, 9), Bin(0.2, 10, 6), Bin(0.3, 10, 3)]) == [Bin(0.1, 30, 18)]
    assert monotone([]) == []


@given(st.lists(st.tuples(st.sampled_from([round(0.1 * one, 1) for one in range(1, 18)]), st.booleans()), min_size=NEEDED, max_size=400))
def test_bins_are_full_monotone_and_lose_nobody(known: list[Decision]) -> None:
    bins = equal(known)
    assert all(one.of >= LEAST for one in bins) and len(bins) <= MOST_BINS
    pooled = monotone(bins)
    assert (sum(one.of for one in pooled), sum(one.right for one in pooled)) == (len(known), sum(right for _, right in known))
    shares = [calibrate(known, weight / 10).share for weight in range(1, 18)]
    assert shares == sorted(shares, key=lambda one: one or 0.0)
    assert all(found.low <= found.share <= found.high for found in (calibrate(known, 0.5), calibrate(known, 1.5)))  # type: ignore[operator]


@pytest.mark.parametrize("weight", [-1.0, 0.3, float("inf")])
def test_odd_weights_break_nothing(weight: float) -> None:
    assert calibrate([*some(-0.2, 10, 30), *some(0.5, 25, 30)], weight).calibrated

"""Intervals and p: values from the literature or by hand, and what holds of any share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.stats import by_cluster, fisher, mcnemar, wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0), (81, 263, 0.2553, 0.3662), (50, 100, 0.4038, 0.5962)],
)
def test_known_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == wilson(3, 0) == wilson(0, -1) == (0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_share_lies_within_and_more_cases_make_it_narrower(pair: tuple[int, int]) -> None:
    hits, of = pair
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of + 1e-9 and hits / of - 1e-9 <= high <= 1
    more = wilson(10 * hits, 10 * of)
    assert more[1] - more[0] < high - low
    assert wilson(of - hits, of) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (6, 0, 0.03125), (0, 6, 0.03125), (10, 2, 158 / 4096), (2, 10, 158 / 4096), (1, 9, 22 / 1024)],
)
def test_the_exact_p_of_pairs(first: int, second: int, p: float) -> None:
    """By hand: twice the tail of a fair coin."""
    assert mcnemar(first, second) == pytest.approx(p)


def test_the_p_of_many_pairs_can_still_be_counted() -> None:
    assert 0 < mcnemar(900, 100) < 1e-100 and mcnemar(3000, 3000) == 1.0


@pytest.mark.parametrize(
    ("first", "second", "of", "p"),
    [(8, 8, 8, 1.0), (8, 4, 8, 70 / 1820), (8, 3, 8, 56 / 4368), (8, 0, 8, 1 / 12870), (3, 0, 3, 1 / 20), (3, 1, 4, 17 / 70), (0, 0, 0, 1.0)],
)
def test_the_exact_p_of_two_shares(first: int, second: int, of: int, p: float) -> None:
    """By hand from the hypergeometric distribution; 3 of 4 against 1 of 4 is Fisher's lady tasting tea."""
    assert fisher(first, of, second, of) == pytest.approx(p)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_a_smaller_second_share_has_a_smaller_p(first: int, no: int, second: int, other: int) -> None:
    of_first, of_second = first + no, second + other
    p = fisher(first, of_first, second, of_second)
    assert 0 < p <= 1
    if second:
        assert fisher(first, of_first, second - 1, of_second) <= p + 1e-12
    # Both tails hold the split itself, so together they are more than the whole.
    assert p + fisher(second, of_second, first, of_first) >= 1 - 1e-12


def test_clusters_are_drawn_whole() -> None:
    """Ten causes of thirty cases each, right or wrong as a whole: three hundred cases say hardly more than ten would."""
    hits = [float(cluster < 7) for cluster in range(10) for _ in range(30)]
    whole, single = [f"k{case // 30}" for case in range(300)], [f"k{case}" for case in range(300)]
    low, high = by_cluster(hits, whole, (0, 1))
    assert low <= 0.45 and high >= 0.9
    near = by_cluster(hits, single, (0, 1))
    assert near == pytest.approx(wilson(210, 300), abs=0.02) and near[1] - near[0] < (high - low) / 3


def test_the_same_values_give_the_same_interval_in_any_order() -> None:
    values, clusters = [1.0, 0.0, -1.0, 1.0, 1.0, 0.0], ["a", "a", "b", "c", "d", "d"]
    found = by_cluster(values, clusters, (-1, 1))
    assert found == by_cluster(values[::-1], clusters[::-1], (-1, 1)) and -1 <= found[0] < found[1] <= 1


def test_one_cluster_says_nothing_of_others() -> None:
    assert by_cluster([1.0, 1.0], ["a", "a"], (0, 1)) == by_cluster([], [], (0, 1)) == (0, 1)
    with pytest.raises(ValueError, match="longer"):
        by_cluster([1.0], ["a", "b"], (0, 1))

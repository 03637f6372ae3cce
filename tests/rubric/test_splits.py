"""The split is fixed, uniform, and foreseeable only with the secret."""

from collections import Counter
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.splits import Side, side

SECRET = b"a secret of this test"
KEYS = [f"case-{number}" for number in range(20_000)]
PINNED = {Side.scratch: 4038, Side.dev: 12022, Side.held_out: 3940}
FIRST = ["dev", "dev", "scratch", "dev", "dev", "dev", "dev", "scratch"]
SHARES = {Side.scratch: 0.2, Side.dev: 0.6, Side.held_out: 0.2}


def test_shares_are_20_60_20() -> None:
    counts = Counter(side(key, SECRET) for key in KEYS)
    for name, share in SHARES.items():
        # five standard deviations of a binomial count: a fair split leaves them once in 1.7 million secrets
        assert abs(counts[name] - share * len(KEYS)) <= 5 * sqrt(len(KEYS) * share * (1 - share))


def test_assignments_never_move() -> None:
    """A changed formula would move cases that somebody has read to the held-out side."""
    assert Counter(side(key, SECRET) for key in KEYS) == PINNED
    assert [side(key, SECRET).value for key in KEYS[:8]] == FIRST


def test_neighbouring_keys_are_independent() -> None:
    pairs = Counter((side(one, SECRET), side(two, SECRET)) for one, two in pairwise(KEYS))
    for (one, two), count in pairs.items():
        share = SHARES[one] * SHARES[two]
        assert abs(count - share * (len(KEYS) - 1)) <= 6 * sqrt(len(KEYS) * share * (1 - share))


def test_another_secret_is_another_split() -> None:
    same = sum(side(key, SECRET) is side(key, b"another") for key in KEYS)
    agree_by_chance = sum(share**2 for share in SHARES.values())  # 0.44
    assert abs(same - agree_by_chance * len(KEYS)) <= 5 * sqrt(len(KEYS) * agree_by_chance * (1 - agree_by_chance))


def test_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        side("case-1", b"")


@given(st.text(st.characters()), st.binary(min_size=1))
def test_any_key_has_one_side(key: str, secret: bytes) -> None:
    assert side(key, secret) is side(key, secret)


def test_lone_surrogate_has_a_side() -> None:
    assert side("\ud800", SECRET) in Side

"""The few statistics that our figures carry: a share or a difference is never shown without how far it may be off."""

import math
from collections.abc import Sequence
from random import Random

Z = 1.959964
"""standard normal deviate of a two-sided interval of 95 %"""
RESAMPLES = 2000


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) when nothing was counted."""
    if of <= 0:
        return 0.0, 1.0
    share, spread = hits / of, Z * Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of paired yes/no answers (McNemar 1947, binomial): from the pairs of which only one side was right.

    1 when there is no such pair. It takes the pairs for independent; where they come in clusters, look at the interval of `by_cluster` too.
    """
    different = only_first + only_second
    tail = sum(math.comb(different, hits) for hits in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << different))


def fisher(first: int, of_first: int, second: int, of_second: int) -> float:
    """Exact one-sided p that the second share is smaller than the first (Fisher 1935): the chance of a split at least as much so, the total given.

    1 when nothing was counted on either side.
    """
    total, every = first + second, math.comb(of_first + of_second, first + second)
    as_far = range(first, min(of_first, total) + 1)
    return sum(math.comb(of_first, hits) * math.comb(of_second, total - hits) for hits in as_far) / every


def by_cluster(values: Sequence[float], clusters: Sequence[str], bounds: tuple[float, float]) -> tuple[float, float]:
    """95 % interval of a mean whose values come in clusters, one cause each: whole clusters are drawn again (bootstrap, percentiles).

    `bounds` are the least and the greatest mean there can be: the answer when there are fewer than two clusters, which say nothing of others.
    The same values give the same interval, in whatever order they come.
    """
    sums: dict[str, tuple[float, int]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        total, count = sums.get(cluster, (0.0, 0))
        sums[cluster] = total + value, count + 1
    if len(sums) < 2:
        return bounds
    drawn, chance = [sums[name] for name in sorted(sums)], Random(0)
    means = []
    for _ in range(RESAMPLES):
        sample = chance.choices(drawn, k=len(drawn))
        means.append(sum(total for total, _ in sample) / sum(count for _, count in sample))
    means.sort()
    return means[math.floor(0.025 * (RESAMPLES - 1))], means[math.ceil(0.975 * (RESAMPLES - 1))]

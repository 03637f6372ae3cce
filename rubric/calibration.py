"""Calibration lives here: of the decided hints that weighed alike, how many were confirmed as drafted. It counts people's decisions only."""

from collections.abc import Sequence
from dataclasses import dataclass

from rubric.schema import Value
from rubric.stats import wilson

NEEDED = 50
"""decisions below which nothing is said: an interval of a few says less than it seems to"""
LEAST, MOST_BINS = 20, 10
"""decisions that a bin holds at least, and how many bins there are at most"""

Decision = tuple[float, bool]
"""weight that a hint was drafted with (0: it was not tried), and whether the very change that was drafted was confirmed"""


class Calibration(Value):
    """What past decisions say of a hint's weight. Until there are enough, only how many there are."""

    decisions: int
    """decided hints of the same target and critic that were tried, or not tried, as this one was"""
    needed: int = NEEDED
    alike: int | None = None
    """those that weighed about as much"""
    right: int | None = None
    """those of them whose change was confirmed as drafted"""
    share: float | None = None
    low: float | None = None
    high: float | None = None
    """95 % interval of the share (Wilson)"""

    @property
    def calibrated(self) -> bool:
        return self.alike is not None


@dataclass(frozen=True)
class Bin:
    """Hints of neighbouring weights."""

    low: float
    """the least weight in it"""
    of: int
    right: int

    def with_(self, heavier: "Bin") -> "Bin":
        return Bin(self.low, self.of + heavier.of, self.right + heavier.right)


def calibrate(decisions: Sequence[Decision], weight: float) -> Calibration:
    """The bin that a weight falls into. Hints that were not tried weigh nothing and are compared with each other only."""
    like = [one for one in decisions if (one[0] == 0) == (weight == 0)]
    if len(like) < NEEDED:
        return Calibration(decisions=len(like))
    bins = monotone(equal(like))
    # between two bins the lower one, so that a weight never seen promises no more than what was seen
    mine = max((one for one in bins if one.low <= weight), key=lambda one: one.low, default=bins[0])
    low, high = wilson(mine.right, mine.of)
    return Calibration(decisions=len(like), alike=mine.of, right=mine.right, share=mine.right / mine.of, low=low, high=high)


def equal(decisions: Sequence[Decision]) -> list[Bin]:
    """Bins of about equal counts, lightest first. Cut by weight alone, before anybody looks at who was right; equal weights stay together."""
    by_weight: dict[float, Bin] = {}
    for weight, right in sorted(decisions):
        one = Bin(weight, 1, int(right))
        by_weight[weight] = by_weight[weight].with_(one) if weight in by_weight else one
    size = max(LEAST, -(-len(decisions) // MOST_BINS))
    bins: list[Bin] = []
    for one in by_weight.values():
        if bins and bins[-1].of < size:
            bins[-1] = bins[-1].with_(one)
        else:
            bins.append(one)
    if len(bins) > 1 and bins[-1].of < size:
        last = bins.pop()
        bins[-1] = bins[-1].with_(last)
    return bins


def monotone(bins: Sequence[Bin]) -> list[Bin]:
    """Neighbours of which the heavier was not right more often are pooled (pool adjacent violators): more weight never promises less."""
    pooled: list[Bin] = []
    for one in bins:
        pooled.append(one)
        while len(pooled) > 1 and pooled[-2].right * pooled[-1].of >= pooled[-1].right * pooled[-2].of:
            heavier = pooled.pop()
            pooled[-1] = pooled[-1].with_(heavier)
    return pooled

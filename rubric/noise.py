"""Suites whose rows vary from run to run: when a row is lost, when only a person can tell, and which rows are too noisy to judge by.

Each side is run `FIRST` times. A row that passes less often on head is a suspect, and for a suspect the whole suite is run on both sides until
there are `FULL` runs each. 8 passes against 4 are p = .038, and so rare by chance for one row; but of a dozen flaky rows that nobody touched one
falls so far in 8 gates of 100. So what p < `DOUBT` finds never passes, yet it fails only below `LOST`; between the two a person looks.
`bench/gate_noise.py` counts how often each of the three comes out right.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from rubric.gating import OneSide, broken, by_id, excuses, look
from rubric.manifest import Suite
from rubric.plans import Step
from rubric.stats import fisher
from rubric.verdicts import State, SuiteVerdict, in_words

FIRST, FULL = 3, 8
"""runs of each side that show suspects, and that decide about them"""
LOST, DOUBT = 0.03, 0.05
"""one-sided p of Fisher's exact test, from `FULL` runs of each side, below which a row is lost, or may be"""
TOGETHER = 0.001
"""one-sided p of all rows of a suite taken as one, below which a person looks; strict, since it is one more look at the same runs"""
STEADY = (0.05, 0.95)
"""A row whose pass rate lies between these on a tree that did not change is noise, not news."""
ONE_IN = 5
"""At most one row in so many can be in quarantine: an exam may not be switched off row by row."""
Tally = Mapping[str, tuple[int, int]]
"""row → (passes, runs in which it was there)"""


def judge(
    step: Step,
    suite: Suite,
    base: Sequence[OneSide],
    head: Sequence[OneSide],
    quarantined: Collection[str] = (),
    waived: Mapping[str, str] | None = None,
) -> SuiteVerdict:
    """Compare all runs of one suite row by row. One run of head that gives no result, or lacks a row, fails like the only run of a
    deterministic suite; one of base leaves nothing to compare with.

    `quarantined`: see `capped`; such a row has to be there, and may fail. `waived`: row → the reason of a person who lets it be lost.
    """
    runs = (len(base), len(head))
    if not base or not head:
        return SuiteVerdict(suite=suite.id, step=step, state="inconclusive", graded=suite.graded, runs=runs, reason="was not run")
    seen = look(step, suite, _worst(suite, base), _worst(suite, head))
    before, after = tally([by_id(run.rows) for run in base]), tally([by_id(run.rows) for run in head])
    seen = seen.model_copy(update={"runs": runs, "rows_base": len(before), "rows_head": len(after)})
    if seen.state != "pass":
        return seen
    if unsteady := [row for row, (_, there) in before.items() if there < len(base)]:
        return seen.model_copy(update={"state": "error", "reason": in_words([(unsteady, "not in every run of base")])})
    if min(runs) < FIRST:
        return seen.model_copy(update={"state": "inconclusive", "reason": f"fewer than {FIRST} runs of a side say nothing about rows that vary"})
    first_before, first_after = (tally([by_id(run.rows) for run in side[:FIRST]]) for side in (base, head))
    return _compared(seen, _Runs(before, after, first_before, first_after, runs), quarantined, waived or {})


def wants_more(found: SuiteVerdict) -> bool:
    """Whether further runs can change a verdict: rows are under suspicion, and nothing else has decided already."""
    return found.state == "inconclusive" and bool(found.undecided) and min(found.runs) < FULL


@dataclass(frozen=True)
class _Runs:
    """What all runs of both sides gave, and what the first of them did."""

    before: Tally
    after: Tally
    first_before: Tally
    first_after: Tally
    runs: tuple[int, int]

    def counts(self, row: str) -> tuple[int, int, int, int]:
        return self.before[row][0], self.runs[0], self.after[row][0], self.runs[1]

    def suspect(self, row: str) -> bool:
        return self.first_after[row][0] < self.first_before[row][0]

    def lost(self, row: str) -> bool:
        return min(self.runs) >= FULL and self.suspect(row) and fell(*self.counts(row)) < LOST

    def doubtful(self, row: str) -> bool:
        """A row that fell only in the later runs was no suspect: what is known of the rule does not hold for it, so it neither fails nor passes."""
        return not self.lost(row) and (fell(*self.counts(row)) < DOUBT if min(self.runs) >= FULL else self.suspect(row))

    def rose(self, row: str) -> bool:
        """For display, so three against none are enough (p = .05)."""
        passes_base, runs_base, passes_head, runs_head = self.counts(row)
        return fell(passes_head, runs_head, passes_base, runs_base) <= DOUBT

    def vary(self, row: str) -> bool:
        passes_base, runs_base, passes_head, runs_head = self.counts(row)
        return 0 < passes_base + passes_head < runs_base + runs_head


@lru_cache(maxsize=10_000)
def fell(passes_base: int, runs_base: int, passes_head: int, runs_head: int) -> float:
    """One-sided p that a row passes less often on head. Kept: a suite has many rows and few pairs of counts."""
    return fisher(passes_base, runs_base, passes_head, runs_head)


def _compared(seen: SuiteVerdict, runs: _Runs, quarantined: Collection[str], waived: Mapping[str, str]) -> SuiteVerdict:
    both = [row for row in runs.before if runs.after.get(row, (0, 0))[1] == runs.runs[1]]
    aside, surplus = capped(quarantined, runs.before)
    there, apart = set(both), set(aside)
    judged = [row for row in both if row not in apart]
    fallen = [row for row in judged if runs.lost(row) or runs.doubtful(row)]
    excused = excuses(fallen, waived)
    gained = [row for row in judged if runs.rose(row)]
    failing = [row for row in judged if runs.before[row][0] == runs.after[row][0] == 0]
    added = [row for row in runs.after if row not in runs.before]
    found = seen.model_copy(
        update={
            "kept": len(judged) - len(fallen) - len(gained) - len(failing),
            "lost": [row for row in fallen if runs.lost(row) and row not in excused],
            "missing": [row for row in runs.before if row not in there],
            "gained": gained,
            "failing": failing,
            "new": [row for row in added if 2 * runs.after[row][0] > runs.runs[1]],
            "new_failing": [row for row in added if 2 * runs.after[row][0] <= runs.runs[1]],
            "undecided": [row for row in fallen if runs.doubtful(row) and row not in excused],
            "waived": excused,
            "suspects": [row for row in judged if runs.suspect(row)],
            "quarantined": [row for row in both if row in apart],
            "counts": {row: runs.counts(row) for row in both if runs.vary(row)},
        }
    )
    return _decided(found, surplus, _fell_together(runs, [row for row in judged if row not in excused]))


def _fell_together(runs: _Runs, rows: Sequence[str]) -> bool:
    """Whether all rows taken as one pass less often: a head that is right nine times in ten, everywhere, leaves no single row to point at."""
    if min(runs.runs) < FULL:
        return False
    sums = [sum(column) for column in zip(*map(runs.counts, rows), strict=True)]
    return bool(sums) and fisher(*sums) < TOGETHER


def _decided(found: SuiteVerdict, surplus: Sequence[str], fell_together: bool) -> SuiteVerdict:
    blocking = [(found.lost, LOST_WORDS), (found.missing, "of base missing in a run of head"), (found.new_failing, NEW_WORDS)]
    state: State = "fail" if any(rows for rows, _ in blocking) else "inconclusive" if found.undecided or fell_together else "pass"
    shown = in_words([*blocking, (found.undecided, UNDECIDED_WORDS), (surplus, SURPLUS_WORDS)])
    return found.model_copy(update={"state": state, "reason": "; ".join(filter(None, [shown, TOGETHER_WORDS if fell_together else ""]))})


TOGETHER_WORDS = "the rows together pass less often on head, beyond chance, although no row may be alone to blame"
LOST_WORDS = "lost (pass less often on head, beyond chance)"
NEW_WORDS = "new on head and failing in half of its runs or more"
UNDECIDED_WORDS = "may be lost, and the runs cannot tell"
SURPLUS_WORDS = f"judged although listed for quarantine, which holds one row in {ONE_IN}"


def _worst(suite: Suite, side: Sequence[OneSide]) -> OneSide:
    return next((run for run in side if broken(suite, run)), side[0])


def tally(runs: Sequence[Mapping[str, bool]]) -> dict[str, tuple[int, int]]:
    """row → (passes, runs in which it was there), in the order in which rows first came up."""
    found: dict[str, tuple[int, int]] = {}
    for run in runs:
        for row, passed in run.items():
            passes, there = found.get(row, (0, 0))
            found[row] = passes + passed, there + 1
    return found


def noisy(counts: Tally) -> list[str]:
    """Rows that neither pass nor fail as good as always, the noisiest first."""
    shares = {row: passes / there for row, (passes, there) in counts.items() if there}
    low, high = STEADY
    return sorted((row for row, share in shares.items() if low < share < high), key=lambda row: (abs(shares[row] - 0.5), row))


def floor(runs: Sequence[Mapping[str, bool]]) -> list[str]:
    """The noise floor of a suite, from runs (row → passed) on a tree that did not change: its noisy rows, the noisiest first."""
    return noisy(tally(runs))


def capped(rows: Collection[str], of: Collection[str]) -> tuple[list[str], list[str]]:
    """Rows of a suite that quarantine takes, and those of them that are too many for it. The first given are taken, of a set the first by name."""
    here = [row for row in dict.fromkeys(sorted(rows) if isinstance(rows, Set) else rows) if row in of]
    most = len(of) // ONE_IN
    return here[:most], here[most:]

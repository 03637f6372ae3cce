"""Runs the suites of a gate as often as it takes to judge them: once, or in turns where rows vary from run to run."""

import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from connectors.eval_port import EvalRunner, SuiteRun
from rubric.gating import judge_suite
from rubric.manifest import Suite
from rubric.noise import FIRST, FULL, judge, wants_more
from rubric.plans import Step
from rubric.verdicts import SuiteVerdict
from service.caching import KeptRun

Exam = tuple[Step, Suite, str | None, Path | None]
"""One suite to run, its rows file in the tree, and the copy that it gets."""


@dataclass
class Side:
    """A tree and the runs of the suites on it. A sampled suite gets a new copy each time: what one run leaves behind, say a cache, would make
    the next one repeat it."""

    name: str
    tree: Path
    folder: Path
    """where copies stand"""
    exams: Sequence[Exam]
    """all that is to come: if a sampled suite is among it, the tree is copied now, before anything runs"""
    times: int = FIRST
    """runs of a sampled suite at its first turn"""
    runs: dict[str, list[SuiteRun]] = field(default_factory=dict)
    """by suite id"""

    def __post_init__(self) -> None:
        self._untouched = self.folder / "untouched" / self.name
        if any(suite.kind == "sampled" for _, suite, _, _ in self.exams):
            shutil.copytree(self.tree, self._untouched)

    def run(self, exams: Sequence[Exam], runner: EvalRunner, tell: Callable[[str], None]) -> None:
        """One turn of some suites, one after the other. A run without result ends a suite's turn: more of them would say no more."""
        for _, suite, _, rows in exams:
            runs = self.runs.setdefault(suite.id, [])
            often = 1 if suite.kind != "sampled" else FULL - len(runs) if runs else self.times
            for _ in range(often):
                runs.append(self._run(suite, rows, runner))
                number = f", run {len(runs)}" if suite.kind == "sampled" else ""
                took = "from cache" if isinstance(runs[-1], KeptRun) else f"{runs[-1].seconds:.2f} s"
                tell(f"{suite.id} on {self.name}{number}: {runs[-1].failure or f'{len(runs[-1].rows)} rows'}, {took}")
                if runs[-1].failure:
                    break

    def _run(self, suite: Suite, rows: Path | None, runner: EvalRunner) -> SuiteRun:
        if suite.kind != "sampled":
            return runner.run_suite(suite, self.tree, rows)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder, ignore_cleanup_errors=True) as folder:
            return runner.run_suite(suite, shutil.copytree(self._untouched, Path(folder, self.name)), rows)


def together(sides: Sequence[Side], run: Callable[[Side], None]) -> None:
    """One thread a side: two suites never run in the same tree at once."""
    with ThreadPoolExecutor(len(sides)) as pool:
        list(pool.map(run, sides))


def judged(
    exams: Sequence[Exam],
    base: Side,
    head: Side,
    quarantined: Mapping[str, Collection[str]],
    waived: Mapping[str, Mapping[str, str]],
    run: Callable[[Side, Sequence[Exam]], None],
) -> list[SuiteVerdict]:
    """A verdict on each suite: after one turn of all, and a second one of those whose suspects it can decide."""

    def turn(which: Sequence[Exam]) -> dict[str, SuiteVerdict]:
        together((base, head), lambda side: run(side, which))
        return {suite.id: verdict(step, suite) for step, suite, _, _ in which}

    def verdict(step: Step, suite: Suite) -> SuiteVerdict:
        before, after, excused = base.runs[suite.id], head.runs[suite.id], waived.get(suite.id, {})
        if suite.kind == "sampled":
            return judge(step, suite, before, after, quarantined.get(suite.id, ()), excused)
        return judge_suite(step, suite, before[0], after[0], excused)

    found = turn(exams)
    again = [exam for exam in exams if wants_more(found[exam[1].id])]
    if again:
        found |= turn(again)
    return [found[suite.id] for _, suite, _, _ in exams]

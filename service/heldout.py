"""Suites that the service keeps: rows that no agent and no repository has ever held. What comes out are numbers, never ids or contents."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from connectors.ports import EvalRunner
from rubric.manifest import Manifest, Suite
from rubric.schema import Step

BY_OUTPUT = "outputs-jsonl"


@dataclass(frozen=True)
class HeldOut:
    """How one held-out suite fared. `failure` names the side and why it gave nothing."""

    suite: str
    rows: int = 0
    passed_base: int = 0
    passed_head: int = 0
    lost: int = 0
    """passed on base, not on head"""
    failure: str = ""

    @property
    def reason(self) -> str:
        """What it has against head, in words; empty when it has nothing."""
        if self.failure:
            return f"held-out rows of {self.suite}: {self.failure}"
        return f"{self.lost} of {self.rows} held-out rows of {self.suite} lost (which ones is kept from everybody)" if self.lost else ""


def examine_held_out(runner: EvalRunner, manifest: Manifest, steps: Collection[Step], kept: Path, base: Path, head: Path) -> list[HeldOut]:
    """Run the rows of `kept/SUITE.jsonl` on both trees, for each suite of the steps that is graded outside and deterministic.

    The trees are those that the gate ran on: without any rows. Suites that grade themselves would have to be shown what is expected, so they
    get none. Sampled ones get none either: a few rows, run once, say nothing.
    """
    found = []
    for _, suite in manifest.suites(set(steps)):
        rows = kept / f"{suite.id}.jsonl"
        if suite.results.format == BY_OUTPUT and suite.kind == "deterministic" and rows.is_file():
            found.append(_compared(runner, suite, rows, base, head))
    return found


def _compared(runner: EvalRunner, suite: Suite, rows: Path, base: Path, head: Path) -> HeldOut:
    few = suite.model_copy(update={"min_rows": 1})
    sides = {name: runner.run_suite(few, tree, rows, base) for name, tree in (("base", base), ("head", head))}
    for name, run in sides.items():
        if run.failure:
            return HeldOut(suite.id, failure=f"{run.failure} on {name}")
    before, after = ({row.row for row in run.rows if row.passed} for run in sides.values())
    return HeldOut(suite.id, len(sides["base"].rows), len(before), len(after), len(before - after))

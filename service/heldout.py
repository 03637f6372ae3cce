"""Suites that the service keeps: rows that no agent and no repository has ever held. What comes out are numbers, never ids or contents."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from connectors.ports import EvalRunner
from rubric.gating import judge_suite
from rubric.manifest import Manifest, Suite
from rubric.plans import Step
from rubric.verdicts import State
from service.exams import for_graders


@dataclass(frozen=True)
class HeldOut:
    """How the held-out rows of one suite fared."""

    suite: str
    state: State
    reason: str = ""
    """what it has against head, as a sentence that names no row; empty on a pass"""
    rows: int = 0
    passed_base: int = 0
    passed_head: int = 0


@dataclass(frozen=True)
class HeldOutRows:
    """The rows that are kept for one target, ready for one gate."""

    kept: Path
    """folder of SUITE.jsonl"""
    folder: Path
    """of the gate; copies are made there"""
    graders: Path | None
    """a tree of base that nothing has run in, if a suite has a grader"""

    @classmethod
    def ready(cls, kept: Path, manifest: Manifest, base: Path, folder: Path) -> "HeldOutRows":
        """Before the gate runs: it takes the rows out of `base`, and suites run there."""
        (folder / "held").mkdir()
        suites = [suite for _, suite in manifest.suites(set(manifest.steps))]
        return cls(kept, folder / "held", for_graders(base, suites, folder / "held"))

    def examine(self, runner: EvalRunner, manifest: Manifest, steps: Collection[Step], base: Path, head: Path) -> list[HeldOut]:
        """Run them on both trees of the gate, after it.

        A folder that is not there, and a file that is no suite's, or of a suite that would have to be shown what is expected or varies, is an
        error: an exam is not switched off by a name.
        """
        if not self.kept.is_dir():
            return [HeldOut("every suite", "error", "held-out rows: their folder is not there; see `held_out` in TRIAGE_TARGETS")]
        suites = {suite.id: (step, suite) for step, suite in manifest.suites(set(manifest.steps))}
        found = []
        for file in sorted(self.kept.glob("*.jsonl")):
            step, suite = suites.get(file.stem, (None, None))
            if step is None or suite is None or suite.graded != "outside" or suite.kind != "deterministic":
                name = file.stem[:64]
                found.append(HeldOut(name, "error", f"held-out rows of {name}: no suite of that name is deterministic and graded outside"))
            elif step in steps:
                found.append(self._compared(runner, step, suite, file, (base, head)))
        return found

    def _compared(self, runner: EvalRunner, step: Step, suite: Suite, file: Path, trees: tuple[Path, Path]) -> HeldOut:
        assert suite.rows is not None
        rows = self.folder / suite.id / Path(suite.rows.path).name  # called as in the exam that everybody knows
        rows.parent.mkdir()
        shutil.copyfile(file, rows)
        few = suite.model_copy(update={"min_rows": 1})
        base, head = (runner.run_suite(few, tree, rows, self.graders) for tree in trees)
        verdict = judge_suite(step, few, base, head)
        lost = len(verdict.lost) + len(verdict.missing)
        why = f"{lost} of {verdict.rows_base} held-out rows of {suite.id} lost (which ones is kept from everybody)"
        other = f"held-out rows of {suite.id}: {verdict.reason}" if verdict.state != "pass" else ""
        return HeldOut(
            suite.id, verdict.state, why if lost else other, verdict.rows_base, *(sum(row.passed for row in run.rows) for run in (base, head))
        )

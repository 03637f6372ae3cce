"""Makes trees fit for suites that are graded outside: nothing in them says what is expected, and what grades comes from base."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connectors.eval_port import EvalRunner, ReplayAnswer, SuiteRun
from rubric.manifest import Manifest, Replay, Suite


class Examiner:
    """An `EvalRunner` that gives every suite the tree its grader comes from."""

    def __init__(self, runner: EvalRunner, exam: Path):
        self.name, self._runner, self._exam = runner.name, runner, exam

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        return self._runner.run_suite(suite, tree, rows_file, exam or self._exam)

    def replay(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        return self._runner.replay(replay, tree, cases)


def for_graders(base: Path, suites: Iterable[Suite], folder: Path) -> Path | None:
    """A copy of base, with everything, that no program under test runs in; None when no suite has a grader. `folder`: where it is made."""
    if not any(suite.grade and suite.grade.argv for suite in suites):
        return None
    return Path(shutil.copytree(base, folder / "exam"))


def hide(manifest: Manifest, *trees: Path) -> None:
    """Remove all files that hold rows from throw-away trees, if any suite of the manifest is graded outside.

    Of all suites, not of those that run: one that is run later, or that nobody runs today, has its answers in the same folder.
    """
    if not manifest.kept:
        return
    for tree in trees:
        for path in tree.rglob("*"):
            if path.is_file() and manifest.is_exam(path.relative_to(tree).as_posix()):
                path.unlink()


def set_apart(runner: EvalRunner, manifest: Manifest, suites: Iterable[Suite], base: Path, head: Path, folder: Path) -> EvalRunner:
    """Copy what grades, hide what is expected from both trees; the runner to go on with. The rows that suites are given are copied before."""
    exam = for_graders(base, suites, folder)
    hide(manifest, base, head)
    return Examiner(runner, exam) if exam else runner

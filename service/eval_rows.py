"""Makes the eval row that a pull brings: the case under made-up names, kept only if it fails on base and passes on head."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from connectors.ports import EvalRunner
from rubric.manifest import Manifest, Suite
from rubric.rendering import BadTemplate, render
from rubric.schema import Hint
from service.exams import for_graders
from service.redaction import pseudonymise, redact, redact_plan


@dataclass(frozen=True)
class NewRow:
    """A row that proves the change, or why there is none."""

    note: str
    """One sentence of ours for the pull; holds no customer text."""
    suite: str | None = None
    row: dict[str, Any] | None = None
    files: dict[str, bytes | None] = field(default_factory=dict)
    """the suite's rows file with the row added"""


def make_row(runner: EvalRunner, manifest: Manifest, hint: Hint, hint_id: str, original: dict[str, Any], base: Path, head: Path) -> NewRow:
    """Make and try the row of a hint in its step's suite. `base` and `head` are the trees before and after the change."""
    rules = manifest.steps.get(hint.step)
    suite = next((one for one in rules.suites if one.rows and one.rows.add is not None), None) if rules else None
    if suite is None or suite.rows is None or suite.rows.add is None:
        return NewRow("none: the manifest does not say how this step's rows are made")
    if manifest.replay is None:
        return NewRow("none: the manifest names no replay to learn the new plan from")
    answer = runner.replay(manifest.replay, head, {hint.cure_case: {"ticket": original["ticket"]}})[0]
    if answer.plan is None:
        return NewRow(f"none: the case cannot be replayed on head ({answer.failure})")
    try:
        row = _fill(suite.rows.add, hint_id, original, answer.plan)
    except BadTemplate as error:
        return NewRow(f"none: {error}")
    path = base / suite.rows.path
    if not path.is_file():
        return NewRow(f"none: {suite.rows.path} is not in the target")
    return _tried(runner, suite, row, base, head, path.read_bytes())


def _fill(template: dict[str, Any], hint_id: str, original: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    work, masks = redact(original)
    fields = {"row_id": hint_id, "ticket": pseudonymise(work["ticket"]), "after": pseudonymise(redact_plan(after, masks))}
    row = render(template, fields)
    if not isinstance(row, dict):
        raise BadTemplate("the template of a row is no mapping")
    return row


def with_row(rows: bytes, row: dict[str, Any]) -> bytes:
    """A rows file with one more row at its end."""
    return rows + (b"" if not rows or rows.endswith(b"\n") else b"\n") + (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _tried(runner: EvalRunner, suite: Suite, row: dict[str, Any], base: Path, head: Path, rows: bytes) -> NewRow:
    assert suite.rows is not None
    together = with_row(rows, row)
    with TemporaryDirectory() as folder:
        file = Path(folder) / Path(suite.rows.path).name
        file.write_bytes(together)
        exam = for_graders(base, [suite], Path(folder))
        before, after = (_passed(runner, suite, tree, file, row, exam) for tree in (base, head))
    if before is None or after is None:
        return NewRow("none: the suite could not be run with the new row")
    if before:
        return NewRow("none: the row passes without the change already, so it would prove nothing")
    if not after:
        return NewRow("none: with made-up names the row does not pass after the change")
    return NewRow(f"one row in {suite.rows.path}; it fails on base and passes on head", suite.id, row, {suite.rows.path: together})


def _passed(runner: EvalRunner, suite: Suite, tree: Path, file: Path, row: dict[str, Any], exam: Path | None) -> bool | None:
    """Whether the new row passes in a tree; None when there is no telling."""
    run = runner.run_suite(suite, tree, file, exam)
    name = suite.name_of(row)
    return next((one.passed for one in run.rows if one.row == name), None) if run.failure is None else None

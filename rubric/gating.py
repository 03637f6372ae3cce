"""The gate's judgement: which rows a suite runs on, what counts as lost, one verdict out of all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from rubric.endings import FROM_OUTSIDE
from rubric.manifest import Manifest, Suite, matches
from rubric.plans import Step
from rubric.verdicts import GRAVITY, ControlVerdict, CureVerdict, GateVerdict, State, SuiteVerdict, in_words

SHORT = ("no_rows", "too_few_rows")
"""Failures of a suite that ran to its end and showed too little."""


class CheckedRow(Protocol):
    """One row as a run reports it; `connectors.ports.Row` fits."""

    @property
    def row(self) -> str: ...
    @property
    def passed(self) -> bool: ...


class OneSide(Protocol):
    """One run of a suite on one tree; `connectors.ports.SuiteRun` fits. This floor may not name it."""

    @property
    def rows(self) -> Sequence[CheckedRow]: ...
    @property
    def failure(self) -> str | None: ...


def judge_suite(step: Step, suite: Suite, base: OneSide, head: OneSide, waived: Mapping[str, str] | None = None) -> SuiteVerdict:
    """Compare two runs of one suite row by row; the totals decide nothing.

    `waived`: row → the reason of a person who lets it be lost; a blank reason is none. Suites whose rows vary need `rubric.noise.judge`.
    """
    if suite.kind == "sampled":
        reason = "one run of each side says nothing about rows that vary"
        return SuiteVerdict(suite=suite.id, step=step, state="inconclusive", graded=suite.graded, reason=reason)
    seen = look(step, suite, base, head)
    return seen if seen.state != "pass" else _compared(seen, by_id(base.rows), by_id(head.rows), waived or {})


def look(step: Step, suite: Suite, base: OneSide, head: OneSide) -> SuiteVerdict:
    """Whether both sides gave something to compare: `pass`, still without a row.

    Head alone failing to run is head's fault (fail), unless it was ended from outside (error: it can be tried again); base failing
    leaves nothing to compare with (error).
    """
    before, after = by_id(base.rows), by_id(head.rows)
    broken_base, broken_head = broken(suite, base), broken(suite, head)
    seen = SuiteVerdict(suite=suite.id, step=step, state="pass", graded=suite.graded, rows_base=len(before), rows_head=len(after))
    ran_short = head.failure is None or head.failure in SHORT
    if broken_head and head.failure not in FROM_OUTSIDE and (not broken_base or ran_short):
        return seen.model_copy(update={"state": "fail", "reason": f"on head: {broken_head}"})
    if broken_base or broken_head:
        reason = "; ".join(f"on {name}: {why}" for name, why in (("base", broken_base), ("head", broken_head)) if why)
        return seen.model_copy(update={"state": "error", "reason": reason})
    return seen


def _compared(seen: SuiteVerdict, before: dict[str, bool], after: dict[str, bool], waived: Mapping[str, str]) -> SuiteVerdict:
    both = [row for row in before if row in after]
    fallen = [row for row in both if before[row] and not after[row]]
    excused = excuses(fallen, waived)
    lost = [row for row in fallen if row not in excused]
    missing = [row for row in before if row not in after]
    new_failing = [row for row in after if row not in before and not after[row]]
    blocking = [(lost, "lost (passed on base, not on head)"), (missing, "of base missing on head"), (new_failing, "new on head and failing")]
    reason = in_words(blocking)
    return SuiteVerdict(
        suite=seen.suite,
        step=seen.step,
        state="fail" if reason else "pass",
        graded=seen.graded,
        rows_base=seen.rows_base,
        rows_head=seen.rows_head,
        kept=sum(before[row] and after[row] for row in both),
        lost=lost,
        missing=missing,
        gained=[row for row in both if not before[row] and after[row]],
        failing=[row for row in both if not before[row] and not after[row]],
        new=[row for row in after if row not in before and after[row]],
        new_failing=new_failing,
        waived=excused,
        reason=reason,
    )


def excuses(rows: Iterable[str], waived: Mapping[str, str]) -> dict[str, str]:
    """The rows that a person gave a reason for. Words are asked for: a waiver that says nothing cannot be judged by anybody later."""
    return {row: waived[row] for row in rows if waived.get(row, "").strip()}


def by_id(rows: Sequence[CheckedRow]) -> dict[str, bool]:
    """row → passed, in the order of the run."""
    found: dict[str, bool] = {}
    for row in rows:
        # A runner refuses a row that stands twice; if one does not, the worse of the two counts.
        found[row.row] = row.passed and found.get(row.row, True)
    return found


def broken(suite: Suite, side: OneSide) -> str:
    """Why a side has no result to compare, in words; empty when it has one."""
    rows = by_id(side.rows)
    if side.failure is not None and side.failure not in SHORT:
        return f"the suite could not run ({side.failure})"
    if not rows:
        return "no rows, which is not a pass (no_rows)"
    if len(rows) < suite.min_rows:
        return f"{len(rows)} rows, {suite.min_rows} are needed (too_few_rows)"
    return f"too little to judge ({side.failure})" if side.failure else ""


def judge_gate(
    verdicts: Sequence[SuiteVerdict], cure: CureVerdict | None, controls: Sequence[ControlVerdict], beside: Sequence[tuple[State, str]] = ()
) -> GateVerdict:
    """One state out of all: fail beats error beats inconclusive beats pass; no suite at all is not a pass.

    `cure` None: no cure case was asked about, as when the command runs the gate alone. `beside`: what else was found, and how grave it is.
    """
    found: list[tuple[State, str]] = [(verdict.state, f"{verdict.suite}: {verdict.reason}") for verdict in verdicts]
    found += beside
    if not verdicts:
        found.append(("inconclusive", "no suite was run"))
    if cure and cure.state != "cured":
        state: State = "fail" if cure.state == "no_effect" else "error"
        found.append((state, f"the case {cure.case_id} is not cured" + (f": {cure.reason}" if cure.reason else "")))
    for control in controls:
        if control.state in ("changed", "error"):
            state = "fail" if control.state == "changed" else "error"
            what = "changed" if control.state == "changed" else "could not be run"
            found.append((state, f"the control case {control.case_id} {what}" + (f": {control.reason}" if control.reason else "")))
    worst = next((state for state in GRAVITY if any(one == state for one, _ in found)), "pass")
    ordered = [reason for state in GRAVITY if state != "pass" for one, reason in found if one == state]
    return GateVerdict(state=worst, reasons=ordered)


def rows_path(manifest: Manifest, step: Step, suite: Suite, paths: Iterable[str]) -> str | None:
    """Which file of the base tree becomes `{in}`; None: none, or none that is certain.

    Without `rows.path` it is the one file that is protected, that some recipe may add to, and that lies in a folder
    named like the step (`evals/fetch/cases.jsonl`). Two such files are no answer, nor is one that holds what another suite must not see.
    """
    if suite.rows is not None:
        return suite.rows.path
    if not any("{in}" in word for word in suite.argv):
        return None
    globs = {glob for allowed in manifest.allow.values() for glob in allowed}
    found = [
        path for path in paths if step.value in path.split("/")[:-1] and manifest.is_protected(path) and any(matches(path, glob) for glob in globs)
    ]
    return found[0] if len(found) == 1 and found[0] not in manifest.kept else None


def escaped(text: str) -> str:
    """Text on one line, harmless to a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

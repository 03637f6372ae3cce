"""The gate: step evals on base and head, the hint's own case through replay, and accepted cases that must not change."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.ports import EvalRunner, PortError, Ports, ReplayAnswer
from rubric.expectations import difference, judge
from rubric.gating import ControlVerdict, CureVerdict, GateVerdict, judge_gate
from rubric.hygiene import cut
from rubric.manifest import Manifest
from rubric.schema import Hint, Plan, Verdict
from service.db import Database
from service.gating import GateRefused, GateReport, run_gate
from service.lifecycle import GateState, PullState
from service.redaction import redact, redact_plan
from service.scratch import scratch
from service.store import cases, gate_runs, hints, history, originals, pulls
from service.targets import host_of, look

FEW = 20
"""cases that are replayed at once when all together did not end in time"""
STATES = {"pass": GateState.passed, "fail": GateState.failed, "inconclusive": GateState.inconclusive, "error": GateState.error}


@dataclass(frozen=True)
class _Exam:
    """What is examined, and with which cases."""

    pull: pulls.Pull
    hint: Hint
    originals: dict[str, dict[str, Any]]
    controls: list[str]


@dataclass(frozen=True)
class _Result:
    verdict: GateVerdict
    gate: GateReport
    cure: CureVerdict
    controls: list[ControlVerdict]
    effect: list[str]
    """what the change does to the case, part by part; no values of the customer"""


def run(db: Database, ports: Ports, pull_id: str) -> GateState | None:
    """Examine a pull's head against its base, once per pair of commits. Returns the state reached, None if there is no such pull."""
    exam = _read(db, ports, pull_id)
    if exam is None:
        return None
    done = _begin(db, exam.pull)
    if done is not None:
        return done
    try:
        result = _ask(ports, exam)
    except (PortError, GateRefused) as error:
        return _write(db, exam.pull, GateState.error, {"reasons": [f"{error.code}: {error}"]})
    report = {
        "reasons": result.verdict.reasons,
        **{key: value for key, value in result.gate.to_json().items() if key not in ("state", "reasons")},
        "cure": result.cure.model_dump(),
        "controls": [control.model_dump() for control in result.controls],
        "effect": result.effect,
    }
    return _write(db, exam.pull, STATES[result.verdict.state], report)


def _read(db: Database, ports: Ports, pull_id: str) -> _Exam | None:
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        hint = hints.get(session, pull.hint_id) if pull else None
        case = cases.get(session, hint.case_id) if hint else None
        if pull is None or hint is None or case is None:
            return None
        most = ports.limits.gate_controls
        near = [row.id for row in cases.neighbours(session, case, Verdict.accepted, most)]
        controls = list(dict.fromkeys([*hint.hint.controls, *near]))[:most]
        return _Exam(pull, hint.hint, originals.bodies(session, [case.id, *controls]), controls)


def run_id(pull: pulls.Pull) -> str:
    return f"{pull.id}-{pull.base_sha[:8]}-{pull.head_sha[:8]}"


def _begin(db: Database, pull: pulls.Pull) -> GateState | None:
    """Open the run's row; the state of a run that has ended already."""
    with db.begin() as session:
        row = gate_runs.get(session, run_id(pull))
        if row is None:
            row = gate_runs.GateRun(
                id=run_id(pull), pull_id=pull.id, base_sha=pull.base_sha, head_sha=pull.head_sha, state=GateState.running, started_at=db.now()
            )
            history.begin(session, row, by="gate")
        elif row.state is GateState.error:
            history.move(session, row, GateState.running, by="gate", why="tried again", finished_at=None)
        return None if row.state is GateState.running else row.state


def _ask(ports: Ports, exam: _Exam) -> _Result:
    host = host_of(ports.hosts, exam.pull.target)
    target = look(host, exam.pull.base_sha)
    changed = host.changed(exam.pull.base_sha, exam.pull.head_sha)
    with scratch(ports.workdir, f"gate-{run_id(exam.pull)}") as folder:
        base, head = folder / "base", folder / "head"
        host.export(exam.pull.base_sha, base)
        host.export(exam.pull.head_sha, head)
        extra = {exam.pull.row_suite: json.dumps(exam.pull.row, ensure_ascii=False) + "\n"} if exam.pull.row_suite and exam.pull.row else {}
        report = run_gate(base, head, changed, target.manifest, ports.evals, extra)
        before, after = (_plans(ports.evals, target.manifest, tree, exam.originals) for tree in (base, head))
    cure, effect = _cured(exam, before, after)
    cure = _with_row(exam, cure, report)
    controls = [_unchanged(case_id, exam, before, after) for case_id in exam.controls]
    verdict = judge_gate(report.suites, cure, controls)
    return _Result(verdict, report, cure, controls, effect)


def _plans(runner: EvalRunner, manifest: Manifest, tree: Path, inputs: Mapping[str, dict[str, Any]]) -> dict[str, ReplayAnswer]:
    if manifest.replay is None:
        return {case_id: ReplayAnswer(case_id, failure="no_replay", detail="the manifest names no replay") for case_id in inputs}
    tickets = {case_id: originals.ticket_of(body) for case_id, body in inputs.items()}
    answers = {answer.case_id: answer for answer in runner.replay(manifest.replay, tree, tickets)}
    late = [case_id for case_id in tickets if answers[case_id].failure == "timeout"]
    for first in range(0, len(late), FEW):  # a slow pipeline gets the manifest's time for a few at once, as often as it takes
        few = {case_id: tickets[case_id] for case_id in late[first : first + FEW]}
        answers |= {answer.case_id: answer for answer in runner.replay(manifest.replay, tree, few)}
    return answers


def _masked(answer: ReplayAnswer | None, original: dict[str, Any]) -> Plan | None:
    """The answer in the words of the work copy, so that it compares with what the hint says."""
    if answer is None or answer.plan is None:
        return None
    return Plan.model_validate(redact_plan(answer.plan, redact(original)[1]))


def _cured(exam: _Exam, before: Mapping[str, ReplayAnswer], after: Mapping[str, ReplayAnswer]) -> tuple[CureVerdict, list[str]]:
    case_id = exam.hint.cure_case
    original = exam.originals.get(case_id)
    if original is None:
        return CureVerdict(case_id=case_id, state="error", reason="the case is gone"), []
    old, new = _masked(before.get(case_id), original), _masked(after.get(case_id), original)
    if old is None or new is None:
        failed = before.get(case_id) if old is None else after.get(case_id)
        side = "base" if old is None else "head"
        return CureVerdict(case_id=case_id, state="error", reason=f"no plan on {side} ({failed.failure if failed else 'replay_missing'})"), []
    unmet = judge(exam.hint.must, exam.hint.must_not, old, new)
    return CureVerdict(case_id=case_id, state="no_effect" if unmet else "cured", reason="; ".join(unmet)), difference(old, new)


def _with_row(exam: _Exam, cure: CureVerdict, report: GateReport) -> CureVerdict:
    """The pull's own eval row has to fail on base and pass on head; a row that does neither proves nothing."""
    if not exam.pull.row_suite or not exam.pull.row or cure.state != "cured":
        return cure
    suites = [suite for suite in report.suites if suite.suite == exam.pull.row_suite]
    if any(suite.state == "error" or str(exam.pull.row.get("id")) in suite.gained for suite in suites):
        return cure  # a suite that could not run speaks for itself: nothing is known of the row
    return CureVerdict(case_id=cure.case_id, state="no_effect", reason="its eval row does not go from failing to passing")


def _unchanged(case_id: str, exam: _Exam, before: Mapping[str, ReplayAnswer], after: Mapping[str, ReplayAnswer]) -> ControlVerdict:
    original = exam.originals.get(case_id)
    if original is None:
        return ControlVerdict(case_id=case_id, state="error", reason="the case is gone")
    first, second = before.get(case_id), after.get(case_id)
    if first and second and first.plan is not None and first.plan == second.plan:
        return ControlVerdict(case_id=case_id, state="same")  # most are, and need no masks
    old, new = _masked(first, original), _masked(second, original)
    if old is None and new is None and "timeout" in (first and first.failure, second and second.failure):
        return ControlVerdict(case_id=case_id, state="error", reason="did not end in time on either side")
    if old is None and new is None:
        return ControlVerdict(case_id=case_id, state="same", reason="cannot be replayed on either side")
    if old is None or new is None:
        return ControlVerdict(case_id=case_id, state="error", reason=f"no plan on {'base' if old is None else 'head'}")
    changes = difference(old, new)
    return ControlVerdict(case_id=case_id, state="changed" if changes else "same", reason="; ".join(changes))


def _write(db: Database, pull: pulls.Pull, state: GateState, report: dict[str, Any]) -> GateState:
    with db.begin() as session:
        row = gate_runs.get(session, run_id(pull))
        if row is None or row.state is not GateState.running:
            return row.state if row else state
        why = cut("; ".join(report["reasons"]), 300)
        history.move(session, row, state, by="gate", why=why, report=report, finished_at=db.now())
        current = pulls.get(session, pull.id)
        if current and current.state is PullState.draft and current.head_sha == pull.head_sha and state is GateState.passed:
            history.move(session, current, PullState.ready, by="gate", why="every step eval passed")
        return state


def fail(db: Database, pull_id: str, reason: str) -> None:
    """Record that the flow broke."""
    with db.read() as session:
        pull = pulls.get(session, pull_id)
    if pull:
        _write(db, pull, GateState.error, {"reasons": [reason]})

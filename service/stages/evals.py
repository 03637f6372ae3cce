"""The gate: step evals on base and head, the hint's own case through replay, and accepted cases that must not change."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from connectors.ports import PortError, Ports, ReplayAnswer
from rubric.expectations import difference, judge
from rubric.gating import judge_gate
from rubric.hygiene import cut
from rubric.manifest import Manifest, Replay
from rubric.noise import noisy
from rubric.schema import Hint, Plan, Verdict
from rubric.verdicts import ControlVerdict, CureVerdict, GateVerdict, State
from service.caching import CachedEvals, environment_of
from service.db import Database
from service.gate_notes import Progress, Results
from service.gating import GateRefused, GateReport, run_gate
from service.heldout import HeldOut, HeldOutRows
from service.lifecycle import GateState, PullState
from service.redaction import redact, redact_plan
from service.scratch import scratch
from service.store import cases, gate_runs, handoffs, hints, history, originals, pulls, row_noise, waivers
from service.targets import host_of, look

FEW = 20
"""cases that are replayed at once when all together did not end in time"""
ROUNDS = 20
"""times the manifest's timeout that replays on both sides may take in all; none is begun after that"""
STATES = {"pass": GateState.passed, "fail": GateState.failed, "inconclusive": GateState.inconclusive, "error": GateState.error}


@dataclass(frozen=True)
class _Exam:
    """What is examined, and with which cases."""

    pull: pulls.Pull
    hint: Hint
    originals: dict[str, dict[str, Any]]
    controls: list[str]
    by_model: bool
    """a model wrote the head: it is run in a box, or not at all"""
    waived: dict[str, dict[str, str]] = field(default_factory=dict)
    """suite → row → the reason of a person, on this head"""
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    """suite → its noisy rows, the noisiest first, by a measurement that has not expired"""


@dataclass(frozen=True)
class _Result:
    verdict: GateVerdict
    gate: GateReport
    cure: CureVerdict
    controls: list[ControlVerdict]
    effect: list[str]
    """what the change does to the case, part by part; no values of the customer"""
    held_out: list[HeldOut]


def run(db: Database, ports: Ports, pull_id: str) -> GateState | None:
    """Examine a pull's head against its base, once per pair of commits. Returns the state reached, None if there is no such pull."""
    exam = _read(db, ports, pull_id)
    if exam is None:
        return None
    done = _begin(db, exam.pull)
    if done is not None:
        return done
    exam = _with_leniency(db, exam)
    try:
        result = _ask(ports, exam, Results(db), Progress(db, run_id(exam.pull), time.monotonic))
    except (PortError, GateRefused) as error:
        return _write(db, exam.pull, GateState.error, {"reasons": [f"{error.code}: {error}"]})
    report = {
        "reasons": result.verdict.reasons,
        **{key: value for key, value in result.gate.to_json().items() if key not in ("state", "reasons")},
        "cure": result.cure.model_dump(),
        "controls": [control.model_dump() for control in result.controls],
        "effect": result.effect,
        "held_out": [vars(one) for one in result.held_out],
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
        work = handoffs.get(session, pull.handoff_id)
        by_model = work is not None and work.by_model
        return _Exam(pull, hint.hint, originals.bodies(session, [case.id, *controls]), controls, by_model)


def _with_leniency(db: Database, exam: _Exam) -> _Exam:
    """What is not held against the head. Read once the run stands as running: from then on no waiver can come that it does not know."""
    with db.read() as session:
        waived = waivers.on_head(session, exam.pull.id, exam.pull.head_sha)
        return replace(exam, waived=waived, quarantined=_noise(row_noise.standing(session, exam.pull.target, db.now())))


def _noise(standing: list[row_noise.RowNoise]) -> dict[str, list[str]]:
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for one in standing:
        counts.setdefault(one.suite, {})[one.row] = (one.passes, one.runs)
    return {suite: noisy(rows) for suite, rows in counts.items()}


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
            history.move(session, row, GateState.running, by="gate", why="tried again", finished_at=None, progress=[])
        return None if row.state is GateState.running else row.state


def _ask(ports: Ports, exam: _Exam, results: Results, progress: Progress) -> _Result:
    if exam.by_model:
        if ports.boxed is None:
            raise PortError("no_sandbox", "a model wrote this head, and it is run in a box or not at all; `triage doctor` says why there is none")
        ports = replace(ports, evals=ports.boxed)
    runner = CachedEvals(ports.evals, results.look_up, results.keep, environment=environment_of(sys.version, sys.path))
    host = host_of(ports.hosts, exam.pull.target)
    target = look(host, exam.pull.base_sha)
    changed = host.changed(exam.pull.base_sha, exam.pull.head_sha)
    with scratch(ports.workdir, f"gate-{run_id(exam.pull)}") as folder:
        base, head = folder / "base", folder / "head"
        host.export(exam.pull.base_sha, base)
        host.export(exam.pull.head_sha, head)
        extra = {exam.pull.row_suite: json.dumps(exam.pull.row, ensure_ascii=False) + "\n"} if exam.pull.row_suite and exam.pull.row else {}
        rows = ports.held_out.get(exam.pull.target)
        kept = HeldOutRows.ready(rows, target.manifest, base, folder) if rows else None
        report = run_gate(base, head, changed, target.manifest, runner, extra, tell=progress.tell, waived=exam.waived, quarantined=exam.quarantined)
        held = kept.examine(ports.evals, target.manifest, report.steps, base, head) if kept else []
        before, after = _replayed(ports, target.manifest, exam, base, head)
    sides = {case_id: _Sides(body, before.get(case_id), after.get(case_id)) for case_id, body in exam.originals.items()}
    cure, effect = _cured(exam, sides.get(exam.hint.cure_case))
    cure = _with_row(exam, cure, report, target.manifest)
    controls = [_unchanged(case_id, sides.get(case_id)) for case_id in exam.controls]
    verdict = judge_gate(report.suites, cure, controls, [*_by_held_out(held), *_by_its_own_word(exam, report)])
    return _Result(verdict, report, cure, controls, effect, held)


def _by_held_out(held: list[HeldOut]) -> list[tuple[State, str]]:
    return [(one.state, one.reason) for one in held if one.reason]


def _by_its_own_word(exam: _Exam, report: GateReport) -> list[tuple[State, str]]:
    """What code of a model says of itself is no proof: a person has to look."""
    selves = [suite.suite for suite in report.suites if suite.graded == "self"]
    if not exam.by_model or not selves:
        return []
    return [("inconclusive", f"a model wrote this code, and it grades itself in {', '.join(selves)}; a person has to look")]


def _replayed(ports: Ports, manifest: Manifest, exam: _Exam, base: Path, head: Path) -> tuple[dict[str, ReplayAnswer], dict[str, ReplayAnswer]]:
    """The plans on both sides. When base takes too long over the hint's own case the verdict is settled, and head is not asked."""
    if manifest.replay is None:
        none = {case_id: ReplayAnswer(case_id, failure="no_replay", detail="the manifest names no replay") for case_id in exam.originals}
        return none, none
    own = exam.hint.cure_case  # goes first: where time runs out, it has had its own
    tickets = {one: originals.ticket_of(exam.originals[one]) for one in dict.fromkeys([own, *exam.originals]) if one in exam.originals}
    end = ports.now() + timedelta(seconds=ROUNDS * manifest.replay.timeout_s)
    before = _plans(ports, manifest.replay, base, tickets, end)
    hangs = own in before and before[own].failure == "timeout"
    return before, _plans(ports, manifest.replay, head, tickets, ports.now() if hangs else end)


def _plans(ports: Ports, replay: Replay, tree: Path, tickets: Mapping[str, dict[str, Any]], end: datetime) -> dict[str, ReplayAnswer]:
    """A slow pipeline gets the manifest's time for a few at once, as often as it takes until `end`; one that answers none of a few is hanging."""
    if ports.now() >= end:
        return {one: ReplayAnswer(one, failure="timeout", detail="not asked: the time for replays is used up") for one in tickets}
    answers = {answer.case_id: answer for answer in ports.evals.replay(replay, tree, tickets)}
    late = [case_id for case_id in tickets if answers[case_id].failure == "timeout"]
    for first in range(0, len(late), FEW):
        if ports.now() >= end:
            break
        few = {case_id: tickets[case_id] for case_id in late[first : first + FEW]}
        found = {answer.case_id: answer for answer in ports.evals.replay(replay, tree, few)}
        answers |= found
        if all(answer.failure == "timeout" for answer in found.values()):
            break
    return answers


@dataclass(frozen=True)
class _Sides:
    """What the replays said of one case, as received, on base and head."""

    original: dict[str, Any]
    before: ReplayAnswer | None
    after: ReplayAnswer | None

    def plans(self) -> tuple[Plan | None, Plan | None]:
        """Both in the words of the work copy, so that they compare with what the hint says; the same value has the same placeholder in both."""
        masks = redact(self.original)[1]
        found = (answer.plan if answer else None for answer in (self.before, self.after))
        old, new = (Plan.model_validate(redact_plan(plan, masks)) if plan is not None else None for plan in found)
        return old, new

    def missing(self, old: Plan | None) -> str:
        """Where there is no plan, and why; `old`: the one on base."""
        failed = self.before if old is None else self.after
        return f"no plan on {'base' if old is None else 'head'} ({failed.failure if failed else 'replay_missing'})"


def _cured(exam: _Exam, sides: _Sides | None) -> tuple[CureVerdict, list[str]]:
    case_id = exam.hint.cure_case
    if sides is None:
        return CureVerdict(case_id=case_id, state="error", reason="the case is gone"), []
    old, new = sides.plans()
    if old is None or new is None:
        return CureVerdict(case_id=case_id, state="error", reason=sides.missing(old)), []
    unmet = judge(exam.hint.must, exam.hint.must_not, old, new)
    return CureVerdict(case_id=case_id, state="no_effect" if unmet else "cured", reason="; ".join(unmet)), difference(old, new)


def _with_row(exam: _Exam, cure: CureVerdict, report: GateReport, manifest: Manifest) -> CureVerdict:
    """The pull's own eval row has to fail on base and pass on head; a row that does neither proves nothing."""
    if not exam.pull.row_suite or not exam.pull.row or cure.state != "cured":
        return cure
    suites = [suite for suite in report.suites if suite.suite == exam.pull.row_suite]
    names = {suite.name_of(exam.pull.row) for _, suite in manifest.suites(set(manifest.steps)) if suite.id == exam.pull.row_suite}
    if any(suite.state == "error" or names & set(suite.gained) for suite in suites):
        return cure  # a suite that could not run speaks for itself: nothing is known of the row
    return CureVerdict(case_id=cure.case_id, state="no_effect", reason="its eval row does not go from failing to passing")


def _unchanged(case_id: str, sides: _Sides | None) -> ControlVerdict:
    if sides is None:
        return ControlVerdict(case_id=case_id, state="error", reason="the case is gone")
    first, second = sides.before, sides.after
    if first and second and first.plan is not None and first.plan == second.plan:
        return ControlVerdict(case_id=case_id, state="same")  # most are, and need no masks
    old, new = sides.plans()
    if old is None and new is None and "timeout" in (first and first.failure, second and second.failure):
        return ControlVerdict(case_id=case_id, state="error", reason="did not end in time on either side")
    if old is None and new is None:
        return ControlVerdict(case_id=case_id, state="same", reason="cannot be replayed on either side")
    if old is None or new is None:
        return ControlVerdict(case_id=case_id, state="error", reason=sides.missing(old))
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

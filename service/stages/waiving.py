"""What a person may let pass at the gate: a named row that is lost, or a whole run that could not tell. Never the cure."""

from typing import Any

from sqlmodel import Session

from rubric.hygiene import clean
from service.db import Database, alone
from service.errors import IllegalMove, NotFound, Unprocessable
from service.lifecycle import GateState, PullState
from service.store import gate_runs, history, pulls, waivers

LONGEST = 500
"""characters of a reason"""
OPEN = (PullState.draft, PullState.ready)
"""A ready pull too: one that came back from landing has been judged again, on a newer base."""


def waive(db: Database, pull_id: str, *, suite: str, row: str, reason: str, by: str) -> gate_runs.GateRun:
    """Let a row be lost on exactly this head, and have the gate look again.

    Another head may lose it for another reason, so a rebuild begins without waivers. Missing rows and new ones that fail are not waived:
    an exam that shrinks is no exam. Raises `IllegalMove`, also for whoever comes second; `Unprocessable` for a row that is not lost.
    """
    said = _reason(reason)
    with db.begin() as session:
        pull, run = _judged(session, pull_id)
        if run.state not in (GateState.failed, GateState.inconclusive):
            raise IllegalMove(f"the gate says {run.state}; rows are waived where it says fail or inconclusive", state=str(run.state))
        if suite == pull.row_suite and row in own_row(pull):
            raise Unprocessable("this row is the proof that the change cures its case; a cure is never waived")
        if row not in excusable(run.report, suite):
            raise Unprocessable("the gate names no such row as lost or undecided; only those can be waived")
        why = f"waived the row {row} of {suite}: {said}"
        history.move(session, run, GateState.running, by=by, why=why, progress=[], finished_at=None, accepted_by=None)
        if row not in waivers.on_head(session, pull_id, pull.head_sha).get(suite, {}):
            waivers.add(session, waivers.Waiver(pull_id=pull_id, head_sha=pull.head_sha, suite=suite, row=row, reason=said, by=by, at=db.now()))
        if not history.move(session, pull, PullState.draft, by=by, why=why, closed_reason=None):  # a move into draft enqueues the gate by itself
            history.enqueue(session, "gate", pull_id, f"waived-{history.moves_of(session, 'gate_runs', run.id)}")
        return run


def accept(db: Database, pull_id: str, *, reason: str, by: str) -> pulls.Pull:
    """A person takes an inconclusive run upon themselves: the pull is ready, on these two commits. Raises `IllegalMove`."""
    said = _reason(reason)
    with db.begin() as session:
        pull, run = _judged(session, pull_id)
        if run.state is not GateState.inconclusive or run.accepted_by is not None:
            found = f"accepted by {run.accepted_by} already" if run.accepted_by else str(run.state)
            raise IllegalMove(f"the run is {found}; only one that is inconclusive can be accepted", state=str(run.state))
        if pull.state is PullState.ready:
            history.move(session, pull, PullState.draft, by=by, why="looked at again after it came back from merging")
        history.move(session, pull, PullState.ready, by=by, why=f"accepted although the gate could not tell: {said}", closed_reason=None)
        run.accepted_by = by
        session.add(run)
        return pull


def excusable(report: dict[str, Any], suite: str) -> list[str]:
    """The rows of a suite that a waiver can cover."""
    found = [one for one in report.get("suites") or [] if one.get("suite") == suite]
    return [row for one in found for row in [*(one.get("lost") or []), *(one.get("undecided") or [])]]


def own_row(pull: pulls.Pull) -> set[str]:
    """What may be the id of the row that a pull brings as its proof, whichever of its fields holds it."""
    return {value for value in (pull.row or {}).values() if isinstance(value, str)} | {pull.hint_id}


def _judged(session: Session, pull_id: str) -> tuple[pulls.Pull, gate_runs.GateRun]:
    """A pull that waits for somebody, and the run on its two commits as they are now."""
    alone(session, f"judging {pull_id}")  # a waiver and an acceptance at once would each hold for what the other has changed
    pull = pulls.get(session, pull_id)
    if pull is None:
        raise NotFound(f"there is no pull {pull_id!r}")
    run = gate_runs.on(session, pull_id, pull.base_sha, pull.head_sha)
    if pull.state not in OPEN:
        raise IllegalMove(f"pull {pull_id} is {pull.state}; its gate is not looked at any more", state=str(pull.state))
    if run is None:
        raise IllegalMove("the gate has not run on this head yet", state=str(pull.state))
    return pull, run


def _reason(text: str) -> str:
    """Raises `Unprocessable` for one that says nothing to whoever reads it later."""
    said = clean(text)[0].strip()
    if not said:
        raise Unprocessable("a reason is needed; whoever reads the history later has nothing else")
    if len(said) > LONGEST:
        raise Unprocessable(f"keep the reason under {LONGEST} characters")
    return said

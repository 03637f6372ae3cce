"""What becomes of a pull: a person merges or closes it, and the ticket is tried again on what was merged."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from connectors.ports import LandingHost, PortError, Ports, ReplayAnswer
from rubric.expectations import judge
from rubric.schema import Hint, Outcome, Plan
from service.db import Database
from service.errors import IllegalMove, NotFound, Unprocessable
from service.lifecycle import GateState, OutcomeState, PullState
from service.redaction import redact, redact_plan
from service.scratch import scratch
from service.store import gate_runs, hints, history, originals, outcomes, pulls
from service.targets import host_of, look

ROUNDS = 3
"""rebuilds on a base that keeps moving, or gates that could not be run, before a person is asked again"""
UNDECIDED = {
    "behind": "the base branch kept moving; ask again",
    "error": "the gate could not be run on the newest base; see its reasons, then ask again",
}
"""answer of the last `land` → what the person is told"""


def ask_to_merge(db: Database, pull_id: str, *, by: str) -> pulls.Pull:
    """A person's yes: the pull lands as soon as the gate has passed on the newest base."""
    with db.begin() as session:
        pull = _get(session, pull_id)
        if pull.state in (PullState.landing, PullState.merged):
            return pull
        if pull.state is not PullState.ready:
            raise IllegalMove(f"pull {pull_id} is {pull.state}; only a ready one can be merged", state=str(pull.state))
        history.move(session, pull, PullState.landing, by=by, why="asked to merge", asked_by=by, closed_reason=None)
        return pull


def close(db: Database, pull_id: str, *, by: str, reason: str) -> pulls.Pull:
    """A person's no. It is remembered, and the pull is not opened again."""
    if not reason.strip():
        raise Unprocessable("closing needs a reason; the critic learns from it")
    with db.begin() as session:
        pull = _get(session, pull_id)
        history.move(session, pull, PullState.closed, by=by, why=reason, closed_reason=reason[:500])
        return pull


def land(db: Database, ports: Ports, pull_id: str) -> Literal["landed", "behind", "stopped", "error"]:
    """Land a pull that a person asked for, if its gate passed, or was accepted, on exactly this head and the newest base.

    `error`: it gave none; ask it again.
    """
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state is not PullState.landing:
            return "stopped"
        run = next((run for run in reversed(gate_runs.of_pull(session, pull_id)) if _is_of(run, pull)), None)
    host = host_of(ports.hosts, pull.target)
    if run is None:
        return "behind"
    if run.state is GateState.error:
        return "error"
    if run.state is not GateState.passed and not (run.state is GateState.inconclusive and run.accepted_by):
        _back(db, pull_id, f"the gate says {run.state} on the newest base")
        return "stopped"
    if not hasattr(host, "land"):
        _back(db, pull_id, f"{host.name} is merged where it lives, not here")
        return "stopped"
    try:
        sha = cast(LandingHost, host).land(pull.head_sha, pull.base_sha)
    except PortError as error:
        if error.code == "base_moved":
            return "behind"
        raise
    with db.begin() as session:
        merged = _get(session, pull_id)
        if merged.state is PullState.landing:
            history.move(session, merged, PullState.merged, by=merged.asked_by or "landing", merged_sha=sha, merged_at=db.now())
            _watch(session, db, merged)
    return "landed"


def _is_of(run: gate_runs.GateRun, pull: pulls.Pull) -> bool:
    return run.head_sha == pull.head_sha and run.base_sha == pull.base_sha and run.state is not GateState.running


def _back(db: Database, pull_id: str, why: str) -> None:
    with db.begin() as session:
        pull = pulls.get(session, pull_id)
        if pull and pull.state is PullState.landing:
            history.move(session, pull, PullState.ready, by="landing", why=why, closed_reason=why[:500])
            last = pulls.last_merged(session, pull.target)
            if last is not None and not pulls.any_landing(session, pull.target):  # the burst is over; who landed before us left the look at all to us
                history.enqueue(session, "learn", last, f"after-{pull.id}-{history.moves_of(session, 'pulls', pull.id)}")


def settle(db: Database, ports: Ports, pull_id: str) -> bool:
    """Close a pull that is behind and not needed any more: what landed since cures its case, and all that joined it. True: it is closed."""
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        first = hints.get(session, pull.hint_id) if pull and pull.state is PullState.landing else None
        wanted = [(hint.case_id, hint.hint) for hint in [first, *hints.duplicates(session, first.id)]] if first else []
        told = {case_id for case_id, _ in wanted}
        inputs = originals.bodies(session, list(told))
    if pull is None or not wanted or set(inputs) != told:
        return False
    try:
        where, answers = _replayed(ports, pull.target, {case_id: originals.ticket_of(body) for case_id, body in inputs.items()})
    except PortError:
        return False  # the rebuild that comes next meets the same trouble and names it
    if any(_state_of(case_id, hint, inputs[case_id], answers) is not OutcomeState.cured for case_id, hint in wanted):
        return False
    with db.begin() as session:
        current = _get(session, pull_id)
        if current.state is not PullState.landing:
            return False
        many = "the case" if len(told) == 1 else f"all {len(told)} cases"
        why = f"{Outcome.already_fixed}: the base {where} cures {many} without it"
        history.move(session, current, PullState.closed, by="landing", why=why, closed_reason=why)
        _watch(session, db, current)
    return True


def give_up_landing(db: Database, pull_id: str, why: str) -> None:
    """Hand the pull back to the person who asked, with the reason."""
    _back(db, pull_id, why)


def _watch(session: Any, db: Database, pull: pulls.Pull) -> None:
    hints.hold(session, [pull.hint_id])  # who joins now waits until we are done, and sees then that the pull is merged
    first = hints.get(session, pull.hint_id)
    rejections = [(hint.id, hint.case_id) for hint in [first, *hints.duplicates(session, pull.hint_id)] if hint is not None]
    for row in outcomes.missing(session, pull.id, pull.target, rejections, db.now()):
        history.begin(session, row, by="outcome", why=f"merged with {pull.id}")


def recheck_after(db: Database, ports: Ports, pull_id: str) -> None:
    """Recheck the target of a pull that was merged, or closed because it was not needed any more.

    While others are about to land, only its own tickets: the last of a burst looks at all of them.
    """
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        more = pull is not None and pulls.any_landing(session, pull.target)
    if pull and pull.state in (PullState.merged, PullState.closed):
        recheck(db, ports, pull.target, only=pull_id if more else None)


def recheck(db: Database, ports: Ports, target_name: str, only: str | None = None) -> None:
    """Send the tickets of every merged pull of a target, or of one of them, through the pipeline as it stands now."""
    with db.read() as session:
        watched = [row for row in outcomes.of_target(session, target_name) if only in (None, row.pull_id)]
        wanted = {row.case_id: hint.hint for row in watched if (hint := hints.get(session, row.hint_id))}
        inputs = originals.bodies(session, list(wanted))
    tickets = {case_id: originals.ticket_of(body) for case_id, body in inputs.items()}
    if not inputs:
        return
    try:
        why, answers = _replayed(ports, target_name, tickets)
    except PortError as error:
        why, answers = f"{error.code}: {error}", {}
    with db.begin() as session:
        for row in outcomes.of_target(session, target_name):
            if row.case_id not in wanted or row.case_id not in inputs:
                continue
            state = _state_of(row.case_id, wanted[row.case_id], inputs[row.case_id], answers)
            # what was seen once is not unseen because it could not be looked at today
            if state is not OutcomeState.inconclusive or row.state is OutcomeState.watching:
                history.move(session, row, state, by="outcome", why=why, since=db.now())


def _replayed(ports: Ports, target_name: str, tickets: Mapping[str, dict[str, Any]]) -> tuple[str, dict[str, ReplayAnswer]]:
    """(where, our id → answer) on the newest base"""
    host = host_of(ports.hosts, target_name)
    target = look(host, host.head())
    if target.manifest.replay is None:
        raise PortError("no_replay", "the manifest names no replay")
    with scratch(ports.workdir, "recheck") as tree:
        host.export(target.sha, tree)
        return f"at {target.sha[:12]}", {answer.case_id: answer for answer in ports.evals.replay(target.manifest.replay, tree, tickets)}


def _state_of(case_id: str, hint: Hint, original: dict[str, Any], answers: Mapping[str, ReplayAnswer]) -> OutcomeState:
    answer = answers.get(case_id)
    if answer is None or answer.plan is None:
        return OutcomeState.inconclusive
    masks = redact(original)[1]
    before = Plan.model_validate(redact_plan(original["plan"], masks))
    after = Plan.model_validate(redact_plan(answer.plan, masks))
    return OutcomeState.recurred if judge(hint.must, hint.must_not, before, after) else OutcomeState.cured


def _get(session: Any, pull_id: str) -> pulls.Pull:
    pull = pulls.get(session, pull_id)
    if pull is None:
        raise NotFound(f"there is no pull {pull_id!r}")
    return pull

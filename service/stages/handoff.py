"""Gives an approved hint to an agent, looks at the tree itself, and publishes one branch with one draft pull."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.ports import CodeHost, PortError, Ports, Published, TreeJob
from rubric.catalogue import Catalogue
from rubric.conflicts import against, rivals
from rubric.hygiene import cut
from rubric.schema import Hint
from service.db import Database
from service.errors import IllegalMove, NotFound
from service.eval_rows import NewRow, make_row
from service.lifecycle import HandoffState, PullState, ReviewState
from service.redaction import leaks
from service.scratch import scratch
from service.store import cases, handoffs, hints, history, originals, pulls, reviews
from service.targets import Target, host_of, look
from service.treepolicy import check_tree
from service.wording import body, branch, commit_message, title

TURNS = 8
"""most branches of one hint: one per rebuild on a newer base"""
DEATHS = 9
"""starts that a dying process may cost a handoff, besides its attempts: nobody is to blame for a `kill -9`, and nothing is begun for ever"""
UNAPPROVED, NOT_LANDING = "the approval does not match the hint", "it is not landing any more"


@dataclass(frozen=True)
class _Approved:
    """What may be worked on: the bytes that a person approved, and nothing of the ticket but for replay."""

    handoff_id: str
    hint_id: str
    hint: Hint
    target: str
    attempt: int
    confirmed_by: str
    critic: str
    rubric_version: str
    original: dict[str, Any]
    cures: int
    turn: int
    edited: bool
    """a person changed the draft before confirming"""


@dataclass(frozen=True)
class _Built:
    base: str
    branch: str
    published: Published
    row: NewRow


class _Refused(Exception):
    """The agent or the policy said no; carries the state to end in."""

    def __init__(self, state: HandoffState, reason: str, violations: list[dict[str, Any]] | None = None):
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.violations = violations or []


def build(db: Database, ports: Ports, catalogue: Catalogue, handoff_id: str) -> None:
    """Build the pull of a handoff. Safe to repeat: the branch name is the hint's, and an equal branch is adopted."""
    approved = _take(db, ports, catalogue, handoff_id)
    if approved is None:
        return
    try:
        built = _make(ports, approved)
    except _Refused as refused:
        _end(db, handoff_id, refused.state, refused.reason, by=ports.agent.name, violations=refused.violations)
        return
    except PortError as error:
        if error.retryable and approved.attempt < ports.limits.attempts:
            with db.begin() as session:
                turn = f"retry{approved.attempt}-{history.moves_of(session, 'handoffs', handoff_id)}"  # a person's retry counts from 1 again
                history.enqueue(session, "handoff", handoff_id, turn, delay=2.0**approved.attempt)
            return
        _end(db, handoff_id, HandoffState.failed, f"{error.code}: {error}", by=ports.agent.name)
        return
    _open_pull(db, ports, approved, built)


def rebuild(db: Database, ports: Ports, pull_id: str) -> str | None:
    """Make the pull's change again on the newest base, on a branch of its own. Returns why that is not possible; the caller gives up landing.

    Safe to repeat: a pull that stands on the newest base already is left as it is.
    """
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state is not PullState.landing:
            return NOT_LANDING
        handoff = handoffs.get(session, pull.handoff_id)
        approved = _approved(session, handoff, attempt=1) if handoff else None
    if approved is None:
        return UNAPPROVED
    try:
        if host_of(ports.hosts, pull.target).head() == pull.base_sha:
            return None
        built = _make(ports, approved)
    except _Refused as refused:
        return refused.reason
    except PortError as error:
        return f"{error.code}: {error}"
    with db.begin() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state is not PullState.landing:
            return NOT_LANDING
        pull.base_sha, pull.head_sha, pull.branch = built.base, built.published.sha, built.branch
        pull.row_suite, pull.row, pull.row_note, pull.closed_reason = built.row.suite, built.row.row, built.row.note, None
    return None


def _take(db: Database, ports: Ports, catalogue: Catalogue, handoff_id: str) -> _Approved | None:
    """Mark the handoff as being worked on, after checking that exactly these bytes were approved."""
    with db.begin() as session:
        handoff = handoffs.get(session, handoff_id)
        if handoff is None or handoff.state not in (HandoffState.waiting, HandoffState.working, HandoffState.blocked):
            return None
        approved = _approved(session, handoff, attempt=handoff.attempt + 1)
        if approved is None:
            _move_through(session, handoff, HandoffState.refused, UNAPPROVED)
            return None
        if handoff.attempt >= ports.limits.attempts + DEATHS:
            _move_through(session, handoff, HandoffState.failed, f"begun {handoff.attempt} times and never ended; see the log for what went wrong")
            return None
        blocked = {"none": "waits for the endpoint", "model": "needs a model-driven agent, and none is set up"}.get(
            catalogue.recipe(approved.hint.recipe).agent
        )
        if blocked:
            history.move(session, handoff, HandoffState.blocked, by=ports.agent.name, why=blocked, reason=blocked)
            return None
        history.move(session, handoff, HandoffState.working, by=ports.agent.name, agent=ports.agent.name)
        handoff.attempt += 1
        return approved


def _approved(session: Any, handoff: handoffs.Handoff, attempt: int) -> _Approved | None:
    row = hints.get(session, handoff.hint_id)
    review = next((one for one in reviews.of_hint(session, handoff.hint_id) if one.seq == handoff.review_seq), None)
    if row is None or review is None or review.verdict != "confirm" or row.state is not ReviewState.confirmed:
        return None
    if len({handoff.hint_hash, review.hint_hash, row.content_hash, hints.content_hash(row.current), hints.content_hash(review.text)}) != 1:
        return None
    original = originals.bodies(session, [row.case_id]).get(row.case_id)
    case = cases.get(session, row.case_id)
    if original is None or case is None:
        return None
    previous = pulls.of_hint(session, row.id)
    turns = [int(pull.branch.rsplit("-", 1)[1]) for pull in previous if pull.branch.rsplit("-", 1)[1].isdigit()]
    return _Approved(
        handoff_id=handoff.id, hint_id=row.id, hint=row.hint, target=handoff.target, attempt=attempt, confirmed_by=review.by,
        critic=row.critic, rubric_version=row.rubric_version, original=original, cures=1 + hints.count_duplicates(session, row.id),
        turn=max([len(previous), *turns]) + 1, edited=row.current != row.draft,
    )  # fmt: skip


def _make(ports: Ports, approved: _Approved) -> _Built:
    host = host_of(ports.hosts, approved.target)
    target = look(host, host.head())
    with scratch(ports.workdir, f"handoff-{approved.handoff_id}") as folder:
        base, head = folder / "base", folder / "head"
        host.export(target.sha, base)
        shutil.copytree(base, head, symlinks=True)
        run = ports.agent.run(TreeJob(job_id=approved.handoff_id, hint=approved.hint, manifest=target.manifest, attempt=approved.attempt), head)
        if run.status != "done":
            ends = {"gave_up": HandoffState.gave_up, "refused": HandoffState.refused}
            raise _Refused(ends.get(run.status, HandoffState.failed), run.reason or run.status)
        files = _checked(ports, target, approved.hint, base, head)
        row = make_row(ports.evals, target.manifest, approved.hint, approved.hint_id, approved.original, base, head)
        return _publish(host, target, approved, {**files, **row.files}, row)


def _checked(ports: Ports, target: Target, hint: Hint, base: Path, head: Path) -> dict[str, bytes | None]:
    limits = ports.limits
    change = check_tree(base, head, target.manifest, hint.recipe, max_files=limits.diff_files, max_bytes=limits.diff_bytes)
    if change.violations:
        first = change.violations[0]
        named = [{"code": one.code, "path": one.path, "text": one.text} for one in change.violations]
        raise _Refused(HandoffState.refused, f"{first.code} at {first.path}: {first.text}", named)
    return dict(change.changed)


def _publish(host: CodeHost, target: Target, approved: _Approved, files: dict[str, bytes | None], row: NewRow) -> _Built:
    message = commit_message(
        approved.hint_id, approved.hint, confirmed_by=approved.confirmed_by, rubric_version=approved.rubric_version, row_note=row.note
    )
    found = set(leaks(f"{message}\n{_body(approved, row)}"))
    if not approved.edited:  # a person who edits the hint may write a number into a template on purpose
        for path, content in files.items():
            if content is not None and path not in row.files:
                found |= _added_leaks(host.read(target.sha, path) or b"", content)
    if found:
        raise _Refused(
            HandoffState.refused, f"leak: what would be published holds what looks like {', '.join(sorted(found))}; edit the hint if it is meant"
        )
    for turn in range(approved.turn, approved.turn + TURNS):
        name = branch(approved.hint_id, approved.hint.recipe, turn)
        try:
            return _Built(target.sha, name, host.publish(name, target.sha, files, message), row)
        except PortError as error:
            if error.code != "branch_taken":
                raise
    raise PortError("branch_taken", f"{TURNS} branches of hint {approved.hint_id} exist already")


def _added_leaks(base: bytes, head: bytes) -> set[str]:
    """Kinds of personal data in the lines of a file that its base does not have; a number that stood on base may stay where a line is edited."""
    known = set(base.splitlines())
    added = b"\n".join(line for line in head.splitlines() if line not in known)
    return set(leaks(added.decode("utf-8", errors="replace"), base.decode("utf-8", errors="replace")))


def _body(approved: _Approved, row: NewRow) -> str:
    return body(
        approved.hint_id, approved.hint, confirmed_by=approved.confirmed_by, rubric_version=approved.rubric_version,
        critic=approved.critic, cures=approved.cures, row_note=row.note,
    )  # fmt: skip


def _open_pull(db: Database, ports: Ports, approved: _Approved, built: _Built) -> None:
    with db.begin() as session:
        handoff = handoffs.get(session, approved.handoff_id)
        if handoff is None or handoff.state is not HandoffState.working:
            return
        history.move(session, handoff, HandoffState.built, by=ports.agent.name, base_sha=built.base)
        pull = pulls.Pull(
            id=f"p{approved.handoff_id[1:]}", handoff_id=approved.handoff_id, hint_id=approved.hint_id, target=approved.target,
            step=approved.hint.step, recipe=approved.hint.recipe, state=PullState.draft, branch=built.branch, base_sha=built.base,
            head_sha=built.published.sha, title=title(approved.hint_id, approved.hint),
            body=_body(approved, built.row),
            row_suite=built.row.suite, row=built.row.row, row_note=built.row.note, opened_at=db.now(),
        )  # fmt: skip
        history.begin(session, pull, by=ports.agent.name, why=f"branch {built.branch}")


def _move_through(session: Any, handoff: handoffs.Handoff, to: HandoffState, reason: str) -> None:
    """Waiting things pass through working on their way to an end."""
    history.move(session, handoff, HandoffState.working, by="handoff")
    history.move(session, handoff, to, by="handoff", why=reason, reason=reason)


def _end(db: Database, handoff_id: str, state: HandoffState, reason: str, *, by: str, violations: list[dict[str, Any]] | None = None) -> None:
    with db.begin() as session:
        handoff = handoffs.get(session, handoff_id)
        if handoff and handoff.state is HandoffState.working:
            history.move(session, handoff, state, by=by, why=reason, reason=cut(reason, 500), violations=violations or [])


def retry(db: Database, handoff_id: str, *, by: str) -> handoffs.Handoff:
    """Start again after a person has mended what stood in the way. Only what gave up, was refused or failed."""
    with db.begin() as session:
        handoff = handoffs.get(session, handoff_id)
        if handoff is None:
            raise NotFound(f"there is no handoff {handoff_id!r}")
        if handoff.state not in (HandoffState.gave_up, HandoffState.refused, HandoffState.failed):
            raise IllegalMove(f"handoff {handoff_id} is {handoff.state}; there is nothing to try again", state=str(handoff.state))
        hint = hints.needed(session, handoff.hint_id)
        if others := sorted(handoffs.living(session, hints.confirmed_twins(session, hint))):
            raise IllegalMove(f"{others[0]} was confirmed for the same change meanwhile, and is being built", twin=others[0])
        for name, why in against(hint.hint.change, handoffs.in_force(session, hints.rules(session, hint.target, rivals(hint.recipe)))):
            raise IllegalMove(f"{name} was confirmed meanwhile and asks for the opposite: {why}", conflict=name)
        history.move(session, handoff, HandoffState.working, by=by, why="try again", attempt=0, reason=None, violations=[])
        history.enqueue(session, "handoff", handoff.id, f"again-{history.moves_of(session, 'handoffs', handoff.id)}")
        return handoff


def fail(db: Database, handoff_id: str, reason: str) -> None:
    """Record that the flow broke; called when nothing else could be."""
    _end(db, handoff_id, HandoffState.failed, reason, by="handoff")

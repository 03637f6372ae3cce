"""Gives an approved hint to an agent, looks at the tree itself, and publishes one branch with one draft pull."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from connectors.ports import TRANSCRIPT_CAP, CodeHost, PortError, Ports, Published, TreeRun
from rubric.catalogue import Catalogue
from rubric.conflicts import against, rivals
from rubric.hygiene import cut
from rubric.schema import Hint
from service.building import Attempt, NotBuilt, Order, built, hindrance, told
from service.db import Database
from service.errors import IllegalMove, NotFound
from service.eval_rows import NewRow, make_row, with_row
from service.lifecycle import HandoffState, PullState, ReviewState
from service.redaction import leaks
from service.scratch import scratch
from service.store import attempts, cases, handoffs, hints, history, originals, pulls, reviews
from service.targets import Target, host_of, look
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
    first: str
    """who goes first by the recipe: codemod, model, or none"""
    round: int
    goes: int
    feedback: tuple[str, ...]
    """of a model, in this round; see `service.building.Order`"""


@dataclass(frozen=True)
class _Built:
    base: str
    branch: str
    published: Published
    row: NewRow
    agent: str
    by_model: bool


def build(db: Database, ports: Ports, catalogue: Catalogue, handoff_id: str) -> None:
    """Build the pull of a handoff. Safe to repeat: the branch name is the hint's, and an equal branch is adopted."""
    approved = _take(db, ports, catalogue, handoff_id)
    if approved is None:
        return
    try:
        made = _make(ports, approved, lambda attempt: _note(db, approved, attempt))
    except NotBuilt as ended:
        _end(db, handoff_id, ended.state, ended.reason, by="handoff", violations=[vars(one) for one in ended.violations])
        return
    except PortError as error:
        if error.retryable and approved.attempt < ports.limits.attempts:
            with db.begin() as session:
                turn = f"retry{approved.attempt}-{history.moves_of(session, 'handoffs', handoff_id)}"  # a person's retry counts from 1 again
                history.enqueue(session, "handoff", handoff_id, turn, delay=2.0**approved.attempt)
            return
        _end(db, handoff_id, HandoffState.failed, f"{error.code}: {error}", by="handoff")
        return
    _open_pull(db, approved, made)


def rebuild(db: Database, ports: Ports, catalogue: Catalogue, pull_id: str) -> str | None:
    """Make the pull's change again on the newest base, on a branch of its own. Returns why that is not possible; the caller gives up landing.

    No model is asked here: what it would write nobody has reviewed. Safe to repeat: a pull that stands on the newest base is left as it is.
    """
    with db.read() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state is not PullState.landing:
            return NOT_LANDING
        handoff = handoffs.get(session, pull.handoff_id)
        approved = _approved(session, handoff, catalogue, attempt=1) if handoff else None
    if approved is None or handoff is None:
        return UNAPPROVED
    try:
        if host_of(ports.hosts, pull.target).head() == pull.base_sha:
            return None
        made = _carried(ports, approved, pull) if handoff.by_model else _make(replace(ports, coder=None), approved, lambda attempt: None)
    except NotBuilt as ended:
        return ended.reason
    except PortError as error:
        return f"{error.code}: {error}"
    with db.begin() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state is not PullState.landing:
            return NOT_LANDING
        pull.base_sha, pull.head_sha, pull.branch = made.base, made.published.sha, made.branch
        pull.row_suite, pull.row, pull.row_note, pull.closed_reason = made.row.suite, made.row.row, made.row.note, None
    return None


def _take(db: Database, ports: Ports, catalogue: Catalogue, handoff_id: str) -> _Approved | None:
    """Mark the handoff as being worked on, after checking that exactly these bytes were approved."""
    hindered = hindrance(ports)  # may start a box, so not within the transaction
    with db.begin() as session:
        handoff = handoffs.get(session, handoff_id)
        if handoff is None or handoff.state not in (HandoffState.waiting, HandoffState.working):
            return None
        approved = _approved(session, handoff, catalogue, attempt=handoff.attempt + 1)
        if approved is None:
            _move_through(session, handoff, HandoffState.refused, UNAPPROVED)
            return None
        if handoff.attempt >= ports.limits.attempts + DEATHS:
            _move_through(session, handoff, HandoffState.failed, f"begun {handoff.attempt} times and never ended; see the log for what went wrong")
            return None
        blocked = "waits for the endpoint" if approved.first == "none" else hindered if approved.first == "model" else None
        if blocked:
            history.move(session, handoff, HandoffState.blocked, by="handoff", why=blocked, reason=blocked)
            return None
        history.move(session, handoff, HandoffState.working, by="handoff")
        handoff.attempt += 1
        return approved


def _approved(session: Any, handoff: handoffs.Handoff, catalogue: Catalogue, attempt: int) -> _Approved | None:
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
    previous, goes = pulls.of_hint(session, row.id), attempts.in_round(session, handoff.id, handoff.retries)
    turns = [int(pull.branch.rsplit("-", 1)[1]) for pull in previous if pull.branch.rsplit("-", 1)[1].isdigit()]
    return _Approved(
        handoff_id=handoff.id, hint_id=row.id, hint=row.hint, target=handoff.target, attempt=attempt, confirmed_by=review.by,
        critic=row.critic, rubric_version=row.rubric_version, original=original, cures=1 + hints.count_duplicates(session, row.id),
        turn=max([len(previous), *turns]) + 1, edited=row.current != row.draft, first=catalogue.recipe(row.recipe).agent,
        round=handoff.retries, goes=goes[-1].number if goes else 0, feedback=told(goes[-1].violations, goes[-1].lost) if goes else (),
    )  # fmt: skip


def _make(ports: Ports, approved: _Approved, note: Callable[[Attempt], None]) -> _Built:
    host = host_of(ports.hosts, approved.target)
    target = look(host, host.head())
    with scratch(ports.workdir, f"handoff-{approved.handoff_id}") as folder:
        order = Order(
            approved.handoff_id, approved.hint, target.manifest, approved.edited, approved.attempt, approved.goes, approved.feedback, folder
        )
        host.export(target.sha, order.base)
        tree = built(ports, order, first=approved.first, note=note)
        row = make_row(tree.runner, target.manifest, approved.hint, approved.hint_id, approved.original, order.base, tree.head)
        return _publish(host, target, approved, {**tree.files, **row.files}, row, tree.agent, by_model=tree.by_model)


def _carried(ports: Ports, approved: _Approved, pull: pulls.Pull) -> _Built:
    """What a model wrote, taken over to the newest base as it is: asked again, it would write something else than what was reviewed."""
    host = host_of(ports.hosts, approved.target)
    target = look(host, host.head())
    suite = next((one for _, one in target.manifest.suites(set(target.manifest.steps)) if one.id == pull.row_suite and one.rows), None)
    ours = suite.rows.path if suite and suite.rows else None
    paths = [path for path in host.changed(pull.base_sha, pull.head_sha) if path != ours]
    if moved := [path for path in paths if host.read(pull.base_sha, path) != host.read(target.sha, path)]:
        why = f"value_differs: what a model wrote in {', '.join(moved[:3])} was reviewed on a base that says something else there by now"
        raise NotBuilt(HandoffState.refused, why)
    files = {path: host.read(pull.head_sha, path) for path in paths}
    if ours and pull.row:
        files[ours] = with_row(host.read(target.sha, ours) or b"", pull.row)
    row = NewRow(pull.row_note or "none", pull.row_suite, pull.row)
    return _publish(host, target, approved, files, row, "carried", by_model=True)


def _note(db: Database, approved: _Approved, attempt: Attempt) -> None:
    run, known = attempt.run or TreeRun("crashed"), attempt.run is not None
    row = attempts.AttemptRow(
        handoff_id=approved.handoff_id, round=approved.round, number=attempt.number, agent=attempt.agent, status=run.status if known else "begun",
        reason=cut(run.reason, 500), turns=run.turns, tokens=run.tokens, usd=run.usd, seconds=attempt.seconds,
        violations=[vars(one) for one in attempt.violations], lost=list(attempt.lost),
        transcript=run.transcript[:TRANSCRIPT_CAP].replace("\0", ""), at=db.now(),
    )  # fmt: skip
    with db.begin() as session:
        attempts.put(session, row)


def _publish(
    host: CodeHost, target: Target, approved: _Approved, files: Mapping[str, bytes | None], row: NewRow, agent: str, *, by_model: bool
) -> _Built:
    message = commit_message(
        approved.hint_id, approved.hint, confirmed_by=approved.confirmed_by, rubric_version=approved.rubric_version, row_note=row.note
    )
    found = set(leaks(f"{message}\n{_body(approved, row)}"))
    if found:
        raise NotBuilt(
            HandoffState.refused, f"leak: what would be published holds what looks like {', '.join(sorted(found))}; edit the hint if it is meant"
        )
    for turn in range(approved.turn, approved.turn + TURNS):
        name = branch(approved.hint_id, approved.hint.recipe, turn)
        try:
            published = host.publish(name, target.sha, files, message)
            return _Built(target.sha, name, published, row, agent, by_model)
        except PortError as error:
            if error.code != "branch_taken":
                raise
    raise PortError("branch_taken", f"{TURNS} branches of hint {approved.hint_id} exist already")


def _body(approved: _Approved, row: NewRow) -> str:
    return body(
        approved.hint_id, approved.hint, confirmed_by=approved.confirmed_by, rubric_version=approved.rubric_version,
        critic=approved.critic, cures=approved.cures, row_note=row.note,
    )  # fmt: skip


def _open_pull(db: Database, approved: _Approved, made: _Built) -> None:
    with db.begin() as session:
        handoff = handoffs.get(session, approved.handoff_id)
        if handoff is None or handoff.state is not HandoffState.working:
            return
        history.move(session, handoff, HandoffState.built, by=made.agent, base_sha=made.base, agent=made.agent, by_model=made.by_model)
        pull = pulls.Pull(
            id=f"p{approved.handoff_id[1:]}", handoff_id=approved.handoff_id, hint_id=approved.hint_id, target=approved.target,
            step=approved.hint.step, recipe=approved.hint.recipe, state=PullState.draft, branch=made.branch, base_sha=made.base,
            head_sha=made.published.sha, title=title(approved.hint_id, approved.hint),
            body=_body(approved, made.row),
            row_suite=made.row.suite, row=made.row.row, row_note=made.row.note, opened_at=db.now(),
        )  # fmt: skip
        history.begin(session, pull, by=made.agent, why=f"branch {made.branch}")


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
    """Start again after a person has mended what stood in the way. What gave up, was refused, is blocked or failed."""
    with db.begin() as session:
        handoff = handoffs.get(session, handoff_id)
        if handoff is None:
            raise NotFound(f"there is no handoff {handoff_id!r}")
        if handoff.state not in (HandoffState.gave_up, HandoffState.refused, HandoffState.failed, HandoffState.blocked):
            raise IllegalMove(f"handoff {handoff_id} is {handoff.state}; there is nothing to try again", state=str(handoff.state))
        hint = hints.needed(session, handoff.hint_id)
        if others := sorted(handoffs.living(session, hints.confirmed_twins(session, hint))):
            raise IllegalMove(f"{others[0]} was confirmed for the same change meanwhile, and is being built", twin=others[0])
        for name, why in against(hint.hint.change, handoffs.in_force(session, hints.rules(session, hint.target, rivals(hint.recipe)))):
            raise IllegalMove(f"{name} was confirmed meanwhile and asks for the opposite: {why}", conflict=name)
        history.move(
            session, handoff, HandoffState.working, by=by, why="try again", attempt=0, retries=handoff.retries + 1, reason=None, violations=[]
        )
        history.enqueue(session, "handoff", handoff.id, f"again-{history.moves_of(session, 'handoffs', handoff.id)}")
        return handoff


def fail(db: Database, handoff_id: str, reason: str) -> None:
    """Record that the flow broke; called when nothing else could be."""
    _end(db, handoff_id, HandoffState.failed, reason, by="handoff")

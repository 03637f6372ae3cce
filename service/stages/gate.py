"""The human decision: confirm, edit, dismiss, mark as duplicate, and take it back. Bound to the exact text that was seen."""

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlmodel import Session

from connectors.ports import Ports
from rubric.catalogue import Catalogue
from rubric.lint import lint
from rubric.schema import Finding, Hint, Outcome
from service.db import Database
from service.errors import IllegalMove, NotConfirmable, NotFound, StaleVersion, Unprocessable
from service.lifecycle import HandoffState, ReviewState
from service.store import cases, examples, handoffs, hints, history, reviews
from service.targets import host_of, look

DISMISSALS = {
    **{outcome.value: outcome.value for outcome in Outcome},
    "customer_wrong": Outcome.not_a_defect.value,
    "reviewer_wrong": Outcome.not_a_defect.value,
    "not_code": Outcome.not_a_defect.value,
    "wrong_hint": "wrong_hint",
    "too_costly": "too_costly",
}
"""reason a person may dismiss with → what the critic learns from it"""


def confirm(db: Database, ports: Ports, hint_id: str, *, version: int, by: str, seconds: float | None = None) -> hints.HintRow:
    """Approve exactly the text of this version; the handoff starts when the undo window ends.

    Raises `StaleVersion` when somebody changed the hint since, `NotConfirmable` while a blocking finding stands.
    """
    with db.begin() as session:
        row = _open(session, hint_id, version, by, ReviewState.confirmed)
        if row.state is ReviewState.confirmed:
            return row
        blocking = [finding for finding in row.findings if finding["blocks"]]
        if blocking:
            raise NotConfirmable(f"open findings: {', '.join(str(finding['code']) for finding in blocking)}", findings=blocking)
        _no_twin(session, row)
        review = _decide(session, db, row, ReviewState.confirmed, "confirm", by=by, seconds=seconds)
        handoff = handoffs.Handoff(
            id=f"{row.id}-{review.seq}", hint_id=row.id, review_seq=review.seq or 0, hint_hash=row.content_hash, target=row.target,
            state=HandoffState.waiting, due_at=db.now() + timedelta(seconds=ports.limits.undo_seconds),
        )  # fmt: skip
        history.begin(session, handoff, by=by, delay=ports.limits.undo_seconds)
        _learn(session, db, row, row.recipe, "confirmed")
        return row


def dismiss(
    db: Database, hint_id: str, *, version: int, by: str, reason: str, note: str | None = None, seconds: float | None = None
) -> hints.HintRow:
    """Say no, with a reason of the list; the critic learns from it."""
    if reason not in DISMISSALS:
        raise Unprocessable(f"{reason!r} is no reason to dismiss; use one of: {', '.join(sorted(DISMISSALS))}", reasons=sorted(DISMISSALS))
    with db.begin() as session:
        row = _open(session, hint_id, version, by, ReviewState.dismissed)
        if row.state is not ReviewState.dismissed:
            _decide(session, db, row, ReviewState.dismissed, "dismiss", by=by, reason=reason, note=note, seconds=seconds)
            if DISMISSALS[reason] in Outcome.__members__:
                _learn(session, db, row, DISMISSALS[reason], "dismissed")
        return row


def duplicate(db: Database, hint_id: str, *, version: int, by: str, of: str, seconds: float | None = None) -> hints.HintRow:
    """Name the hint that says the same; this one's case is cured when that one's pull is merged."""
    with db.begin() as session:
        row = _open(session, hint_id, version, by, ReviewState.duplicate)
        other = hints.get(session, of)
        if other is None or other.id == row.id or other.target != row.target:
            raise Unprocessable(f"there is no other hint {of!r} of this target", duplicate_of=of)
        if other.state is ReviewState.duplicate:
            raise Unprocessable(f"{of} is a duplicate itself, of {other.duplicate_of}", duplicate_of=other.duplicate_of)
        if row.state is not ReviewState.duplicate:
            _decide(session, db, row, ReviewState.duplicate, "duplicate", by=by, seconds=seconds, duplicate_of=other.id)
            _learn(session, db, row, row.recipe, "confirmed")
        return row


def edit(db: Database, ports: Ports, catalogue: Catalogue, hint_id: str, *, version: int, by: str, change: dict[str, Any]) -> hints.HintRow:
    """Replace fields of the hint (`target`, `summary`, `change`); lint runs again on the result."""
    with db.read() as session:
        row = _get(session, hint_id)
        _fresh(row, version)
        case = cases.get(session, row.case_id)
        twins = [(other.id, other.hint) for other in hints.in_play(session, row.target, 300) if other.id != row.id]
    unknown = set(change) - {"target", "summary", "change", "risk_reason"}
    if unknown:
        raise Unprocessable(f"cannot edit {', '.join(sorted(unknown))}; target, summary, change and risk_reason can be edited")
    try:
        hint = Hint.model_validate({**row.current, **change, "change": {**row.current["change"], **(change.get("change") or {})}})
    except ValidationError as error:
        problems = [{"field": ".".join(str(part) for part in one["loc"]), "text": one["msg"]} for one in error.errors(include_url=False)]
        raise Unprocessable(f"{problems[0]['field']}: {problems[0]['text']}", problems=problems) from None
    host = host_of(ports.hosts, row.target)
    target = look(host, host.head())
    findings = lint(hint, case.case, target.inventory, catalogue, twins) if case else []
    return _replace(db, hint_id, version=version, by=by, hint=hint, findings=findings, base_sha=target.sha)


def _replace(db: Database, hint_id: str, *, version: int, by: str, hint: Hint, findings: list[Finding], base_sha: str) -> hints.HintRow:
    text = hint.model_dump(mode="json", by_alias=True)
    with db.begin() as session:
        row = _get(session, hint_id, to_decide=True)
        _fresh(row, version)
        if row.state is not ReviewState.awaiting:
            raise IllegalMove(f"hint {hint_id} is {row.state}; take the decision back first", state=str(row.state))
        if text != row.current:
            reviews.add(session, _review(db, row, "edit", by=by))
            row.current, row.version = text, row.version + 1
            row.content_hash, row.change_hash = hints.content_hash(text), hints.change_hash(text)
            row.recipe, row.target_id, row.step = hint.recipe, hint.target, hint.step
        row.findings, row.base_sha = [finding.model_dump() for finding in findings], base_sha
        return row


def undo(db: Database, hint_id: str, *, by: str) -> hints.HintRow:
    """Take the last decision back. A confirmation only until its handoff has started."""
    with db.begin() as session:
        row = _get(session, hint_id, to_decide=True)
        if row.state is ReviewState.awaiting:
            return row
        if row.state is ReviewState.confirmed:
            _stop_handoff(session, row, by)
        examples.remove(session, row.id)
        reviews.add(session, _review(db, row, "undo", by=by))
        history.move(session, row, ReviewState.awaiting, by=by, why="taken back", decided_by=None, decided_at=None, reason=None, duplicate_of=None)
        return row


def _stop_handoff(session: Session, row: hints.HintRow, by: str) -> None:
    for handoff in handoffs.of_hint(session, row.id):
        if handoff.state in (HandoffState.waiting, HandoffState.blocked):
            history.move(session, handoff, HandoffState.withdrawn, by=by, why="decision taken back")
        elif handoff.state is not HandoffState.withdrawn:
            raise IllegalMove("the undo window is over, work has started; close the pull instead", state=str(handoff.state))


def _no_twin(session: Session, row: hints.HintRow) -> None:
    """Two drafts made at the same moment cannot see each other; the second confirmation does."""
    for other in hints.twins(session, row.target, row.change_hash, row.id):
        if other.state is ReviewState.confirmed:
            raise NotConfirmable(f"{other.id} asks for the same change and is confirmed; mark this one as its duplicate", twin=other.id)


def _get(session: Session, hint_id: str, *, to_decide: bool = False) -> hints.HintRow:
    row = hints.get_to_decide(session, hint_id) if to_decide else hints.get(session, hint_id)
    if row is None:
        raise NotFound(f"there is no hint {hint_id!r}")
    return row


def _fresh(row: hints.HintRow, version: int) -> None:
    if row.version != version:
        raise StaleVersion(f"you saw version {version}, it is version {row.version} by now", version=row.version, current=row.current)


def _open(session: Session, hint_id: str, version: int, by: str, to: ReviewState) -> hints.HintRow:
    """The hint, if this version may be decided on now. The same decision by the same person again passes through."""
    row = _get(session, hint_id, to_decide=True)
    _fresh(row, version)
    decided = row.state not in (ReviewState.awaiting, ReviewState.snoozed, ReviewState.asked)
    if decided and not (row.state is to and row.decided_by == by):
        when = row.decided_at.isoformat() if row.decided_at else None
        raise IllegalMove(f"hint {hint_id} is {row.state} already", state=str(row.state), decided_by=row.decided_by, decided_at=when)
    return row


def _decide(
    session: Session, db: Database, row: hints.HintRow, to: ReviewState, verdict: str, *, by: str, reason: str | None = None,
    note: str | None = None, seconds: float | None = None, duplicate_of: str | None = None,
) -> reviews.Review:  # fmt: skip
    review = reviews.add(session, _review(db, row, verdict, by=by, reason=reason, note=note, seconds=seconds))
    columns: dict[str, Any] = {"decided_by": by, "decided_at": db.now(), "reason": reason, "duplicate_of": duplicate_of}
    history.move(session, row, to, by=by, why=reason or duplicate_of or "", **columns)
    return review


def _review(db: Database, row: hints.HintRow, verdict: str, *, by: str, **more: Any) -> reviews.Review:
    """A decision's row, with the text as it stands at this moment."""
    return reviews.Review(
        hint_id=row.id, verdict=verdict, hint_version=row.version, hint_hash=row.content_hash, text=row.current, by=by, at=db.now(), **more
    )


def _learn(session: Session, db: Database, row: hints.HintRow, recipe: str, fate: str) -> None:
    case = cases.get(session, row.case_id)
    if case is None or not case.comment:
        return
    example = examples.Example(
        hint_id=row.id, case_id=row.case_id, target=row.target, side=case.side, comment=case.comment, leaf=case.leaf or "", step=row.step,
        recipe=recipe, target_id=row.target_id, edited=row.current != row.draft, fate=fate, at=db.now(),
    )  # fmt: skip
    examples.add(session, example)

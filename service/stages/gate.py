"""The human decision: confirm, dismiss, mark as duplicate, and take it back. Bound to the exact text that was seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session

from connectors.ports import Ports
from rubric.conflicts import against, rivals
from rubric.dismissals import DISMISSALS
from rubric.expectations import record_of
from rubric.schema import Outcome
from service.db import Database
from service.errors import GroupChanged, IllegalMove, NotConfirmable, StaleVersion, Unprocessable
from service.lifecycle import HandoffState, PullState, ReviewState
from service.store import cases, examples, handoffs, hints, history, outcomes, pulls, reviews

MOST = 200
"""hints that one decision may name"""


@dataclass(frozen=True)
class Choice:
    """What a person said about one hint of a group, and the version of it that was seen."""

    hint_id: str
    version: int
    reason: str | None = None
    """to dismiss it with; None: the change of the group cures it"""


def confirm(db: Database, ports: Ports, hint_id: str, *, version: int, by: str, seconds: float | None = None) -> hints.HintRow:
    """Approve exactly the text of this version; the handoff starts when the undo window ends.

    Raises `StaleVersion` when somebody changed the hint since, `NotConfirmable` while a blocking finding stands.
    """
    with db.begin() as session:
        row = _open(session, hint_id, version, by, ReviewState.confirmed)
        _approve(session, db, ports, row, by=by, seconds=seconds)
        return row


def _approve(session: Session, db: Database, ports: Ports, row: hints.HintRow, *, by: str, seconds: float | None) -> None:
    if row.state is ReviewState.confirmed:
        return
    blocking = [finding for finding in row.findings if finding["blocks"]]
    if blocking:
        raise NotConfirmable(f"open findings: {', '.join(str(finding['code']) for finding in blocking)}", findings=blocking)
    _no_rival(session, row)
    review = _decide(session, db, row, ReviewState.confirmed, "confirm", by=by, seconds=seconds)
    handoff = handoffs.Handoff(
        id=f"{row.id}-{review.seq}", hint_id=row.id, review_seq=review.seq or 0, hint_hash=row.content_hash, target=row.target,
        state=HandoffState.waiting, due_at=db.now() + timedelta(seconds=ports.limits.undo_seconds),
    )  # fmt: skip
    history.begin(session, handoff, by=by, delay=ports.limits.undo_seconds)
    _learn(session, db, row, row.recipe, "confirmed")


def dismiss(
    db: Database, hint_id: str, *, version: int, by: str, reason: str, note: str | None = None, seconds: float | None = None
) -> hints.HintRow:
    """Say no, with a reason of the list; the critic learns from it."""
    with db.begin() as session:
        row = _open(session, hint_id, version, by, ReviewState.dismissed)
        _refuse(session, db, row, reason, by=by, note=note, seconds=seconds)
        return row


def _refuse(session: Session, db: Database, row: hints.HintRow, reason: str, *, by: str, note: str | None = None, seconds: float | None) -> None:
    if reason not in DISMISSALS:
        raise Unprocessable(f"{reason!r} is no reason to dismiss; use one of: {', '.join(sorted(DISMISSALS))}", reasons=sorted(DISMISSALS))
    if row.state is not ReviewState.dismissed:
        _decide(session, db, row, ReviewState.dismissed, "dismiss", by=by, reason=reason, note=note, seconds=seconds)
        if DISMISSALS[reason] in Outcome.__members__:
            _learn(session, db, row, DISMISSALS[reason], "dismissed")


def duplicate(db: Database, hint_id: str, *, version: int, by: str, of: str, seconds: float | None = None) -> hints.HintRow:
    """Name the hint that says the same; this one's case is cured when that one's pull is merged."""
    with db.begin() as session:
        hints.hold(session, [hint_id, of])
        row = _open(session, hint_id, version, by, ReviewState.duplicate)
        other = hints.get(session, of)
        if other is None or other.id == row.id or other.target != row.target:
            raise Unprocessable(f"there is no other hint {of!r} of this target", duplicate_of=of)
        if other.state is ReviewState.duplicate:
            raise Unprocessable(f"{of} is a duplicate itself, of {other.duplicate_of}", duplicate_of=other.duplicate_of)
        if row.state is not ReviewState.duplicate and _came_to_nothing(session, other):
            raise Unprocessable(f"{of} {NOTHING}", duplicate_of=of)
        _join(session, db, row, other.id, by=by, seconds=seconds)
        _follow(session, db, other.id, [row], by=by)
        return row


NOTHING = "is confirmed, but nothing is built from it any more; confirm another one"
"""of a hint that none can join: who does would be cured by nobody"""


def _came_to_nothing(session: Session, row: hints.HintRow) -> bool:
    return row.state is ReviewState.confirmed and not handoffs.living(session, [row.id])


def _join(session: Session, db: Database, row: hints.HintRow, of: str, *, by: str, seconds: float | None) -> None:
    """Its own duplicates stay its own, and are built with it."""
    if row.state is not ReviewState.duplicate:
        _decide(session, db, row, ReviewState.duplicate, "duplicate", by=by, seconds=seconds, duplicate_of=of)
        _learn(session, db, row, row.recipe, "confirmed")


def _follow(session: Session, db: Database, of: str, joined: Sequence[hints.HintRow], *, by: str) -> None:
    """A merge makes an outcome for each rejection that has joined by then; whose leader is merged already gets one here, and is looked at."""
    pull = next(reversed(pulls.of_hint(session, of)), None)
    if not joined or pull is None or not (pull.state is PullState.merged or outcomes.of_pull(session, pull.id)):
        return
    rejections = [(hint.id, hint.case_id) for row in joined for hint in (row, *hints.duplicates(session, row.id))]
    for outcome in outcomes.missing(session, pull.id, pull.target, rejections, db.now()):
        history.begin(session, outcome, by=by, why=f"joined {pull.id}")
    history.enqueue(session, "learn", pull.id, f"joined-{joined[0].id}-{history.moves_of(session, 'hints', joined[0].id)}")


def decide_group(
    db: Database, ports: Ports, change_hash: str, *, leader: str | None, choices: Sequence[Choice], by: str, seconds: float | None = None
) -> list[hints.HintRow]:
    """Confirm one hint, mark the others with its change as its duplicates, dismiss some: all of it or nothing.

    `leader` is the hint to confirm, or one that is confirmed already. What `choices` does not name stays as it is; `seconds` is counted once.
    Raises `GroupChanged`, which names each hint that is not as it was seen, and whatever `confirm` raises.
    """
    _sensible(leader, choices)
    with db.begin() as session:
        rows = _as_seen(session, change_hash, leader, choices, by)
        for choice in sorted(choices, key=lambda one: one.hint_id != leader):  # the others are duplicates of what is confirmed by then
            row = rows[choice.hint_id]
            if choice.reason is not None:
                _refuse(session, db, row, choice.reason, by=by, seconds=seconds)
            elif row.id == leader:
                _approve(session, db, ports, row, by=by, seconds=seconds)
            else:
                _join(session, db, row, leader or "", by=by, seconds=seconds)
            seconds = None
        _follow(session, db, leader or "", [rows[one.hint_id] for one in choices if one.reason is None and one.hint_id != leader], by=by)
        return [rows[choice.hint_id] for choice in choices]


def _sensible(leader: str | None, choices: Sequence[Choice]) -> None:
    cured = {one.hint_id for one in choices if one.reason is None}
    if not 0 < len({one.hint_id for one in choices}) == len(choices) <= MOST:
        raise Unprocessable(f"name each hint once, at least one and at most {MOST}")
    if bool(cured) is not bool(leader) or leader in {one.hint_id for one in choices} - cured:
        raise Unprocessable("name the hint to confirm: one of those that the change cures, or one that is confirmed already", leader=leader)


def _as_seen(session: Session, change_hash: str, leader: str | None, choices: Sequence[Choice], by: str) -> dict[str, hints.HintRow]:
    """All hints of a decision, each held until it is made."""
    named = {one.hint_id: one for one in choices}
    rows: dict[str, hints.HintRow] = {}
    changed: dict[str, str] = {}
    wanted = {*named, *([leader] if leader else [])}
    hints.hold(session, wanted)
    for hint_id in sorted(wanted):
        try:
            rows[hint_id] = _member(session, named.get(hint_id), hint_id, leader, by)
        except (StaleVersion, IllegalMove) as error:
            changed[hint_id] = str(error)
    joins = any(
        one.reason is None and one.hint_id != leader and rows[one.hint_id].state is not ReviewState.duplicate
        for one in choices
        if one.hint_id in rows
    )
    if joins and leader in rows and _came_to_nothing(session, rows[leader]):
        changed[leader] = NOTHING
    if changed:
        raise GroupChanged("nothing was decided: " + "; ".join(f"{one}: {why}" for one, why in changed.items())[:2000], changed=changed)
    strange = [row.id for row in rows.values() if row.change_hash != change_hash or row.target != next(iter(rows.values())).target]
    if strange:
        raise Unprocessable(f"{', '.join(strange[:5])}: not of the group {change_hash}", strange=strange)
    return rows


def _member(session: Session, choice: Choice | None, hint_id: str, leader: str | None, by: str) -> hints.HintRow:
    if choice is None:
        row = hints.needed(session, hint_id)
        if row.state is ReviewState.awaiting and not any(one.verdict == "confirm" for one in reviews.of_hint(session, hint_id)):
            raise Unprocessable(f"the one to confirm is left: {hint_id} was never confirmed, so name it with those that the change cures")
        if row.state is not ReviewState.confirmed:
            raise IllegalMove(f"is {row.state}; the others can only join a confirmed hint, or one that is confirmed with them")
        return row
    cured = ReviewState.confirmed if hint_id == leader else ReviewState.duplicate
    row = _open(session, hint_id, choice.version, by, cured if choice.reason is None else ReviewState.dismissed)
    if row.state is ReviewState.duplicate and row.duplicate_of != leader:
        raise IllegalMove(f"is a duplicate of {row.duplicate_of} already")
    return row


def undo(db: Database, hint_id: str, *, by: str) -> hints.HintRow:
    """Take the last decision back. A confirmation only until its handoff has started; what joined it since comes back with it.

    Without that, hints would stay duplicates of one that nobody has decided on, and vanish from every list when it is dismissed.
    """
    with db.begin() as session:
        hints.hold(session, [hint_id])
        row = hints.needed(session, hint_id)
        if row.state is ReviewState.awaiting:
            return row
        if row.state is ReviewState.confirmed:
            _stop_handoff(session, row, by)
            for other in hints.joined(session, row.id):
                if other.change_hash == row.change_hash and other.decided_at and row.decided_at and other.decided_at >= row.decided_at:
                    _take_back(session, db, other, by, f"taken back with {row.id}")
        _take_back(session, db, row, by, "taken back")
        return row


def _take_back(session: Session, db: Database, row: hints.HintRow, by: str, why: str) -> None:
    examples.remove(session, row.id)
    reviews.add(session, _review(db, row, "undo", by=by))
    history.move(session, row, ReviewState.awaiting, by=by, why=why, decided_by=None, decided_at=None, reason=None, duplicate_of=None)


def _stop_handoff(session: Session, row: hints.HintRow, by: str) -> None:
    for handoff in handoffs.of_hint(session, row.id):
        if handoff.state in (HandoffState.waiting, HandoffState.blocked):
            history.move(session, handoff, HandoffState.withdrawn, by=by, why="decision taken back")
        elif handoff.state is not HandoffState.withdrawn:
            raise IllegalMove("the undo window is over, work has started; close the pull instead", state=str(handoff.state))


def _no_rival(session: Session, row: hints.HintRow) -> None:
    """Two drafts made at the same moment cannot see each other; the second confirmation does."""
    other = next(iter(sorted(handoffs.living(session, hints.confirmed_twins(session, row)))), None)
    if other:
        raise NotConfirmable(f"{other} asks for the same change and is confirmed; mark this one as its duplicate", twin=other)
    rules = handoffs.in_force(session, hints.rules(session, row.target, rivals(row.recipe)))
    for name, why in against(row.hint.change, rules):
        raise NotConfirmable(f"{name} is confirmed and asks for the opposite: {why}; save this one to see both", conflict=name)


def _open(session: Session, hint_id: str, version: int, by: str, to: ReviewState) -> hints.HintRow:
    """The hint, if this version may be decided on now. The same decision by the same person again passes through."""
    row = hints.needed(session, hint_id, to_decide=True)
    hints.fresh(row, version)
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
        recipe=recipe, target_id=row.target_id, edited=row.current != row.draft, fate=fate, record=record_of(case.case.plan), at=db.now(),
    )  # fmt: skip
    examples.add(session, example)

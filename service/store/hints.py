"""Hints, drafted and as people left them, with the state of their review."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Index, case, func
from sqlalchemy.orm import aliased
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.recipes import Change, ChangeOf, edit_of
from rubric.schema import Hint
from service.db import Json, alone, words
from service.errors import NotFound, StaleVersion
from service.lifecycle import ReviewState


class HintRow(SQLModel, table=True):
    """One hint for one case. `draft` never changes; `current` is what a person made of it."""

    __tablename__ = "hints"
    __table_args__ = (
        Index("ix_hints_state", "state", "created_at", "id"),
        Index("ix_hints_case", "case_id"),
        Index("ix_hints_change", "target", "change_hash"),
        Index("ix_hints_duplicate_of", "duplicate_of"),
        # all that `decided` reads, so that a page looks at no row: their documents are long
        Index("ix_hints_decided", "target", "critic", "decided_at", "weight", "change_hash", "draft_hash", "state", "duplicate_of"),
        Index("ix_hints_target", "target", "state", "created_at"),
    )

    id: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", ondelete="CASCADE")
    target: str
    step: str
    recipe: str
    target_id: str
    """inventory id that the hint names"""
    state: ReviewState = Field(sa_type=words(ReviewState))
    version: int = 1
    """counts the edits; a decision names the version that its maker saw"""
    draft: dict[str, Any] = Field(sa_type=Json)
    current: dict[str, Any] = Field(sa_type=Json)
    content_hash: str
    """of `current`; what a decision binds to"""
    change_hash: str
    """of the change alone; equal means the same edit"""
    findings: list[dict[str, Any]] = Field(default=[], sa_type=Json)
    base_sha: str | None = None
    """commit of the target that the critic looked at"""
    critic: str
    rubric_version: str
    cost: dict[str, Any] = Field(default={}, sa_type=Json)
    created_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    duplicate_of: str | None = None
    weight: float | None = None
    """confidence that it was drafted with; 0: it was not tried"""
    draft_hash: str | None = None
    """`change_hash` of `draft`; another one than `change_hash` means that a person edited the change"""

    @property
    def hint(self) -> Hint:
        return Hint.model_validate(self.current)


class Filter(BaseModel):
    """What a list of hints can be narrowed by; empty fields do not narrow."""

    state: str = ""
    step: str = ""
    recipe: str = ""
    case: str = ""


def get(session: Session, hint_id: str) -> HintRow | None:
    return session.get(HintRow, hint_id)


def get_to_decide(session: Session, hint_id: str) -> HintRow | None:
    """The hint, which nobody else can decide on or edit until our transaction ends."""
    return session.get(HintRow, hint_id, with_for_update=True)


def needed(session: Session, hint_id: str, *, to_decide: bool = False) -> HintRow:
    """The hint, as `get` or `get_to_decide` gives it. Raises `NotFound`."""
    row = get_to_decide(session, hint_id) if to_decide else get(session, hint_id)
    if row is None:
        raise NotFound(f"there is no hint {hint_id!r}")
    return row


def fresh(row: HintRow, version: int) -> None:
    """Raise `StaleVersion` unless this is the version that somebody saw."""
    if row.version != version:
        raise StaleVersion(f"you saw version {version}, it is version {row.version} by now", version=row.version, current=row.current)


def hold(session: Session, hint_ids: Iterable[str]) -> None:
    """Until our transaction ends nobody else decides on these hints, or on what is a duplicate of them.

    In one order for everybody, or two of us would wait for each other. To be called before any of them is loaded.
    """
    wanted, held = set(hint_ids), set[str]()
    while more := {*wanted, *session.exec(_under(*wanted))} - held:  # one that joined while we waited for its leader is held as well
        session.exec(select(HintRow.id).where(col(HintRow.id).in_(more)).order_by(col(HintRow.id)).with_for_update()).all()
        held |= more


def of_case(session: Session, case_id: str) -> list[HintRow]:
    return list(session.exec(select(HintRow).where(HintRow.case_id == case_id).order_by(col(HintRow.id))))


def page(session: Session, narrow: Filter, after: tuple[datetime, str] | None, limit: int, *, together: bool = False) -> list[HintRow]:
    """Oldest first, from just behind a row (created_at, id). `together`: of the waiting hints with one change only the oldest."""
    query = select(HintRow)
    for column, wanted in (
        (HintRow.state, narrow.state),
        (HintRow.step, narrow.step),
        (HintRow.recipe, narrow.recipe),
        (HintRow.case_id, narrow.case),
    ):
        if wanted:
            query = query.where(column == wanted)
    if together:
        query = query.where(~_another(older=True, step=narrow.step))
    return list(session.exec(_behind(query, after).limit(limit)))


def first_of_groups(session: Session, after: tuple[datetime, str] | None, limit: int) -> list[HintRow]:
    """The oldest of each group: hints that wait on one target with one change, at least two. Oldest first."""
    waiting = select(HintRow).where(HintRow.state == ReviewState.awaiting, ~_another(older=True), _another(older=False))
    return list(session.exec(_behind(waiting, after).limit(limit)))


def _behind(query: Any, after: tuple[datetime, str] | None) -> Any:
    if after:
        at, hint_id = after
        query = query.where((col(HintRow.created_at) > at) | ((col(HintRow.created_at) == at) & (col(HintRow.id) > hint_id)))
    return query.order_by(col(HintRow.created_at), col(HintRow.id))


def _another(*, older: bool, step: str = "") -> Any:
    """Whether an older, or else a younger, hint with the same change waits on the same target. Looks along `ix_hints_change`."""
    other = aliased(HintRow)
    left, right = (other, HintRow) if older else (HintRow, other)
    before = (col(left.created_at) < right.created_at) | ((col(left.created_at) == right.created_at) & (col(left.id) < right.id))
    same = select(other.id).where(other.target == HintRow.target, other.change_hash == HintRow.change_hash, other.state == ReviewState.awaiting)
    return (same.where(before, other.step == step) if step else same.where(before)).exists()


def group_sizes(session: Session, rows: Sequence[HintRow]) -> dict[tuple[str, str], int]:
    """(target, change_hash) of some hints → how many hints wait with it."""
    query = select(HintRow.target, HintRow.change_hash, func.count()).group_by(HintRow.target, HintRow.change_hash)
    query = query.where(HintRow.state == ReviewState.awaiting, _of_groups(rows))
    return {(target, change): number for target, change, number in session.exec(query)}


def waiting_with(session: Session, rows: Sequence[HintRow], most: int) -> dict[tuple[str, str], list[str]]:
    """(target, change_hash) of some hints → ids of those that wait with it, oldest first, so many at the most of each."""
    group = (HintRow.target, HintRow.change_hash)
    place = func.row_number().over(partition_by=group, order_by=(col(HintRow.created_at), col(HintRow.id))).label("place")
    query = select(HintRow.target, HintRow.change_hash, HintRow.id, place).where(HintRow.state == ReviewState.awaiting, _of_groups(rows))
    numbered = query.subquery()
    found: dict[tuple[str, str], list[str]] = {}
    for target, change, hint_id in session.exec(
        select(numbered.c.target, numbered.c.change_hash, numbered.c.id).where(numbered.c.place <= most).order_by(numbered.c.place)
    ):
        found.setdefault((target, change), []).append(hint_id)
    return found


def _of_groups(rows: Sequence[HintRow]) -> Any:
    return col(HintRow.target).in_({row.target for row in rows}) & col(HintRow.change_hash).in_({row.change_hash for row in rows})


def with_change(
    session: Session, target: str, change_hash: str, state: ReviewState, limit: int, after: tuple[datetime, str] | None = None
) -> list[HintRow]:
    """Hints of a target with the very same change in one state, oldest first."""
    query = select(HintRow).where(HintRow.target == target, HintRow.change_hash == change_hash, HintRow.state == state)
    return list(session.exec(_behind(query, after).limit(limit)))


def any_with_change(session: Session, targets: Sequence[str], change_hash: str) -> HintRow | None:
    """The hint to show for a change: the oldest that waits, or else the oldest at all."""
    query = select(HintRow).where(col(HintRow.target).in_(targets), HintRow.change_hash == change_hash)
    waits_first = case((col(HintRow.state) == ReviewState.awaiting, 0), else_=1)
    return session.exec(query.order_by(waits_first, col(HintRow.created_at), col(HintRow.id)).limit(1)).first()


def confirmed_ids(session: Session, target: str, change_hash: str) -> list[str]:
    """Hints of a target with the very same change that are confirmed, oldest first, whatever became of them since."""
    query = select(HintRow.id).where(HintRow.target == target, HintRow.change_hash == change_hash, HintRow.state == ReviewState.confirmed)
    return list(session.exec(_behind(query, None)))


def confirmed_twins(session: Session, row: HintRow) -> list[str]:
    """Other hints with the very same change that are confirmed. One transaction a target may look, and go on to confirm, at a time."""
    alone(session, f"confirm {row.target}")
    return [one for one in confirmed_ids(session, row.target, row.change_hash) if one != row.id]


def rules(session: Session, target: str, recipes: Iterable[str], limit: int = 1000) -> list[tuple[str, Change]]:
    """(id, change) of the confirmed hints of a target that are of some recipes, newest first."""
    query = select(HintRow.id, col(HintRow.current)["change"]).where(HintRow.target == target, HintRow.state == ReviewState.confirmed)
    query = query.where(col(HintRow.recipe).in_(sorted(recipes))).order_by(col(HintRow.created_at).desc())
    return [(hint_id, ChangeOf.validate_python(change)) for hint_id, change in session.exec(query.limit(limit))]


def decided(session: Session, target: str, critic: str, limit: int = 2000) -> list[tuple[float, bool]]:
    """(weight, whether the very change that was drafted was confirmed) of the hints of a critic that were decided last.

    A duplicate counts as the hint that it is built with; while that one waits, it does not count.
    """
    read: list[Any] = [HintRow.weight, HintRow.draft_hash, HintRow.state, HintRow.change_hash, HintRow.duplicate_of]
    query = select(*read).where(
        HintRow.target == target, HintRow.critic == critic, col(HintRow.decided_at).is_not(None), col(HintRow.weight).is_not(None)
    )
    rows = session.exec(query.order_by(col(HintRow.decided_at).desc()).limit(limit)).all()
    above = _above(session, {of for *_, of in rows if of})
    found = []
    for weight, drafted, state, change, of in rows:
        seen: set[str] = set()
        while state is ReviewState.duplicate and of in above and of not in seen:
            seen.add(of)
            state, change, of = above[of]
        if weight is not None and state in (ReviewState.confirmed, ReviewState.dismissed):
            found.append((weight, state is ReviewState.confirmed and change == drafted))
    return found


def _above(session: Session, hint_ids: set[str]) -> dict[str, tuple[ReviewState, str, str | None]]:
    """id → (state, change_hash, duplicate_of) of some hints, of those that they are duplicates of, and so on."""
    found: dict[str, tuple[ReviewState, str, str | None]] = {}
    while hint_ids:
        query = select(HintRow.id, HintRow.state, HintRow.change_hash, HintRow.duplicate_of).where(col(HintRow.id).in_(hint_ids))
        found |= {hint_id: (ReviewState(state), change, of) for hint_id, state, change, of in session.exec(query)}
        hint_ids = {of for _, _, of in found.values() if of} - found.keys()
    return found


def in_play(session: Session, target: str, limit: int) -> list[HintRow]:
    """Hints of a target that wait or were confirmed, newest first."""
    states = [ReviewState.awaiting, ReviewState.confirmed, ReviewState.snoozed, ReviewState.asked]
    query = select(HintRow).where(HintRow.target == target, col(HintRow.state).in_(states)).order_by(col(HintRow.created_at).desc())
    return list(session.exec(query.limit(limit)))


def content_hash(text: dict[str, Any]) -> str:
    """Names the exact text of a hint; what a decision binds to."""
    return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()


def change_hash(text: dict[str, Any]) -> str:
    """Names the edit alone: equal for two hints that ask for the same change, whatever case led to them."""
    return hashlib.sha256(json.dumps(edit_of(text["change"]), sort_keys=True).encode()).hexdigest()[:32]


def duplicate_ids(session: Session, hint_id: str) -> list[str]:
    """Hints that a person marked as duplicates of this one, or of one of these: all that are built with it."""
    return sorted({*session.exec(_under(hint_id))} - {hint_id})


def count_duplicates(session: Session, hint_id: str) -> int:
    """How many hints are built with this one."""
    return len(duplicate_ids(session, hint_id))


def duplicates(session: Session, hint_id: str) -> list[HintRow]:
    """The hints that `duplicate_ids` names."""
    return list(session.exec(select(HintRow).where(col(HintRow.id).in_(duplicate_ids(session, hint_id))).order_by(col(HintRow.id))))


def joined(session: Session, hint_id: str) -> list[HintRow]:
    """Hints that were marked as duplicates of this very one."""
    return list(session.exec(select(HintRow).where(HintRow.duplicate_of == hint_id).order_by(col(HintRow.id))))


def _under(*hint_ids: str) -> Any:
    """Ids of all that is a duplicate of some hints, of those, and so on."""
    found = select(HintRow.id).where(col(HintRow.duplicate_of).in_(hint_ids)).cte("found", recursive=True)
    return select(found.union(select(HintRow.id).where(HintRow.duplicate_of == found.c.id)).c.id)


def leading(session: Session, row: HintRow) -> str:
    """The id of the hint that one is built with: itself, or where its duplicates lead."""
    way = [row.id]
    while row.duplicate_of and row.duplicate_of not in way and (above := get(session, row.duplicate_of)):
        row = above
        way.append(row.id)
    return way[-1]


def around(session: Session, row: HintRow) -> tuple[str | None, str | None]:
    """Ids of the waiting hints just before and just after one, in queue order."""
    waiting = select(HintRow.id).where(HintRow.state == ReviewState.awaiting)
    earlier = (col(HintRow.created_at) < row.created_at) | ((col(HintRow.created_at) == row.created_at) & (col(HintRow.id) < row.id))
    later = (col(HintRow.created_at) > row.created_at) | ((col(HintRow.created_at) == row.created_at) & (col(HintRow.id) > row.id))
    before = session.exec(waiting.where(earlier).order_by(col(HintRow.created_at).desc(), col(HintRow.id).desc()).limit(1)).first()
    after = session.exec(waiting.where(later).order_by(col(HintRow.created_at), col(HintRow.id)).limit(1)).first()
    return before, after

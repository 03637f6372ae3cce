"""Reads that join: groups, which are the rejections that wait for one and the same change to one target. Never writes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from service.errors import NotFound
from service.lifecycle import ReviewState
from service.reports import PAGE, HintItem, HintLine, hint_item, line, mark, place
from service.store import hints

EARLIER = 5
"""dismissed hints with the change that are shown"""


class GroupLine(BaseModel):
    """At least two rejections, one change."""

    change_hash: str
    target: str
    recipe: str
    target_id: str
    summary: str
    """as the oldest member words it"""
    count: int
    members: list[str]
    """hint ids, oldest first, at most 50"""
    created_at: datetime
    """of the oldest member"""


class GroupList(BaseModel):
    rows: list[GroupLine]
    after: str | None
    """pass as `after` to get the next page; None: this is the last"""


class Member(HintLine):
    """One rejection of a group, with what the critic found for it."""

    version: int
    current: dict[str, Any]
    told: list[dict[str, Any]]
    """findings; twins are left out, for the group is what they say"""

    @property
    def quotes(self) -> list[str]:
        """What its evidence quotes of the comment."""
        return [span["quote"] for span in self.current["evidence"] if span["source"] == "comment"]


class Group(BaseModel):
    """Everything the screen of a group shows."""

    change_hash: str
    target: str
    count: int
    """hints that wait with this change"""
    members: list[Member]
    """a page of them, oldest first"""
    after: str | None
    about: HintItem
    """the hint whose words are shown for the change: the one to confirm, where there is one"""
    leader: str | None
    """what the others would become duplicates of: one that is confirmed, or the oldest on the page that nothing blocks"""
    confirmed: HintLine | None
    """a hint with this change that is confirmed already"""
    dismissed: list[HintLine]
    """some with this change that were dismissed"""


def group_list(session: Session, after: str | None = None, limit: int = PAGE) -> GroupList:
    """A page of groups, those with the oldest member first."""
    rows = hints.first_of_groups(session, place(after), limit + 1)
    more = rows[limit - 1] if len(rows) > limit else None
    sizes = hints.group_sizes(session, rows[:limit])
    lines = [
        GroupLine(
            change_hash=row.change_hash, target=row.target, recipe=row.recipe, target_id=row.target_id, summary=row.current["summary"],
            count=sizes[row.target, row.change_hash], created_at=row.created_at,
            members=[one.id for one in hints.with_change(session, row.target, row.change_hash, ReviewState.awaiting, PAGE)],
        )
        for row in rows[:limit]
    ]  # fmt: skip
    return GroupList(rows=lines, after=mark(more.created_at, more.id) if more else None)


def group(session: Session, change_hash: str, targets: Sequence[str], after: str | None = None, leader: str = "") -> Group:
    """The group of a change on the one of some targets where it waits; `count` below 2: it is none. Raises `NotFound`.

    `leader` is the member to confirm, for who wants another one than is offered.
    """
    first = hints.any_with_change(session, targets, change_hash)
    if first is None:
        raise NotFound(f"there is no group {change_hash!r}")
    found = {state: hints.with_change(session, first.target, change_hash, state, most) for state, most in _BESIDE.items()}
    rows = hints.with_change(session, first.target, change_hash, ReviewState.awaiting, PAGE + 1, place(after))
    shown = rows[:PAGE]
    confirmed = found[ReviewState.confirmed][0] if found[ReviewState.confirmed] else None
    free = [row.id for row in shown if not any(finding["blocks"] for finding in row.findings)]
    chosen = confirmed.id if confirmed else leader if leader in free else free[0] if free else None
    return Group(
        change_hash=change_hash, target=first.target, count=hints.group_sizes(session, [first]).get((first.target, change_hash), 0),
        members=[_member(session, row) for row in shown], after=mark(shown[-1].created_at, shown[-1].id) if len(rows) > PAGE else None,
        about=hint_item(session, chosen or (shown[0] if shown else first).id), leader=chosen,
        confirmed=line(session, confirmed) if confirmed else None, dismissed=[line(session, row) for row in found[ReviewState.dismissed]],
    )  # fmt: skip


_BESIDE = {ReviewState.confirmed: 1, ReviewState.dismissed: EARLIER}


def _member(session: Session, row: hints.HintRow) -> Member:
    told = [finding for finding in row.findings if finding["code"] != "twin"]
    return Member(**line(session, row).model_dump(), version=row.version, current=row.current, told=told)

"""Reads that join: groups, which are the rejections that wait for one and the same change to one target. Never writes."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from service.errors import NotFound
from service.lifecycle import ReviewState
from service.reports import PAGE, HintItem, HintLine, hint_item, lines, mark, place
from service.store import handoffs, hints

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
    offered: bool
    """to be cured with the others, for nothing was found that a person should look at by itself"""

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
    """what the others would become duplicates of: one that is confirmed, or the oldest of those to be cured that nothing blocks"""
    confirmed: HintLine | None
    """a hint with this change that is confirmed already, and not in vain"""
    dismissed: list[HintLine]
    """some with this change that were dismissed"""


def group_list(session: Session, after: str | None = None, limit: int = PAGE) -> GroupList:
    """A page of groups, those with the oldest member first."""
    rows = hints.first_of_groups(session, place(after), limit + 1)
    more = rows[limit - 1] if len(rows) > limit else None
    sizes, members = hints.group_sizes(session, rows[:limit]), hints.waiting_with(session, rows[:limit], PAGE)
    found = [
        GroupLine(
            change_hash=row.change_hash, target=row.target, recipe=row.recipe, target_id=row.target_id, summary=row.current["summary"],
            count=sizes[row.target, row.change_hash], created_at=row.created_at, members=members[row.target, row.change_hash],
        )
        for row in rows[:limit]
    ]  # fmt: skip
    return GroupList(rows=found, after=mark(more.created_at, more.id) if more else None)


def group(
    session: Session, change_hash: str, targets: Sequence[str], after: str | None = None, leader: str = "", cured: Collection[str] | None = None
) -> Group:
    """The group of a change on the one of some targets where it waits; `count` below 2: it is none. Raises `NotFound`.

    `leader` is the member to confirm, for who wants another one than is offered; `cured` are those to choose it from, for who has chosen them.
    """
    first = hints.any_with_change(session, targets, change_hash)
    if first is None:
        raise NotFound(f"there is no group {change_hash!r}")
    rows = hints.with_change(session, first.target, change_hash, ReviewState.awaiting, PAGE + 1, place(after))
    members = _members(session, rows[:PAGE])
    confirmed = _confirmed(session, first)
    free = [one.id for one in members if not one.findings]
    wanted = [one.id for one in members if one.id in free and (one.offered if cured is None else one.id in cured)]
    chosen = confirmed.id if confirmed else leader if leader in wanted else next(iter([*wanted, *free]), None)
    return Group(
        change_hash=change_hash, target=first.target, count=hints.group_sizes(session, [first]).get((first.target, change_hash), 0),
        members=members, after=mark(members[-1].created_at, members[-1].id) if len(rows) > PAGE else None,
        about=hint_item(session, chosen or (members[0] if members else first).id), leader=chosen, confirmed=confirmed,
        dismissed=lines(session, hints.with_change(session, first.target, change_hash, ReviewState.dismissed, EARLIER)),
    )  # fmt: skip


def _confirmed(session: Session, of: hints.HintRow) -> HintLine | None:
    """The oldest confirmed hint with the same change from which something comes; one whose pull was closed cures nobody who joins it."""
    known = hints.confirmed_ids(session, of.target, of.change_hash)
    alive = handoffs.living(session, known)
    return next(iter(lines(session, [hints.needed(session, one) for one in known if one in alive][:1])), None)


def _members(session: Session, rows: Sequence[hints.HintRow]) -> list[Member]:
    replays = any(row.draft["confidence"].get("replay", "not_tried") != "not_tried" for row in rows)  # then the target can try changes out
    found = []
    for row, line in zip(rows, lines(session, rows), strict=True):
        replay = row.current["confidence"].get("replay", "not_tried")
        doubtful = line.findings or row.current.get("changes_controls") or replay == "no_effect" or (replays and replay != "moved")
        told = [finding for finding in row.findings if finding["code"] != "twin"]
        found.append(Member(**line.model_dump(), version=row.version, current=row.current, told=told, offered=not doubtful))
    return found

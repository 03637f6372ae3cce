"""Approved hints on their way through an agent."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import column, exists, table
from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json, words
from service.lifecycle import HandoffState, PullState

T = TypeVar("T")


class Handoff(SQLModel, table=True):
    """One approval at work. It cannot exist without the review row that approved exactly `hint_hash`."""

    __tablename__ = "handoffs"

    id: str = Field(primary_key=True)
    hint_id: str = Field(foreign_key="hints.id", ondelete="CASCADE", index=True)
    review_seq: int = Field(foreign_key="reviews.seq", unique=True)
    hint_hash: str
    target: str
    state: HandoffState = Field(sa_type=words(HandoffState))
    due_at: datetime
    """end of the undo window"""
    attempt: int = 0
    """starts since a person last had it tried again"""
    retries: int = 0
    """times that a person had it tried again"""
    agent: str | None = None
    by_model: bool = False
    """a model wrote what was built: it is run in a box only"""
    base_sha: str | None = None
    reason: str | None = None
    """why it gave up, was refused, is blocked or failed; our own words"""
    violations: list[dict[str, Any]] = Field(default=[], sa_type=Json)


def get(session: Session, handoff_id: str) -> Handoff | None:
    return session.get(Handoff, handoff_id)


def of_hint(session: Session, hint_id: str) -> list[Handoff]:
    return list(session.exec(select(Handoff).where(Handoff.hint_id == hint_id).order_by(col(Handoff.review_seq))))


def living(session: Session, hint_ids: Collection[str]) -> set[str]:
    """Those of some hints that are being built, whose pull is open, or that are followed up after it: what joins them is cured with them.

    The rest got nowhere: the agent gave up, or a person closed the pull.
    """
    closed = (_PULLS.c.state == PullState.closed.value) & ~exists().where(_OUTCOMES.c.pull_id == _PULLS.c.id)
    over = exists().where(_PULLS.c.handoff_id == Handoff.id, closed | (_PULLS.c.state == PullState.reverted.value))
    query = select(Handoff.hint_id).where(col(Handoff.hint_id).in_(list(hint_ids)), col(Handoff.state).in_(_ALIVE), ~over)
    return set(session.exec(query)) if hint_ids else set()


def in_force(session: Session, rules: Sequence[tuple[str, T]]) -> list[tuple[str, T]]:
    """Those of some (id of a confirmed hint, what it asks for) that did not come to nothing."""
    alive = living(session, [name for name, _ in rules])
    return [(name, rule) for name, rule in rules if name in alive]


_ALIVE = (HandoffState.waiting, HandoffState.working, HandoffState.built, HandoffState.blocked)
_PULLS = table("pulls", column("id"), column("handoff_id"), column("state"))
_OUTCOMES = table("outcomes", column("pull_id"))
"""by name: files of the store know nothing of each other. A pull that was closed because the base cures its case by now has outcomes"""

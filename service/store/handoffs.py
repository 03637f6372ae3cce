"""Approved hints on their way through an agent."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json, words
from service.lifecycle import HandoffState


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
    agent: str | None = None
    base_sha: str | None = None
    reason: str | None = None
    """why it gave up, was refused, is blocked or failed; our own words"""
    violations: list[dict[str, Any]] = Field(default=[], sa_type=Json)


def get(session: Session, handoff_id: str) -> Handoff | None:
    return session.get(Handoff, handoff_id)


def of_hint(session: Session, hint_id: str) -> list[Handoff]:
    return list(session.exec(select(Handoff).where(Handoff.hint_id == hint_id).order_by(col(Handoff.review_seq))))

"""Decisions of people, one row each, bound to the exact text that was decided on."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json


class Review(SQLModel, table=True):
    """One decision. Rows are only ever added; an undo is a row of its own."""

    __tablename__ = "reviews"

    seq: int | None = Field(default=None, primary_key=True)
    hint_id: str = Field(foreign_key="hints.id", ondelete="CASCADE", index=True)
    verdict: str
    """confirm, edit, dismiss, duplicate, snooze, ask or undo"""
    hint_version: int
    hint_hash: str
    """content hash of the hint that was decided on"""
    text: dict[str, Any] = Field(sa_type=Json)
    """the hint as it was then"""
    reason: str | None = None
    note: str | None = None
    seconds: float | None = None
    """from opening the page to the decision, where the page said so"""
    by: str
    at: datetime


def add(session: Session, review: Review) -> Review:
    session.add(review)
    session.flush()
    return review


def of_hint(session: Session, hint_id: str) -> list[Review]:
    return list(session.exec(select(Review).where(Review.hint_id == hint_id).order_by(col(Review.seq))))

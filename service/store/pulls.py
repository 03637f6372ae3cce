"""Pull requests: one per handoff, whatever happens."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json, words
from service.lifecycle import PullState


class Pull(SQLModel, table=True):
    __tablename__ = "pulls"
    __table_args__ = (Index("ix_pulls_state", "state", "opened_at", "id"),)

    id: str = Field(primary_key=True)
    handoff_id: str = Field(foreign_key="handoffs.id", ondelete="CASCADE", unique=True)
    hint_id: str = Field(foreign_key="hints.id", ondelete="CASCADE", index=True)
    target: str
    step: str
    recipe: str
    state: PullState = Field(sa_type=words(PullState))
    branch: str
    base_sha: str
    head_sha: str
    title: str
    body: str
    row_suite: str | None = None
    """suite that gets a new eval row with this pull"""
    row: dict[str, Any] | None = Field(default=None, sa_type=Json)
    row_note: str = ""
    """what the row proves, or why there is none"""
    opened_at: datetime
    asked_by: str | None = None
    """person who asked to merge"""
    closed_reason: str | None = None
    merged_sha: str | None = None
    merged_at: datetime | None = None


def get(session: Session, pull_id: str) -> Pull | None:
    return session.get(Pull, pull_id)


def of_hint(session: Session, hint_id: str) -> list[Pull]:
    return list(session.exec(select(Pull).where(Pull.hint_id == hint_id).order_by(col(Pull.opened_at))))


def any_landing(session: Session, target: str) -> bool:
    """Whether somebody has asked to merge a pull of a target that has not landed yet."""
    query = select(Pull.id).where(Pull.target == target, Pull.state == PullState.landing).limit(1)
    return session.exec(query).first() is not None


def last_merged(session: Session, target: str) -> str | None:
    """The id of the pull of a target that was merged last."""
    query = select(Pull.id).where(Pull.target == target, Pull.state == PullState.merged).order_by(col(Pull.merged_at).desc()).limit(1)
    return session.exec(query).first()


def page(session: Session, state: str, after: tuple[datetime, str] | None, limit: int) -> list[Pull]:
    """Newest first, from just behind a row (opened_at, id)."""
    query = select(Pull)
    if state:
        query = query.where(Pull.state == state)
    if after:
        at, pull_id = after
        query = query.where((col(Pull.opened_at) < at) | ((col(Pull.opened_at) == at) & (col(Pull.id) < pull_id)))
    return list(session.exec(query.order_by(col(Pull.opened_at).desc(), col(Pull.id).desc()).limit(limit)))

"""What a model-driven agent did with a handoff, one row a go."""

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json


class AttemptRow(SQLModel, table=True):
    """Written when a go begins, so that one which a dying process cut off counts as well, and once more when it has ended."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("handoff_id", "round", "number"),)

    seq: int | None = Field(default=None, primary_key=True)
    handoff_id: str = Field(foreign_key="handoffs.id", ondelete="CASCADE", index=True)
    round: int
    """how often a person had the handoff tried again before"""
    number: int
    """counts from 1 within a round"""
    agent: str
    status: str
    """`begun`, or how the agent's run ended, as `connectors.ports.TreeRun.status`"""
    reason: str
    turns: int
    tokens: int
    usd: float | None
    seconds: float
    violations: list[dict[str, Any]] = Field(default=[], sa_type=Json)
    """what the tree policy had against the tree it left"""
    lost: list[str] = Field(default=[], sa_type=Json)
    """what the step evals had against it"""
    transcript: str
    """data of strangers: shown escaped, and to people only"""
    at: datetime


def put(session: Session, row: AttemptRow) -> None:
    """Write a go, over what was known of it before."""
    same = select(AttemptRow.seq).where(AttemptRow.handoff_id == row.handoff_id, AttemptRow.round == row.round, AttemptRow.number == row.number)
    row.seq = session.exec(same).first()
    session.merge(row)


def of_handoff(session: Session, handoff_id: str) -> list[AttemptRow]:
    return list(session.exec(select(AttemptRow).where(AttemptRow.handoff_id == handoff_id).order_by(col(AttemptRow.seq))))


def in_round(session: Session, handoff_id: str, number: int) -> list[AttemptRow]:
    """The goes since a person last had it tried again, in order."""
    return [row for row in of_handoff(session, handoff_id) if row.round == number]


def beside(session: Session, handoff: dict[str, Any]) -> dict[str, Any]:
    """A handoff as JSON, with its attempts in order."""
    return {**handoff, "attempts": [row.model_dump(mode="json") for row in of_handoff(session, handoff["id"])]}

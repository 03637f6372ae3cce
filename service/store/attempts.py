"""What a model-driven agent did with a handoff, one row a go."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json


class AttemptRow(SQLModel, table=True):
    """Rows are only ever added. A go that a dying process cut off has none."""

    __tablename__ = "attempts"

    seq: int | None = Field(default=None, primary_key=True)
    handoff_id: str = Field(foreign_key="handoffs.id", ondelete="CASCADE", index=True)
    number: int
    """counts from 1 within one build"""
    agent: str
    status: str
    """how the agent's run ended, as `connectors.ports.TreeRun.status`"""
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


def add(session: Session, row: AttemptRow) -> None:
    session.add(row)


def of_handoff(session: Session, handoff_id: str) -> list[AttemptRow]:
    return list(session.exec(select(AttemptRow).where(AttemptRow.handoff_id == handoff_id).order_by(col(AttemptRow.seq))))


def beside(session: Session, handoff: dict[str, Any]) -> dict[str, Any]:
    """A handoff as JSON, with its attempts in order."""
    return {**handoff, "attempts": [row.model_dump(mode="json") for row in of_handoff(session, handoff["id"])]}

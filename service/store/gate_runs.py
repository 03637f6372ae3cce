"""Runs of the step evals: one per head and base commit of a pull."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint, update
from sqlmodel import Field, Session, SQLModel, col, select

from service.db import Json, words
from service.lifecycle import GateState


class GateRun(SQLModel, table=True):
    __tablename__ = "gate_runs"
    __table_args__ = (UniqueConstraint("pull_id", "base_sha", "head_sha"),)

    id: str = Field(primary_key=True)
    pull_id: str = Field(foreign_key="pulls.id", ondelete="CASCADE", index=True)
    base_sha: str
    head_sha: str
    state: GateState = Field(sa_type=words(GateState))
    report: dict[str, Any] = Field(default={}, sa_type=Json)
    """suites, cure case, controls and reasons"""
    started_at: datetime
    finished_at: datetime | None = None
    progress: list[str] = Field(default=[], sa_type=Json, sa_column_kwargs={"server_default": "[]"})
    """a line for each run of a suite that has ended, while the gate is at work"""
    accepted_by: str | None = None
    """who took an inconclusive run upon themselves: it lets the pull through on these two commits"""


def get(session: Session, run_id: str) -> GateRun | None:
    return session.get(GateRun, run_id)


def of_pull(session: Session, pull_id: str) -> list[GateRun]:
    return list(session.exec(select(GateRun).where(GateRun.pull_id == pull_id).order_by(col(GateRun.started_at))))


def on(session: Session, pull_id: str, base_sha: str, head_sha: str) -> GateRun | None:
    """The run on exactly these commits."""
    return session.exec(select(GateRun).where(GateRun.pull_id == pull_id, GateRun.base_sha == base_sha, GateRun.head_sha == head_sha)).first()


def tell(session: Session, run_id: str, lines: list[str]) -> None:
    """Show how far a run has got; one that has ended meanwhile is left alone."""
    running = update(GateRun).where(col(GateRun.id) == run_id, col(GateRun.state) == GateState.running)
    session.connection().execute(running.values(progress=lines))


def verdicts(session: Session, pull_ids: Collection[str]) -> dict[str, str]:
    """pull id → state of its newest run; a pull without one is left out"""
    query = select(GateRun.pull_id, GateRun.state).where(col(GateRun.pull_id).in_(pull_ids)).order_by(col(GateRun.started_at))
    return {pull_id: GateState(state).value for pull_id, state in session.exec(query)} if pull_ids else {}

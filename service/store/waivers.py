"""Rows of a suite that a person let be lost: for one pull, on one head, with a reason."""

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select


class Waiver(SQLModel, table=True):
    """Only ever added. It holds for the head that its maker saw: another one may lose the row for another reason."""

    __tablename__ = "waivers"
    __table_args__ = (UniqueConstraint("pull_id", "head_sha", "suite", "row"),)

    seq: int | None = Field(default=None, primary_key=True)
    pull_id: str = Field(foreign_key="pulls.id", ondelete="CASCADE")
    head_sha: str
    suite: str
    row: str
    reason: str
    by: str
    at: datetime


def add(session: Session, waiver: Waiver) -> None:
    session.add(waiver)
    session.flush()


def of_pull(session: Session, pull_id: str) -> list[Waiver]:
    """All waivers of a pull, also those on heads that it had before."""
    return list(session.exec(select(Waiver).where(Waiver.pull_id == pull_id).order_by(col(Waiver.seq))))


def on_head(session: Session, pull_id: str, head_sha: str) -> dict[str, dict[str, str]]:
    """suite → row → reason, as the gate takes them"""
    found: dict[str, dict[str, str]] = {}
    for waiver in of_pull(session, pull_id):
        if waiver.head_sha == head_sha:
            found.setdefault(waiver.suite, {})[waiver.row] = waiver.reason
    return found

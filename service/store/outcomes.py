"""What became of each rejection after its pull was merged."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from service.db import words
from service.lifecycle import OutcomeState


class OutcomeRow(SQLModel, table=True):
    __tablename__ = "outcomes"
    __table_args__ = (UniqueConstraint("pull_id", "case_id"),)

    id: str = Field(primary_key=True)
    pull_id: str = Field(foreign_key="pulls.id", ondelete="CASCADE", index=True)
    case_id: str = Field(foreign_key="cases.id", ondelete="CASCADE", index=True)
    hint_id: str = Field(foreign_key="hints.id", ondelete="CASCADE")
    """whose expectations the plan is held against"""
    target: str = Field(index=True)
    state: OutcomeState = Field(sa_type=words(OutcomeState))
    since: datetime


def of_pull(session: Session, pull_id: str) -> list[OutcomeRow]:
    return list(session.exec(select(OutcomeRow).where(OutcomeRow.pull_id == pull_id).order_by(col(OutcomeRow.case_id))))


def missing(session: Session, pull_id: str, target: str, rejections: Iterable[tuple[str, str]], since: datetime) -> list[OutcomeRow]:
    """New rows for those (hint id, case id) that a pull is not followed up for yet. Two hints of one case make one row."""
    known = {row.case_id for row in of_pull(session, pull_id)}
    new = {case_id: hint_id for hint_id, case_id in reversed([*rejections]) if case_id not in known}
    return [
        OutcomeRow(
            id=f"o{pull_id[1:]}-{case_id}", pull_id=pull_id, case_id=case_id, hint_id=hint_id, target=target, state=OutcomeState.watching, since=since
        )
        for case_id, hint_id in sorted(new.items())
    ]


def of_case(session: Session, case_id: str) -> list[OutcomeRow]:
    return list(session.exec(select(OutcomeRow).where(OutcomeRow.case_id == case_id)))


def of_target(session: Session, target: str) -> list[OutcomeRow]:
    return list(session.exec(select(OutcomeRow).where(OutcomeRow.target == target).order_by(col(OutcomeRow.id))))

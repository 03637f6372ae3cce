"""How often each row of a sampled suite passed on a base that did not change: what is noise, for as long as the measurement holds."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, insert
from sqlmodel import Field, Session, SQLModel, col, select


class RowNoise(SQLModel, table=True):
    __tablename__ = "row_noise"

    target: str = Field(primary_key=True)
    suite: str = Field(primary_key=True)
    row: str = Field(primary_key=True)
    passes: int
    runs: int
    """runs in which the row was there"""
    measured_at: datetime
    expires_at: datetime
    """from then on it says nothing: the target has moved on"""


def replace(session: Session, target: str, suite: str, counts: Mapping[str, tuple[int, int]], at: datetime, until: datetime) -> None:
    """A new measurement of a suite in place of the one before. `counts`: row → (passes, runs)"""
    here = delete(RowNoise).where(col(RowNoise.target) == target, col(RowNoise.suite) == suite)
    session.connection().execute(here)
    about = {"target": target, "suite": suite, "measured_at": at, "expires_at": until}
    rows = [{**about, "row": row, "passes": passes, "runs": runs} for row, (passes, runs) in counts.items()]
    if rows:
        session.connection().execute(insert(RowNoise), rows)


def forget(session: Session, target: str, measured: list[str]) -> None:
    """Drop the suites of a target that are not among those measured: they are gone, or no longer sampled."""
    session.connection().execute(delete(RowNoise).where(col(RowNoise.target) == target, col(RowNoise.suite).not_in(measured)))


def standing(session: Session, target: str, now: datetime) -> list[RowNoise]:
    """The measurements of a target that have not expired."""
    query = select(RowNoise).where(RowNoise.target == target, RowNoise.expires_at > now)
    return list(session.exec(query.order_by(col(RowNoise.suite), col(RowNoise.row))))

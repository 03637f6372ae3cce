"""Results of suites by the content of all that they were made from, so that the same run is not made twice."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Field, Session, SQLModel, col

from service.db import Json


class SuiteResult(SQLModel, table=True):
    __tablename__ = "suite_results"

    key: str = Field(primary_key=True)
    """sha256 of tree, suite, rows, grader, runner and environment; see `service.caching`"""
    rows: list[dict[str, Any]] = Field(sa_type=Json)
    """ids and verdicts; nothing that a program printed"""
    seconds: float
    """that the run took"""
    at: datetime
    expires_at: datetime | None = Field(default=None, index=True)
    """None: what is decided by the content alone stays so"""


def get(session: Session, key: str, now: datetime) -> SuiteResult | None:
    """A result that has not expired."""
    found = session.get(SuiteResult, key)
    return found if found and (found.expires_at is None or found.expires_at > now) else None


def put(session: Session, key: str, rows: list[dict[str, Any]], seconds: float, at: datetime, until: datetime | None) -> None:
    """Keep a result. Of two that came at once either may stay: the same content gave both."""
    insert: Any = {"postgresql": postgres_insert, "sqlite": sqlite_insert}[session.connection().dialect.name]
    row = insert(SuiteResult).values(key=key, rows=rows, seconds=seconds, at=at, expires_at=until)
    changes = {name: row.excluded[name] for name in ("rows", "seconds", "at", "expires_at")}
    session.connection().execute(row.on_conflict_do_update(index_elements=["key"], set_=changes))


def drop_expired(session: Session, now: datetime) -> int:
    """Returns how many."""
    return int(session.connection().execute(delete(SuiteResult).where(col(SuiteResult.expires_at) <= now)).rowcount)

"""Cases as they came in, unredacted. Read for two purposes only, named in `service.stages`: redaction and replay."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Field, Session, SQLModel, select

from service.db import Json, add_rows


class Original(SQLModel, table=True):
    """The received document; a vault can take this table's place."""

    __tablename__ = "originals"

    case_id: str = Field(primary_key=True, foreign_key="cases.id", ondelete="CASCADE")
    body: dict[str, Any] = Field(sa_type=Json)


def add_many(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    add_rows(session, Original, rows)


def bodies(session: Session, case_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """case id → received document"""
    return {row.case_id: row.body for row in session.exec(select(Original).where(Original.case_id.in_(list(case_ids))))}  # type: ignore[attr-defined]


def ticket_of(body: dict[str, Any]) -> dict[str, Any]:
    """What a replay is given of a case: the ticket, not what was said about it."""
    return {"ticket": body["ticket"]}

"""Cases as every room but intake sees them: redacted, with where their draft stands."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, and_, bindparam, or_, text, update
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.schema import Case, Verdict
from rubric.splits import Side
from service.db import Json, add_rows, alone, words
from service.lifecycle import DraftState


class CaseRow(SQLModel, table=True):
    """One revision of one case. Facts never change; `state` is that of its draft."""

    __tablename__ = "cases"
    __table_args__ = (
        UniqueConstraint("source", "name", "revision"),
        UniqueConstraint("source", "delivery_id"),
        Index("ix_cases_due", "state", "swept_at"),
        Index("ix_cases_leaf", "target", "verdict", "leaf"),
        Index("ix_cases_comment_key", "target", "comment_key"),
    )

    id: str = Field(primary_key=True)
    source: str
    target: str
    name: str
    """external id, or the content hash where the sender has none"""
    revision: int
    content_hash: str
    delivery_id: str | None = None
    verdict: Verdict = Field(sa_type=words(Verdict))
    side: str
    """scratch, dev or held_out; fixed here and never again"""
    state: DraftState = Field(sa_type=words(DraftState))
    received_at: datetime
    swept_at: datetime | None = None
    """when the sweep enqueued its flow"""
    redacted_at: datetime | None = None
    work: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """the redacted case, as JSON of `rubric.schema.Case`"""
    masked: int = 0
    """how many values the redactor replaced"""
    hidden: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """how many characters that nobody could see were taken out of the work copy"""
    leaf: str | None = None
    comment: str | None = None
    comment_key: str | None = None
    """hash of the normalised comment; equal keys mean equal text"""
    outcome: str | None = None
    """why the critic abstained: an outcome of the rubric"""
    reason: str | None = None
    """the critic's sentence for an abstention, or the class of a failure"""
    attempts: int = 0
    waits: int = 0
    """how often its draft was put off because a system outside did not answer"""

    @property
    def case(self) -> Case:
        """The redacted case. Only after redaction."""
        return Case.model_validate(self.work)


_KNOWN = {
    "sqlite": select(CaseRow.id, CaseRow.name, CaseRow.revision, CaseRow.content_hash, CaseRow.delivery_id).where(  # type: ignore[call-overload]
        CaseRow.source == bindparam("source"),
        or_(col(CaseRow.name).in_(bindparam("names", expanding=True)), col(CaseRow.delivery_id).in_(bindparam("deliveries", expanding=True))),
    ),
    "postgresql": text("""
        SELECT c.id, c.name, c.revision, c.content_hash, c.delivery_id FROM unnest(CAST(:names AS text[])) AS given
        CROSS JOIN LATERAL (SELECT * FROM cases WHERE source = :source AND name = given OFFSET 0) AS c
        UNION
        SELECT c.id, c.name, c.revision, c.content_hash, c.delivery_id FROM unnest(CAST(:deliveries AS text[])) AS given
        CROSS JOIN LATERAL (SELECT * FROM cases WHERE source = :source AND delivery_id = given OFFSET 0) AS c"""),
}
"""Built once, and without the documents: it runs for every batch that comes in. On Postgres name by name: as long as a new table has no
statistics, it answers the other form by reading all cases of the source."""


def known(session: Session, source: str, names: Iterable[str], deliveries: Iterable[str]) -> list[Any]:
    """(id, name, revision, content_hash, delivery_id) of a source's rows that share a name or a delivery id with any of the given.

    Nobody else enters these names until we are done.
    """
    wanted = list(names)
    alone(session, *(f"case {source} {name}" for name in wanted))
    connection = session.connection()
    return list(connection.execute(_KNOWN[connection.dialect.name], {"source": source, "names": wanted, "deliveries": list(deliveries)}))


def add_many(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Insert validated rows at once, without an ORM object each."""
    add_rows(session, CaseRow, rows)


def get(session: Session, case_id: str) -> CaseRow | None:
    return session.get(CaseRow, case_id)


def words_of(session: Session, case_ids: Collection[str]) -> dict[str, tuple[str, str, str]]:
    """id → (name, comment, leaf) of some cases, without their documents"""
    query = select(CaseRow.id, CaseRow.name, CaseRow.comment, CaseRow.leaf).where(col(CaseRow.id).in_(case_ids))
    return {case_id: (name, comment or "", leaf or "") for case_id, name, comment, leaf in session.exec(query)} if case_ids else {}


def held_out(session: Session, case_ids: Collection[str]) -> set[str]:
    """Those of some cases that are on the held-out side."""
    return set(session.exec(select(CaseRow.id).where(col(CaseRow.id).in_(list(case_ids)), CaseRow.side == Side.held_out)))


def sealed(row: CaseRow, near: CaseRow) -> bool:
    """Whether a neighbour is kept from the critic of a case, as a held-out one is from all that are not. Changes are tried on it all the same."""
    return near.side == Side.held_out and row.side != Side.held_out


def newest(session: Session, case_id: str) -> CaseRow | None:
    """The row of an id, or the highest revision of a case named by its external id."""
    row = session.get(CaseRow, case_id)
    if row is None:
        row = session.exec(select(CaseRow).where(CaseRow.name == case_id).order_by(col(CaseRow.revision).desc()).limit(1)).first()
    return row


def due(session: Session, limit: int) -> list[tuple[str, DraftState, int]]:
    """Cases that nobody has taken up since they came in: (id, state, attempts), oldest first."""
    query = (
        select(CaseRow.id, CaseRow.state, CaseRow.attempts)
        .where(col(CaseRow.swept_at).is_(None), or_(col(CaseRow.state) == DraftState.queued, col(CaseRow.redacted_at).is_(None)))
        .order_by(col(CaseRow.received_at), col(CaseRow.id))
        .limit(limit)
    )
    return [(case_id, DraftState(state), attempts) for case_id, state, attempts in session.exec(query)]


def rejections(session: Session, target: str, state: DraftState, after: tuple[datetime, str] | None, limit: int) -> list[CaseRow]:
    """Rejections of a target whose draft is in a state, oldest first, behind the one that came in at a time with an id."""
    query = select(CaseRow).where(CaseRow.state == state, CaseRow.target == target, CaseRow.verdict == Verdict.rejected)
    if after is not None:
        at, name = after
        query = query.where(or_(col(CaseRow.received_at) > at, and_(col(CaseRow.received_at) == at, col(CaseRow.id) > name)))
    return list(session.exec(query.order_by(col(CaseRow.received_at), col(CaseRow.id)).limit(limit)))


def mark_swept(session: Session, case_ids: Sequence[str], at: datetime | None) -> None:
    session.connection().execute(update(CaseRow).where(col(CaseRow.id).in_(list(case_ids))).values(swept_at=at))


def stuck(session: Session, before: datetime, limit: int) -> list[CaseRow]:
    """Cases taken up before a time and still without an answer."""
    query = (
        select(CaseRow)
        .where(col(CaseRow.swept_at) < before, or_(col(CaseRow.state) == DraftState.queued, col(CaseRow.redacted_at).is_(None)))
        .where(CaseRow.state != DraftState.stale)
        .limit(limit)
    )
    return list(session.exec(query))


def neighbours(session: Session, row: CaseRow, verdict: Verdict, limit: int) -> list[CaseRow]:
    """Redacted cases of the same target and verdict: same leaf first, then same parent, newest first."""
    parent = (row.leaf or "").split("/")[0]
    found: dict[str, CaseRow] = {}
    for condition in (CaseRow.leaf == row.leaf, col(CaseRow.leaf).startswith(parent + "/", autoescape=True), col(CaseRow.leaf).is_not(None)):
        query = (
            select(CaseRow)
            .where(CaseRow.target == row.target, CaseRow.verdict == verdict, CaseRow.state != DraftState.stale)
            .where(col(CaseRow.redacted_at).is_not(None), CaseRow.id != row.id, condition)
            .order_by(col(CaseRow.received_at).desc(), col(CaseRow.id))
            .limit(limit)
        )
        for neighbour in session.exec(query):
            found.setdefault(neighbour.id, neighbour)
        if len(found) >= limit:
            break
    return list(found.values())[:limit]

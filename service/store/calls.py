"""Every call of a model, written down before it goes out and again when its reply is there: what was answered is never paid for twice."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Index, func
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.drafting import Ask, AskOutcome
from service.db import Json, alone

_Outcome: TypeAdapter[AskOutcome] = TypeAdapter(AskOutcome)
OPEN = "open"
"""kind of a call whose reply is not here: on its way, or lost with the process that waited for it"""


class Call(SQLModel, table=True):
    """One request to a model for one case. Texts in it are redacted as the case is."""

    __tablename__ = "calls"
    __table_args__ = (Index("ix_calls_case", "case_id", "number"), Index("ix_calls_asked_at", "asked_at"))

    id: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", ondelete="CASCADE")
    sha: str
    """of everything that was sent"""
    ask: str
    key: str
    number: int
    """of the case's calls, from 1"""
    model: str
    kind: str = OPEN
    """how it ended: a kind of `rubric.drafting.AskOutcome`, or open"""
    most_usd: float
    """counted as spent until the server says what was used"""
    usd: float | None = None
    """an estimate by the price list"""
    tokens: int = 0
    outcome: dict[str, Any] | None = Field(default=None, sa_type=Json)
    asked_at: datetime
    answered_at: datetime | None = None


class Caps(SQLModel):
    """US dollars that may be spent; what would go past one is not asked."""

    case: float
    hour: float
    day: float


class Spent(Exception):
    """A cap does not allow the next call."""

    def __init__(self, cap: str, wait: float | None):
        super().__init__(cap)
        self.cap = cap
        self.wait = wait
        """seconds until the window has moved on; None: only a person can help"""


def answered(session: Session, case_id: str, sha: str) -> AskOutcome | None:
    """The outcome of an equal ask, if the server had one: a failed way there is tried again."""
    query = select(Call).where(Call.case_id == case_id, Call.sha == sha, col(Call.kind).not_in([OPEN, "transport_error"]))
    found = session.exec(query.order_by(col(Call.number).desc()).limit(1)).first()
    return _Outcome.validate_python(found.outcome) if found is not None else None


def begin(session: Session, case_id: str, ask: Ask, model: str, most: float, caps: Caps) -> str:
    """Reserve the most that a call can cost and write it down as open. Raises `Spent`. One process at a time looks at the caps."""
    alone(session, "calls")
    now: datetime = session.info["now"]()
    if _spent(session, Call.case_id == case_id) + most > caps.case:
        raise Spent("case", None)
    for cap, allowed, window in (("hour", caps.hour, timedelta(hours=1)), ("day", caps.day, timedelta(days=1))):
        if _spent(session, col(Call.asked_at) > now - window) + most > allowed:
            oldest = session.exec(select(func.min(Call.asked_at)).where(col(Call.asked_at) > now - window)).one()
            raise Spent(cap, (oldest + window - now).total_seconds() + 1 if oldest is not None else None)
    number = 1 + session.exec(select(func.count()).where(Call.case_id == case_id)).one()
    name = hashlib.sha256(f"{case_id} {number}".encode()).hexdigest()[:32]
    session.add(Call(id=name, case_id=case_id, sha=ask.sha, ask=ask.name, key=ask.key, number=number, model=model, most_usd=most, asked_at=now))
    return name


def end(session: Session, name: str, outcome: AskOutcome, usd: float | None) -> None:
    """Keep a reply. Where the server does not say what was used, the reservation stays the cost; a call that never arrived is free."""
    call = session.get(Call, name)
    if call is None:
        return  # its case was erased meanwhile
    used = outcome.receipt.usage
    call.kind, call.outcome, call.answered_at = outcome.kind, outcome.model_dump(mode="json"), session.info["now"]()
    call.usd = usd
    call.model = outcome.receipt.model or call.model
    call.tokens = used.input + used.output + used.cache_read + used.cache_write if used else 0


def of_case(session: Session, case_id: str) -> list[Call]:
    """All calls of a case, in the order they went out."""
    return list(session.exec(select(Call).where(Call.case_id == case_id).order_by(col(Call.number))))


def _spent(session: Session, which: Any) -> float:
    return float(session.exec(select(func.coalesce(func.sum(func.coalesce(Call.usd, Call.most_usd)), 0.0)).where(which)).one())

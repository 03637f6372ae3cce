"""Every call of a model, written down before it goes out and again when its reply is there: what was answered is never paid for twice."""

import hashlib
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy import Index, and_, func, update
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.asks import fits
from rubric.drafting import Answered, Ask, AskOutcome, Cost
from service.db import Json, alone

_Outcome: TypeAdapter[AskOutcome] = TypeAdapter(AskOutcome)
OPEN = "open"
"""kind of a call whose reply is not here: on its way, or lost with the process that waited for it"""
SENDING, LOST = "sending", "lost"
"""what stands for a batch's id while it is handed over, and when nobody will ever know it: such calls stay open, and count as paid for"""
WINDOWS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class Call(SQLModel, table=True):
    """One request to a model for one case. Texts in it are redacted as the case is."""

    __tablename__ = "calls"
    __table_args__ = (Index("ix_calls_case", "case_id", "number"), Index("ix_calls_asked_at", "asked_at"), Index("ix_calls_out", "kind", "batch"))

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
    batch: str | None = None
    """the server's id of the batch that it went out with, or what stands for it; None: it went out alone"""
    draft: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """which of the case's drafts its answer counts for: `service.drafts.number_of`"""
    how: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """`connectors.ports.Model.how` when it was asked"""


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


def carry(session: Session, case_id: str, before: int, after: int) -> None:
    """What a case's draft was answered counts for another one from now on."""
    carried = update(Call).where(col(Call.case_id) == case_id, col(Call.draft) == before).values(draft=after)
    session.connection().execute(carried)


def answered(session: Session, case_id: str, ask: Ask, how: str, draft: int) -> AskOutcome | None:
    """What a case's draft was answered to an ask, if the server had an answer: a failed way there is tried again.

    The same text first; then the same question, though what is shown with it (precedents, neighbours, the target) has moved on meanwhile, as long
    as the answer is one that may be given now.
    """
    query = select(Call).where(Call.case_id == case_id, Call.key == ask.key, Call.how == how, Call.draft == draft)
    listed = session.exec(query.where(col(Call.kind).not_in([OPEN, "transport_error"])).order_by(col(Call.number).desc())).all()
    for found in sorted(listed, key=lambda call: call.sha != ask.sha):
        outcome = _Outcome.validate_python(found.outcome)
        if found.sha == ask.sha or not isinstance(outcome, Answered) or fits(outcome, ask):
            return outcome
    return None


class Purse:
    """What may still be spent, for one call or many. Whoever holds one looks at the caps alone, to the end of the transaction."""

    def __init__(self, session: Session, caps: Caps):
        alone(session, "calls")
        self._session, self._caps = session, caps
        self._now: datetime = session.info["now"]()
        self._spent = {cap: _spent(session, col(Call.asked_at) > self._now - window) for cap, window in WINDOWS.items()}
        self._of_case: dict[str, tuple[float, int]] = {}

    def open(self, case_id: str, ask: Ask, model: str, most: float, batch: str | None = None, *, how: str = "", draft: int = 0) -> str:
        """Reserve the most that a call can cost and write it down as open. Raises `Spent`."""
        spent, number = self._of_case.get(case_id) or self._look(case_id, draft)
        if spent + most > self._caps.case:
            raise Spent("case", None)
        for cap, window in WINDOWS.items():
            if self._spent[cap] + most > getattr(self._caps, cap):
                raise Spent(cap, self._wait(window))
        self._spent = {cap: before + most for cap, before in self._spent.items()}
        self._of_case[case_id] = spent + most, number + 1
        name = hashlib.sha256(f"{case_id} {number + 1}".encode()).hexdigest()[:32]
        call = Call(
            id=name, case_id=case_id, sha=ask.sha, ask=ask.name, key=ask.key, number=number + 1, model=model, most_usd=most, asked_at=self._now
        )
        call.batch, call.draft, call.how = batch, draft, how
        self._session.add(call)
        return name

    def _look(self, case_id: str, draft: int) -> tuple[float, int]:
        """What this draft of the case has cost: one that is asked for anew has the whole cap before it."""
        number = self._session.exec(select(func.count()).where(Call.case_id == case_id)).one()
        return _spent(self._session, (col(Call.case_id) == case_id) & (col(Call.draft) == draft)), number

    def _wait(self, window: timedelta) -> float | None:
        """Seconds until the oldest call has left a window."""
        oldest = self._session.exec(select(func.min(Call.asked_at)).where(col(Call.asked_at) > self._now - window)).one()
        return (oldest + window - self._now).total_seconds() + 1 if oldest is not None else None


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


def in_batch(session: Session, case_id: str, ask: Ask, draft: int) -> bool:
    """Whether the same question is out with a batch."""
    query = select(Call.id).where(Call.case_id == case_id, Call.key == ask.key, Call.draft == draft, Call.kind == OPEN, _IS_OUT)
    return session.exec(query.limit(1)).first() is not None


def alone_since(session: Session, case_id: str, since: datetime) -> bool:
    """Whether a single call about a case went out after a time and has no reply: somebody is asking about it now, or was killed."""
    query = select(Call.id).where(Call.case_id == case_id, Call.kind == OPEN, col(Call.batch).is_(None), col(Call.asked_at) > since)
    return session.exec(query.limit(1)).first() is not None


class Sent(NamedTuple):
    """A call that is out with a batch."""

    case_id: str
    model: str


def out(session: Session) -> dict[str, dict[str, Sent]]:
    """batch → its calls without a reply by id; `SENDING` is the batch of those whose answer to the submission is not here."""
    found: dict[str, dict[str, Sent]] = {}
    for batch, name, case_id, model in session.exec(select(Call.batch, Call.id, Call.case_id, Call.model).where(Call.kind == OPEN, _IS_OUT)):
        found.setdefault(str(batch), {})[name] = Sent(case_id, model)
    return found


def name_batch(session: Session, before: str, after: str) -> int:
    """The open calls of a batch have another name for it from now on; returns how many there are."""
    named = update(Call).where(col(Call.kind) == OPEN, col(Call.batch) == before).values(batch=after)
    return int(session.connection().execute(named).rowcount)


def of_case(session: Session, case_id: str) -> list[Call]:
    """All calls of a case, in the order they went out."""
    return list(session.exec(select(Call).where(Call.case_id == case_id).order_by(col(Call.number))))


def cost_of(session: Session, case_id: str) -> Cost:
    """What a case's calls have cost; where the server did not say, the most that they can have."""
    made = of_case(session, case_id)
    spent = sum(call.usd if call.usd is not None else call.most_usd for call in made)
    return Cost(calls=len(made), tokens=sum(call.tokens for call in made), usd=round(spent, 6))


_IS_OUT = and_(col(Call.batch).is_not(None), col(Call.batch) != LOST)


def _spent(session: Session, which: Any) -> float:
    return float(session.exec(select(func.coalesce(func.sum(func.coalesce(Call.usd, Call.most_usd)), 0.0)).where(which)).one())

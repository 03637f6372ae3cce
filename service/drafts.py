"""Which draft of a case a model's answers count for: one that goes on keeps them, one that is asked for anew does not."""

from sqlmodel import Session, select

from service.lifecycle import DraftState
from service.store import calls, history
from service.store.cases import CaseRow

BADLY = frozenset(["refused", "truncated", "invalid_output", "internal", "crashed_repeatedly"])
"""reasons of a failed draft that its answers may have to do with: the next one asks anew"""


def number_of(session: Session, case_id: str) -> int:
    """The number of a case's draft: how often it was queued again. Where it is not queued, that of the draft which it would have next."""
    number = history.times(session, "cases", case_id, DraftState.queued)
    case = session.exec(select(CaseRow.state, CaseRow.reason).where(CaseRow.id == case_id)).first()
    return number if case is None or case[0] is DraftState.queued or is_unfinished(*case) else number + 1


def is_unfinished(state: DraftState, reason: str | None) -> bool:
    """Whether a draft failed for want of something, so that the next one goes on with its answers."""
    return state is DraftState.failed and reason not in BADLY


def carry_on(session: Session, case_id: str) -> None:
    """A case that was just queued again goes on with what the draft before was answered."""
    now = number_of(session, case_id)
    calls.carry(session, case_id, now - 1, now)

"""Which old rejections a backfill asks about: those that nobody works on, and those that were drafted without a model's answer."""

from collections.abc import Collection

from rubric.schema import Outcome
from service.db import Database
from service.lifecycle import DraftState
from service.store import cases, history

PAGE = 500
FOR_WANT = frozenset([
    "rate_limited", "overloaded", "server_error", "timeout", "unreachable", "unauthorised", "not_found", "garbage",
    "spend_cap_case", "spend_cap_hour", "spend_cap_day",
])  # fmt: skip
"""reasons of a failed draft that say that no model answered, not that it answered badly; it asks one by one, so no code of a batch is among them"""


def pick(db: Database, target: str, states: Collection[DraftState], busy: Collection[str], limit: int) -> list[str]:
    """Rejections to ask about, those of each state oldest first; `busy` ones are left alone.

    Without `states`: those that nobody works on, that failed because no model answered, and whose comment a critic without a model made nothing of.
    """
    found: list[str] = []
    for state in states or (DraftState.queued, DraftState.failed, DraftState.abstained):
        after = None
        while len(found) < limit:
            with db.read() as session:
                page = cases.rejections(session, target, state, after, PAGE)
                by = history.last_by(session, "cases", [row.id for row in page])
            found += [row.id for row in page if row.id not in busy and (states or _wants(row, by.get(row.id, "")))]
            if len(page) < PAGE:
                break
            after = page[-1].received_at, page[-1].id
    return found[:limit]


def _wants(row: cases.CaseRow, by: str) -> bool:
    if row.state is DraftState.failed:
        return row.reason in FOR_WANT
    return row.state is DraftState.queued or (row.outcome == Outcome.unclear_ask_back and not by.startswith("asking-"))

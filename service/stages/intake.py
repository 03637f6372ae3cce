"""Takes cases in: one row per revision, the same answer for the same message, the split side fixed, then masked for all others."""

import hashlib
import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session

from rubric.schema import Case, Verdict
from rubric.splits import side
from service.db import Database, JsonText
from service.errors import CaseConflict, IllegalMove
from service.lifecycle import DraftState, ReviewState
from service.redaction import comment_key, redact
from service.store import cases, hints, history, originals

log = structlog.get_logger(__name__)
BATCH = 200
"""most deliveries in one commit"""
LINGER = 0.003
"""seconds that a commit waits for the next delivery, while fewer are there than came together last time"""
MASK_BATCH = 50
"""cases masked by one flow"""
SWEPT = 500
"""most cases taken up by one sweep"""
_Waiting = tuple["Delivery", "Future[Receipt | CaseConflict]"]


@dataclass(frozen=True)
class Delivery:
    """One checked message of a source."""

    source: str
    target: str
    case: Case
    received_at: datetime
    delivery_id: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What the sender is told, once it is on disk."""

    case_id: str
    revision: int
    new: bool


def case_id_of(source: str, name: str, revision: int) -> str:
    """Content-made id: the same case gets the same id, whoever computes it."""
    return "c" + hashlib.sha256(f"{source}\n{name}\n{revision}".encode()).hexdigest()[:15]


def document_of(case: Case) -> dict[str, Any]:
    """The case as JSON, without what was not said."""
    return case.model_dump(mode="json", by_alias=True, exclude_none=True)


def accept(db: Database, deliveries: Sequence[Delivery], split_secret: bytes) -> list[Receipt | CaseConflict]:
    """Store deliveries of any sources in one transaction; an answer for each, in order.

    A message that came before gets its first receipt again. Other content under the same delivery id, or under the same
    name and revision, is a `CaseConflict`. A higher revision makes the older ones, and their undecided hints, stale.
    """
    try:
        return _accept(db, deliveries, split_secret)
    except (DBAPIError, IllegalMove) as error:  # another process was faster with one of them, or the connection had died: look again
        if isinstance(error, DBAPIError) and not (isinstance(error, IntegrityError) or error.connection_invalidated):
            raise
        return _accept(db, deliveries, split_secret)


def _accept(db: Database, deliveries: Sequence[Delivery], split_secret: bytes) -> list[Receipt | CaseConflict]:
    documents = [JsonText(json.dumps(document_of(delivery.case), sort_keys=True)) for delivery in deliveries]
    hashes = [hashlib.sha256(document.encode()).hexdigest() for document in documents]
    answers: list[Receipt | CaseConflict] = []
    with db.begin() as session:
        ledger = _Ledger(session, deliveries, hashes)
        for delivery, document, content in zip(deliveries, documents, hashes, strict=True):
            answers.append(ledger.enter(delivery, document, content, split_secret))
        ledger.write()
    return answers


class _Ledger:
    """What is known of the names and delivery ids of one batch, while it is being entered."""

    def __init__(self, session: Session, deliveries: Sequence[Delivery], hashes: Sequence[str]):
        self._session = session
        self._by_delivery: dict[tuple[str, str], tuple[str, int, str]] = {}
        self._by_name: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
        self._rows, self._originals = list[dict[str, Any]](), list[dict[str, Any]]()
        for source in sorted({delivery.source for delivery in deliveries}):
            mine = [(delivery, content) for delivery, content in zip(deliveries, hashes, strict=True) if delivery.source == source]
            names = [_name(delivery, content) for delivery, content in mine]
            for row in cases.known(session, source, names, [delivery.delivery_id for delivery, _ in mine if delivery.delivery_id]):
                self._note(source, row.name, row.revision, row.id, row.content_hash, row.delivery_id)

    def _note(self, source: str, name: str, revision: int, case_id: str, content: str, delivery_id: str | None) -> None:
        self._by_name.setdefault((source, name), {})[revision] = (case_id, content)
        if delivery_id:
            self._by_delivery[source, delivery_id] = (case_id, revision, content)

    def enter(self, delivery: Delivery, document: JsonText, content: str, split_secret: bytes) -> Receipt | CaseConflict:
        name, revision = _name(delivery, content), delivery.case.revision
        seen = self._by_delivery.get((delivery.source, delivery.delivery_id or ""))
        if seen:
            case_id, seen_revision, seen_content = seen
            if seen_content == content:
                return Receipt(case_id, seen_revision, new=False)
            return CaseConflict("this webhook-id was used before for other content; a new message needs a new id", case_id=case_id)
        revisions = self._by_name.get((delivery.source, name), {})
        if revision in revisions:
            case_id, seen_content = revisions[revision]
            return Receipt(case_id, revision, new=False) if seen_content == content else CaseConflict(case_id=case_id, revision=max(revisions))
        case_id = case_id_of(delivery.source, name, revision)
        newest = not revisions or revision > max(revisions)
        if newest and revisions:
            self._outdate([case for case, _ in revisions.values()], case_id)
        self._note(delivery.source, name, revision, case_id, content, delivery.delivery_id)
        self._rows.append(_row(delivery, case_id, name, content, side(f"{delivery.source}/{name}", split_secret), newest))
        self._originals.append({"case_id": case_id, "body": document})
        return Receipt(case_id, revision, new=True)

    def _outdate(self, case_ids: list[str], by: str) -> None:
        fresh = {row["id"]: row for row in self._rows}
        for case_id in case_ids:
            if case_id in fresh:
                fresh[case_id]["state"] = DraftState.stale
                continue
            row = cases.get(self._session, case_id)
            if row and row.state is not DraftState.stale:
                history.move(self._session, row, DraftState.stale, by="intake", why=f"revised by {by}")
                for hint in hints.of_case(self._session, case_id):
                    if hint.state in (ReviewState.awaiting, ReviewState.snoozed, ReviewState.asked):
                        history.move(self._session, hint, ReviewState.stale, by="intake", why=f"case revised by {by}")

    def write(self) -> None:
        if self._rows:
            cases.add_many(self._session, self._rows)
            originals.add_many(self._session, self._originals)
            for state, number in Counter(str(row["state"]) for row in self._rows).items():
                history.count(self._session, "cases", state, number)


def _name(delivery: Delivery, content: str) -> str:
    return delivery.case.external_id or f"sha-{content[:32]}"


def _row(delivery: Delivery, case_id: str, name: str, content: str, split_side: str, newest: bool) -> dict[str, Any]:
    rejected = delivery.case.verdict is Verdict.rejected
    return {
        "id": case_id,
        "source": delivery.source,
        "target": delivery.target,
        "name": name,
        "revision": delivery.case.revision,
        "content_hash": content,
        "delivery_id": delivery.delivery_id,
        "verdict": delivery.case.verdict,
        "side": split_side,
        "state": DraftState.stale if not newest else DraftState.queued if rejected else DraftState.control,
        "received_at": delivery.received_at,
        "masked": 0,
        "attempts": 0,
    }


class Desk:
    """Commits all deliveries that wait together: one flush for many senders, and one writer for SQLite."""

    def __init__(self, db: Database, split_secret: bytes, *, nudge: Callable[[], None]):
        self._db = db
        self._secret = split_secret
        self._nudge = nudge
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._together = 1
        """how many senders seem to be at it: those of the last commit, and those who came while it ran"""
        self._enough = threading.Event()
        self.tell: Callable[[Callable[[], None]], object] = lambda answer: answer()
        """how a whole group is answered; a server hands it over to its loop, once for all instead of once for each"""
        self._thread = threading.Thread(target=self._work, name="intake-desk", daemon=True)
        self._thread.start()

    def submit(self, delivery: Delivery) -> "Future[Receipt | CaseConflict]":
        """The receipt, once the delivery is committed; the database's error, when it could not be."""
        answer: Future[Receipt | CaseConflict] = Future()
        self._waiting.put((delivery, answer))
        if self._waiting.qsize() >= self._together - 1:
            self._enough.set()
        return answer

    def close(self) -> None:
        """Answer what waits, then stop."""
        self._waiting.put(None)
        self._enough.set()
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = self._gathered(first)
            # a sender that has gone away has cancelled its answer; nobody was told that this is stored
            self._commit([item for item in batch if item[1].set_running_or_notify_cancel()])
            self._together = len(batch) + self._waiting.qsize()
            if last:
                return

    def _gathered(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """What is committed together, and whether that is the end. A lone sender never waits; many would pay for two commits instead of one."""
        self._linger()
        batch = [first]
        while len(batch) < BATCH and not self._waiting.empty():  # nobody else takes from it
            if (item := self._waiting.get()) is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _linger(self) -> None:
        """Sleep until all of last time are there, or nobody has come for a while; not woken for each, which would hold up who reads the next."""
        there = -1
        while there < (there := self._waiting.qsize()) < self._together - 1:
            self._enough.clear()
            if self._waiting.qsize() >= self._together - 1 or self._enough.wait(LINGER):
                return

    def _commit(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            answers = accept(self._db, [delivery for delivery, _ in batch], self._secret)
        except Exception as error:
            if len(batch) > 1:  # one bad row must not refuse its neighbours
                for item in batch:
                    self._commit([item])
                return
            batch[0][1].set_exception(error)
            return

        def answer() -> None:
            for (_, future), receipt in zip(batch, answers, strict=True):
                future.set_result(receipt)

        self.tell(answer)
        try:
            self._nudge()
        except Exception:
            log.exception("the sweep could not be nudged; it comes by itself")


def mask(db: Database, case_ids: Sequence[str]) -> None:
    """Make the work copy of cases that have none: clean of hidden characters, then redacted. The original stays as it came. Safe to repeat."""
    with db.read() as session:
        due = [case_id for case_id in case_ids if (row := cases.get(session, case_id)) and row.redacted_at is None]
        bodies = originals.bodies(session, due)
    work = {case_id: redact(body) for case_id, body in bodies.items()}
    with db.begin() as session:
        for case_id, (document, masks) in work.items():
            row = cases.get(session, case_id)
            if row is None or row.redacted_at is not None:
                continue
            case = Case.model_validate(document)
            row.work, row.masked, row.hidden, row.leaf = document, masks.hits, masks.hidden, case.plan.leaf
            row.comment = case.comment or None
            row.comment_key = comment_key(case.comment) if case.comment else None
            row.redacted_at = db.now()


def sweep(db: Database, limit: int = SWEPT, settle: float = 0) -> int:
    """Enqueue what is due for every case that came in since the last sweep; returns how many.

    Drafting waits `settle` seconds, so that rejections which arrive together are drafted with each other in view.
    """
    with db.begin() as session:
        due = cases.due(session, limit)
        masking = [case_id for case_id, _, _ in due]
        for case_id, state, attempts in due:
            if state is DraftState.queued:
                history.enqueue(session, "draft", case_id, str(attempts), delay=settle)
        for start in range(0, len(masking), MASK_BATCH):
            history.enqueue(session, "mask", ",".join(masking[start : start + MASK_BATCH]), "0")
        cases.mark_swept(session, [case_id for case_id, _, _ in due], db.now())
    return len(due)


def fail(db: Database, case_ids: Sequence[str], reason: str) -> None:
    """Record that a flow broke; what is queued can be queued again by a person."""
    with db.begin() as session:
        for case_id in case_ids:
            row = cases.get(session, case_id)
            if row and row.state is DraftState.queued:
                history.move(session, row, DraftState.failed, by="critic", why=reason, reason="internal")

"""Asks about many old rejections at once, in batches at half price: the same asks, ledger and caps as one by one, so that a draft finds its answers.

Nothing is kept between two rounds but the ledger. Each round reads every case anew and follows its course from the replies that are there to the asks
that are not; a backfill that was killed goes on because it does what it would have done anyway. It hands a case over to the normal draft when its
course has ended; second passes on what lint or replay find out are asked there, one by one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

from connectors.ports import BatchModel, PortError, Ports
from rubric.catalogue import Catalogue
from rubric.course import course
from rubric.drafting import Answered, Ask, AskOutcome, Receipt, TransportError, Usage
from service import drafts
from service.db import Database
from service.errors import IllegalMove
from service.lifecycle import DraftState
from service.stages import critic, intake
from service.store import calls, cases, history

ROUND = 1000
"""asks of one batch: a batch that is lost is paid for, and a reservation holds up whoever looks at the caps"""
TRIES = 3
"""how often an ask goes out that comes back without an answer"""
SPARE_SECONDS = 60.0
"""from the end of a single call, at the latest, to its reply in the ledger: so long its case is left to whoever asked"""
WRITTEN = 50
"""replies that are written in one transaction"""


@dataclass
class Tally:
    """How far a backfill is. Counts are of this run."""

    cases: int
    done: int = 0
    """handed over to the normal draft"""
    rounds: int = 0
    asked: int = 0
    answered: int = 0
    errors: int = 0
    """asks that came back without an answer"""
    lost: int = 0
    """asks of submissions whose answer never came, counted as paid for"""
    out: int = 0
    """asks that are with the server now: whoever drives this waits a while"""
    tokens: int = 0
    usd: float = 0.0
    """an estimate by the price list, of the replies that came"""
    aside: dict[str, str] = field(default_factory=dict)
    """case that got no further → why, a stable code"""
    unknown: str = ""
    """a batch that is out and that the server says it does not know, which stopped this run"""
    stopped: str = ""
    """why there was no further round, a stable code"""
    wait: float | None = None
    """seconds after which a cap allows the next round"""

    def put_aside(self, case_id: str, code: str) -> None:
        self.aside.setdefault(case_id, code)


class Backfill:
    """One run over some cases. Only one at a time may work on a database.

    `call_seconds`: bound on a single call, as the server's draft makes it. `give_up`: what the server does not know is written off. It is no
    default: a server of another address, or with another key, knows none.
    """

    def __init__(
        self, db: Database, ports: Ports, catalogue: Catalogue, batches: BatchModel, caps: calls.Caps, *, call_seconds: float, give_up: bool = False
    ):
        self._db, self._ports, self._catalogue, self._batches, self._caps, self._give_up = db, ports, catalogue, batches, caps, give_up
        self._live = timedelta(seconds=call_seconds + SPARE_SECONDS)
        self._tries: Counter[tuple[str, str]] = Counter()
        self._done: set[str] = set()
        self._drafts: dict[str, int] = {}
        """case → number of the draft that this run asks for"""

    def run(self, case_ids: Sequence[str]) -> Iterator[Tally]:
        """Goes on with each step that is asked for; gives the same tally each time. What an earlier run left at the server is collected first."""
        tally = Tally(len(case_ids))
        with self._db.begin() as session:
            tally.lost += calls.name_batch(session, calls.SENDING, calls.LOST)  # that process is gone, and with it the id
        self._mask(case_ids, tally)
        while True:
            while not self._collected(tally):
                yield tally
                if tally.stopped:
                    return
            asks = self._due(case_ids, tally)
            yield tally
            if not asks or not self._submitted(asks, tally):
                return
            yield tally

    def _mask(self, case_ids: Sequence[str], tally: Tally) -> None:
        """What nobody has taken up since it was imported is not masked yet, and nothing else is shown to a model."""
        for case_id in case_ids:
            try:
                intake.mask(self._db, [case_id])
            except (ValueError, TypeError, LookupError):
                tally.put_aside(case_id, "cannot_be_masked")

    # ---- what is out

    def _collected(self, tally: Tally) -> bool:
        """Whether nothing is with the server any more. What has ended is written into the ledger."""
        with self._db.read() as session:
            out = calls.out(session)
        tally.out = sum(map(len, out.values()))
        for batch, sent in out.items():
            try:
                found = self._batches.collect(batch, {name: one.model for name, one in sent.items()})
                while some := list(islice(found, WRITTEN)):
                    self._keep(some, sent, tally)
            except PortError as error:
                if error.code == "not_found" and self._give_up:
                    with self._db.begin() as session:
                        tally.lost += calls.name_batch(session, batch, calls.LOST)
                elif not error.retryable:
                    tally.stopped, tally.unknown = error.code, batch if error.code == "not_found" else ""
                    return False
                else:
                    continue
            tally.out -= len(sent)
        return tally.out == 0

    def _keep(self, found: Sequence[tuple[str, AskOutcome]], sent: Mapping[str, calls.Sent], tally: Tally) -> None:
        with self._db.begin() as session:
            for name, outcome in found:
                calls.end(session, name, outcome, self._batches.cost(outcome.receipt))
        for name, outcome in found:
            used = outcome.receipt.usage or Usage()
            tally.tokens += used.input + used.output + used.cache_read + used.cache_write
            tally.usd += self._batches.cost(outcome.receipt) or 0.0
            tally.answered += isinstance(outcome, Answered)
            tally.errors += not isinstance(outcome, Answered)
            if isinstance(outcome, TransportError) and not outcome.retryable:
                tally.put_aside(sent[name].case_id, outcome.code)

    # ---- what is due

    def _due(self, case_ids: Sequence[str], tally: Tally) -> list[tuple[str, Ask]]:
        """The asks without a reply of every case; a case whose course has ended is handed over."""
        found: list[tuple[str, Ask]] = []
        for case_id in case_ids:
            if case_id in self._done or case_id in tally.aside:
                continue
            try:
                asks = self._unanswered(case_id)
            except PortError as error:
                tally.put_aside(case_id, error.code)
                continue
            if any(self._tries[case_id, ask.key] >= TRIES for ask in asks):
                tally.put_aside(case_id, "unanswered")
            elif asks:
                found += [(case_id, ask) for ask in asks]
            else:
                self._hand_over(case_id)
                self._done.add(case_id)
                tally.done += 1
        return found

    def _unanswered(self, case_id: str) -> list[Ask]:
        """Where the course of a case stands, by the ledger. Raises `PortError` where it cannot be followed, or somebody else asks."""
        brief = critic.brief_of(self._db, self._ports, case_id)
        if brief is None:
            return []
        steps = course(brief, self._catalogue)
        with self._db.read() as session:
            if calls.alone_since(session, case_id, self._db.now() - self._live):
                raise PortError("asked_now", "a single call about this case has no reply yet")
            draft = self._same_draft(session, case_id)
            try:
                asks = next(steps)
                while True:
                    known = [calls.answered(session, case_id, ask, self._batches.how, draft) for ask in asks]
                    replies = [outcome for outcome in known if outcome is not None]
                    if len(replies) < len(asks):
                        return [ask for ask, outcome in zip(asks, known, strict=True) if outcome is None]
                    asks = steps.send(replies)
            except StopIteration:
                return []

    def _same_draft(self, session: Any, case_id: str) -> int:
        """The number of the draft that this run asks for. Raises `PortError` when that has ended: nothing is bought for another one."""
        now = drafts.number_of(session, case_id)
        if self._drafts.setdefault(case_id, now) != now:
            raise PortError("drafted_meanwhile", "the server has drafted this case since")
        return now

    def _hand_over(self, case_id: str) -> None:
        """The normal draft is due, which finds the answers in the ledger."""
        with self._db.begin() as session:
            row = cases.get(session, case_id)
            if row is not None and row.state is DraftState.queued:
                history.enqueue(session, "draft", case_id, f"backfill-{history.moves_of(session, 'cases', case_id)}")
        if row is not None and row.state in (DraftState.abstained, DraftState.failed):
            try:
                critic.draft_again(self._db, case_id, by="backfill")
            except IllegalMove:
                return  # somebody was faster

    # ---- what goes out

    def _submitted(self, asks: Sequence[tuple[str, Ask]], tally: Tally) -> bool:
        """Whether any of the asks went out, or may go out later: as many as the caps allow, each reserved before."""
        tally.rounds += 1
        answered = False
        for first in range(0, len(asks), ROUND):
            reserved, more, met = self._reserved(asks[first : first + ROUND], tally)
            answered |= met
            if reserved and not self._sent(reserved, tally):
                return False
            tally.out += len(reserved)
            if not more:
                break
        if tally.out:
            tally.stopped, tally.wait = "", None  # a cap in time may allow the rest once this round's replies say what they cost
        return tally.out > 0 or (answered and not tally.stopped)

    def _reserved(self, asks: Sequence[tuple[str, Ask]], tally: Tally) -> tuple[dict[str, Ask], bool, bool]:
        """(call → ask, whether the caps in time allow more, whether a draft has asked some itself since the round began)"""
        found: dict[str, Ask] = {}
        how, met = self._batches.how, False
        priced = [(case_id, ask, self._batches.most(ask)) for case_id, ask in asks]
        with self._db.begin() as session:
            purse = calls.Purse(session, self._caps)
            for case_id, ask, most in priced:
                if case_id in tally.aside:
                    continue
                try:
                    draft = self._same_draft(session, case_id)
                except PortError as error:
                    tally.put_aside(case_id, error.code)
                    continue
                if calls.answered(session, case_id, ask, how, draft) is not None:
                    met = True
                    continue
                if calls.alone_since(session, case_id, self._db.now() - self._live):
                    tally.put_aside(case_id, "asked_now")
                    continue
                try:
                    found[purse.open(case_id, ask, self._batches.model_of(ask), most, calls.SENDING, how=how, draft=draft)] = ask
                except calls.Spent as spent:
                    if spent.cap != "case":
                        tally.stopped, tally.wait = f"spend_cap_{spent.cap}", spent.wait
                        return found, False, met
                    tally.put_aside(case_id, "spend_cap_case")
                else:
                    self._tries[case_id, ask.key] += 1
        return found, True, met

    def _sent(self, reserved: Mapping[str, Ask], tally: Tally) -> bool:
        """Whether the server has taken a batch. What it refused costs nothing; what it may have taken all the same counts as paid for."""
        try:
            batch = self._batches.submit(reserved)
        except PortError as error:
            tally.stopped = error.code
            with self._db.begin() as session:
                if error.lost:
                    tally.lost += calls.name_batch(session, calls.SENDING, calls.LOST)
                else:
                    refused = TransportError(code=error.code, retryable=error.retryable, receipt=Receipt(usage=Usage()))
                    for name in reserved:
                        calls.end(session, name, refused, 0.0)
            return False
        with self._db.begin() as session:
            calls.name_batch(session, calls.SENDING, batch)
        tally.asked += len(reserved)
        return True

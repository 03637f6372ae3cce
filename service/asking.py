"""Drives the critic's asks: from the ledger what was answered before, from the model what was not, and nothing past a cap."""

import threading
from collections.abc import Callable
from dataclasses import replace

from connectors.ports import Model, PortError, Ports
from rubric.catalogue import Catalogue
from rubric.course import Failed, course
from rubric.drafting import Abstained, Ask, AskOutcome, Brief, Drafted, InvalidOutput, Refused, TransportError
from service import drafts
from service.db import Database
from service.store import calls
from service.store.calls import Caps

AGAIN_SECONDS, SELDOM_SECONDS = 60.0, 3600.0
"""from the first look at a model that does not answer to the next, and the longest time between two: each look is a call, outside of the caps"""
ANSWERS_BADLY = frozenset(["refused", "truncated", "invalid_output", "wrong_form"])
"""codes of trouble that another look is paid for and unlikely to find gone"""
BATCH_SECONDS = 900.0
"""that a draft waits whose asks are out with a batch"""


class AskingCritic:
    """The critic's port on a model. Asks go out one after the other, and each reply is kept before the next: a crash costs at most one call."""

    listens = True

    def __init__(self, db: Database, model: Model, catalogue: Catalogue, caps: Caps):
        self.name = f"asking-1 {model.name}"
        self._db = db
        self._model = model
        self._catalogue = catalogue
        self._caps = caps

    def draft(self, brief: Brief) -> Drafted | Abstained:
        """Raises `PortError` with the kind of failure as its code: `refused`, `truncated`, `invalid_output`, a transport's code, or `spend_cap_…`."""
        steps = course(brief, self._catalogue)
        try:
            asks = next(steps)
            while True:
                asks = steps.send([self.ask(brief.case_id, ask) for ask in asks])
        except StopIteration as end:
            found = end.value
        if not isinstance(found, Drafted | Abstained):
            raise _failure(found)
        with self._db.read() as session:
            return found.model_copy(update={"cost": calls.cost_of(session, brief.case_id)})

    def ask(self, case_id: str, ask: Ask) -> AskOutcome:
        """The outcome of one ask about a case: from the ledger, or from the model within the caps. Raises `PortError` when there is none."""
        how = self._model.how
        with self._db.read() as session:
            known = calls.answered(session, case_id, ask, how, drafts.number_of(session, case_id))
        if known is not None:
            return known
        most = self._model.most(ask)  # it writes the whole request out, for which nobody should wait
        try:
            with self._db.begin() as session:
                purse = calls.Purse(session, self._caps)  # from here on nobody else asks
                draft = drafts.number_of(session, case_id)
                if (known := calls.answered(session, case_id, ask, how, draft)) is not None:
                    return known
                if calls.in_batch(session, case_id, ask, draft):
                    raise PortError("in_batch", "it is asked in a batch that has not ended", retryable=True, retry_after=BATCH_SECONDS)
                name = purse.open(case_id, ask, self._model.model_of(ask), most, how=how, draft=draft)
        except calls.Spent as spent:
            why = f"the cap on what a {spent.cap} may cost does not allow another call"
            raise PortError(f"spend_cap_{spent.cap}", why, retryable=spent.wait is not None, retry_after=spent.wait) from None
        outcome = self._model.ask(ask)
        with self._db.begin() as session:
            calls.end(session, name, outcome, self._model.cost(outcome.receipt))
        if isinstance(outcome, TransportError):
            raise _failure(outcome)  # the rest of the round would meet the same
        return outcome


def _failure(outcome: Failed) -> PortError:
    match outcome:
        case TransportError():
            return PortError(outcome.code, "the model gave no answer", retryable=outcome.retryable, retry_after=outcome.retry_after)
        case Refused():
            return PortError("refused", f"the model declined to answer{f' ({outcome.category[:40]})' if outcome.category.isidentifier() else ''}")
        case InvalidOutput():
            return PortError("invalid_output", f"the model's answer cannot be used: {outcome.why[:200]}")
        case _:
            return PortError("truncated", "the model's answer was cut off: " + outcome.by.replace("_", " "))


def asking(ports: Ports, db: Database, catalogue: Catalogue, *, case: float, hour: float, day: float) -> Ports:
    """The tray with a critic that asks the tray's model, capped in US dollars; as it was when there is none."""
    if ports.model is None:
        return ports
    return replace(ports, critic=AskingCritic(db, ports.model, catalogue, Caps(case=case, hour=hour, day=day)))


class Watch:
    """Whether the model answers, looked at beside everything else: a look is a call, and a server that hangs must not hold up `/readyz`."""

    def __init__(self, look: Callable[[], str | None], clock: Callable[[], float]):
        self._look, self._clock = look, clock
        self._lock = threading.Lock()
        self._said: str | None = "it has not answered yet"
        self._next = 0.0
        self._wait = AGAIN_SECONDS
        self._looking: threading.Thread | None = None

    def trouble(self) -> str | None:
        """What the last look found. Where that was trouble, another look begins: after 1, 2, 4 … minutes, at last once an hour."""
        with self._lock:
            due = self._said is not None and self._clock() >= self._next and (self._looking is None or not self._looking.is_alive())
            if due:
                self._next, self._wait = self._clock() + self._wait, min(SELDOM_SECONDS, 2 * self._wait)
                self._looking = threading.Thread(target=self._run, name="model-watch", daemon=True)
                self._looking.start()
            return self._said

    def wait(self) -> None:
        """Until the look that is under way has ended."""
        if self._looking is not None:
            self._looking.join()

    def _run(self) -> None:
        try:
            said = self._look()
        except Exception as error:  # whatever it is, the model cannot be used, and that is all that is asked
            said = f"the look at it broke ({type(error).__name__})"
        with self._lock:
            self._said = said
            if said is not None and said.partition(":")[0] in ANSWERS_BADLY:
                self._next = max(self._next, self._clock() + SELDOM_SECONDS)

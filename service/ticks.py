"""What the clock fires, and when. APScheduler keeps time; every effect is a level-triggered look at the database."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import Session

from service.db import UNREACHABLE, Database
from service.engine import Engine, ExecutorTaken, things_of
from service.lifecycle import FOLLOWS, DraftState, GateState, HandoffState, OutcomeState, PullState, State
from service.stages import intake
from service.store import cases, gate_runs, handoffs, history, outcomes, pulls, suite_results

log = structlog.get_logger(__name__)
SWEEP_SECONDS, RESCUE_SECONDS, RECONCILE_SECONDS = 1, 10, 30
CALM, AT_LATEST = 0.5, 5.0
"""Seconds. Senders go first: a sweep waits until nothing has come in for so long, but not longer than that in all. Sweeping and masking each
case while the next ones come in cost intake nine tenths of its rate."""
PATIENCE = timedelta(seconds=60)
"""how long a due thing may stand still before its flow is looked for"""
KEEP_FLOWS = timedelta(days=7)
TABLES = {"handoffs": handoffs.Handoff, "pulls": pulls.Pull}
DUE: dict[tuple[str, State], str] = {
    **{entered: flow for entered, flow in FOLLOWS.items() if flow != "learn"},
    ("handoffs", HandoffState.working): "handoff",
}
"""(table, state) → the flow that a thing standing there must have; `learn` is due while outcomes stand at watching"""
GATE_TRIES = 3
"""how often a gate that ended in an error is tried again by itself"""


class Clock:
    """The beat of one process."""

    def __init__(self, db: Database, engine: Engine, *, settle: float, noisy: Callable[[], Sequence[str]] = tuple):
        """`noisy`: names of the targets whose noise is measured at night."""
        self._db, self._noisy = db, noisy
        self._engine = engine
        self._settle = settle
        self._nudged = False
        self._first = self._last = 0.0
        """when the first and the last case came in since the last sweep, by the monotonic clock; 0 for none"""
        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 30})
        for name, work, seconds in (
            ("sweep", self._sweep, SWEEP_SECONDS),
            ("rescue", self._rescue, RESCUE_SECONDS),
            ("reconcile", self._reconcile, RECONCILE_SECONDS),
        ):
            self._scheduler.add_job(_quiet(name, work), "interval", seconds=seconds, id=name)
        self._scheduler.add_job(_quiet("prune", self._prune), "cron", hour=3, minute=17, id="prune")
        self._scheduler.add_job(_quiet("noise", self._noise), "cron", hour=1, minute=43, id="noise", misfire_grace_time=3600)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=True)

    def nudge(self) -> None:
        """Something came in: sweep as soon as it is calm, once for all that comes in until then."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        if self._scheduler.running and not self._nudged:
            self._nudged = True
            self._scheduler.modify_job("sweep", next_run_time=datetime.now(UTC) + timedelta(seconds=CALM))

    def _sweep(self) -> None:
        self._nudged = False
        now = time.monotonic()
        if now - self._last < CALM and now - self._first < AT_LATEST:
            return
        self._first = 0.0
        while intake.sweep(self._db, settle=self._settle) == intake.SWEPT:
            pass

    def _rescue(self) -> None:
        try:
            rescued = self._engine.rescue()
        except ExecutorTaken as error:
            log.error("takes no more flows", reason=str(error))
            return
        if rescued:
            log.warning("took over the flows of a dead process", flows=rescued)

    def _reconcile(self) -> None:
        reconcile(self._db, self._engine)

    def _prune(self) -> None:
        while self._engine.prune(self._db.now() - KEEP_FLOWS):
            pass
        with self._db.begin() as session:
            suite_results.drop_expired(session, self._db.now())

    def _noise(self) -> None:
        measure(self._db, self._noisy())


def measure(db: Database, targets: Sequence[str]) -> None:
    """Have the noise of targets measured, once a night however many processes ask."""
    with db.begin() as session:
        for target in targets:
            history.enqueue(session, "noise", target, f"{db.now():%Y-%m-%d}")


def reconcile(db: Database, engine: Engine) -> int:
    """Enqueue again what is due and has no living flow: a lost flow costs a delay, never a thing. Returns how many."""
    before = db.now() - PATIENCE
    living = things_of(engine.active(tuple(f"{flow}:" for flow in {"draft", "mask", *FOLLOWS.values()})))
    again = 0
    with db.begin() as session:
        for row in cases.stuck(session, before, 500):
            flow = "draft" if row.state is DraftState.queued else "mask"
            if ("draft", row.id) not in living and ("mask", row.id) not in living:
                history.enqueue(session, flow, row.id, f"again-{int(db.now().timestamp())}")
                again += 1
        for (table, state), flow in DUE.items():
            for thing in history.standing(session, TABLES[table], state, before):
                if (flow, thing.id) not in living and not (flow == "gate" and _judged(session, thing)):
                    history.enqueue(session, flow, thing.id, f"again-{int(db.now().timestamp())}")
                    again += 1
        again += _learn_again(session, before, living)
    return again


def _learn_again(session: Session, before: datetime, living: set[tuple[str, str]]) -> int:
    """Enqueue `learn` for decided pulls whose outcomes nobody has looked at. Ever less often: a look replays the whole target."""
    unseen = {row.pull_id: row.since for row in history.standing(session, outcomes.OutcomeRow, OutcomeState.watching, before)}
    again = 0
    for pull_id, since in unseen.items():
        pull = pulls.get(session, pull_id)
        if pull and pull.state in (PullState.merged, PullState.closed) and ("learn", pull_id) not in living:
            doublings = int(math.log2(max(1.0, (before + PATIENCE - since) / PATIENCE)))
            history.enqueue(session, "learn", pull_id, f"again-{doublings}")  # the same turn twice is one flow
            again += 1
    return again


def _judged(session: Session, pull: pulls.Pull) -> bool:
    """Whether the gate has had its say on these commits: a pull that failed it stays a draft, and that is no stillstand."""
    for run in gate_runs.of_pull(session, pull.id):
        if (run.base_sha, run.head_sha) == (pull.base_sha, pull.head_sha) and run.state is not GateState.running:
            tries = [move for move in history.of(session, "gate_runs", run.id) if move.state_to == GateState.running and move.by == "gate"]
            return run.state is not GateState.error or len(tries) >= GATE_TRIES
    return False


def _quiet(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """A beat that fails is logged; the next one comes anyway."""

    def run() -> None:
        try:
            work()
        except UNREACHABLE as error:
            log.warning("tick could not reach the database", tick=name, error=type(error).__name__)
        except Exception:
            log.exception("tick failed", tick=name)

    return run

"""Durable flows on DBOS, the only file that knows it: enqueue in the caller's transaction, launch, rescue orphans."""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from dbos import DBOS, DBOSClient
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

log = logging.getLogger(__name__)
T = TypeVar("T")
VERSION = "1"
"""Pinned: the default is a hash of the source, and every deploy would strand the flows of the one before."""
LIGHT, MASK, DRAFT, WORK, LANDING = "light", "mask", "draft", "work", "landing"
QUEUE_OF = {"mask": MASK, "draft": DRAFT, "handoff": WORK, "gate": WORK, "noise": WORK, "land": LANDING}
"""flow → queue; others are light. A draft runs replays and must not wait behind a gate; masks only compute, so two at most run"""
ACTIVE = ["PENDING", "ENQUEUED", "DELAYED"]
LOCK_CLASS = 7_214
"""first key of our Postgres advisory locks"""
GRACE, RETAKE_SECONDS = 15.0, 5.0
"""how long a lock stays free before its owner counts as dead, more than the beat of `rescue`; how long an owner asks for one that it lost"""
HELD = """SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = :class AND objsubid = 2
AND objid::bigint = (CAST(:key AS bigint) & 4294967295) AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class ExecutorTaken(Exception):
    """Another process runs under this executor's name; give each its own."""


class Engine:
    """One process's share of the durable flows. DBOS allows one launched engine per process."""

    def __init__(self, url: str, *, executor: str, workers: int, poll_seconds: float, data_dir: Path, grace: float = GRACE):
        self.url = url
        self.executor = executor
        self._workers = workers
        self._poll = poll_seconds
        self._data_dir = data_dir
        self._client: DBOSClient | None = None
        self._lock: _FileLock | _PostgresLock | None = None
        self._grace = grace
        self._free_since: dict[str, float] = {}  # executor → when its lock was first seen free
        self._dbos: DBOS | None = None
        self._trouble: str | None = None

    def migrate(self) -> None:
        """Create or upgrade the engine's own tables."""
        DBOS.migrate(self.url)

    @property
    def client(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(system_database_url=self.url, retry_connection_errors=False)
        return self._client

    def enqueue(self, session: Session, flow: str, key: str, thing_id: str, delay: float = 0) -> None:
        """Enqueue a flow in the caller's transaction; the same key twice is one flow."""
        options: Any = {"workflow_name": flow, "queue_name": QUEUE_OF.get(flow, LIGHT), "workflow_id": key, "app_version": VERSION}
        if delay > 0:
            options["delay_seconds"] = delay
        self.client.enqueue_in_transaction(session, options, thing_id)

    def answers(self) -> bool:
        """Whether flows are taken here and the engine's tables can be read."""
        return self.trouble() is None

    def trouble(self) -> str | None:
        """Why no flows are taken here, None when they are."""
        try:
            self.client.list_workflows(limit=1, load_input=False, load_output=False)
        except Exception:  # whatever it is, the answer is no; the database's own check names the reason
            return self._trouble or "its tables cannot be read"
        return self._trouble

    def lock(self) -> None:
        """Take the executor's lock. Raises `ExecutorTaken` when a live process holds the name: two would run each other's flows twice."""
        if self._lock is not None:
            return
        lock = self._lock_of(self.executor)
        if not lock.take():
            raise ExecutorTaken(f"another process runs as executor {self.executor!r}; set TRIAGE_EXECUTOR to a name of its own")
        self._lock = lock

    def launch(self, bodies: Mapping[str, Callable[[str], None]]) -> None:
        """Take the executor's lock if it is not held yet, start the workers and take up what this executor left unfinished."""
        self.lock()
        self._dbos = DBOS(
            config={
                "name": "rejection-triage",
                "system_database_url": self.url,
                "executor_id": self.executor,
                "application_version": VERSION,
                "log_level": "ERROR",
                "sys_db_pool_size": 10,
                "use_listen_notify": False,
            }
        )
        _BODIES.clear()
        _BODIES.update(bodies)
        for flow in bodies:
            if flow not in _REGISTERED:
                _REGISTERED.add(flow)
                DBOS.workflow(name=flow, max_recovery_attempts=5)(_trampoline(flow))
        DBOS.launch()
        for queue, most in {LIGHT: max(4, self._workers * 2), MASK: 2, DRAFT: self._workers, WORK: self._workers}.items():
            DBOS.register_queue(queue, worker_concurrency=most, polling_interval_sec=self._poll, on_conflict="always_update")
        DBOS.register_queue(LANDING, global_concurrency=1, polling_interval_sec=self._poll, on_conflict="always_update")

    def stop(self, patience: int = 0) -> None:
        """Stop taking flows, wait up to `patience` seconds for running ones, give the lock back."""
        DBOS.destroy(workflow_completion_timeout_sec=patience)
        if self._client is not None:
            self._client.destroy()
            self._client = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def active(self, prefixes: Iterable[str], *, taken_up: bool = False) -> set[str]:
        """Ids of unfinished flows that start with one of some prefixes; of those that somebody has taken up only."""
        status = ACTIVE[:1] if taken_up else ACTIVE
        found = self.client.list_workflows(status=status, workflow_id_prefix=list(prefixes), load_input=False, load_output=False)
        return {flow.workflow_id for flow in found}

    def rescue(self) -> int:
        """Put the flows of dead executors back into their queues; returns how many.

        Looks after our own lock first: raises `ExecutorTaken` once when it was lost to another process; no flows are taken here from then on.
        An executor is dead when its lock stays free; holding that lock meanwhile keeps it from coming back half-way.
        """
        if self._trouble is not None:
            return 0
        self._hold()
        pending = self.client.list_workflows(status="PENDING", load_input=False, load_output=False)
        rescued = 0
        owners = sorted({flow.executor_id for flow in pending if flow.executor_id and flow.executor_id != self.executor})
        self._free_since = {owner: since for owner, since in self._free_since.items() if owner in owners}
        for owner in owners:
            lock = self._lock_of(owner)
            if not self._deserted(owner, lock) or not lock.take():
                continue
            try:
                orphans = self.client.list_workflows(status="PENDING", executor_id=owner, load_input=False, load_output=False)
                for queue in sorted({flow.queue_name or LIGHT for flow in orphans}):
                    ids = [flow.workflow_id for flow in orphans if (flow.queue_name or LIGHT) == queue]
                    self.client.resume_workflows(ids, queue_name=queue)
                    rescued += len(ids)
            finally:
                lock.release()
        return rescued

    def _hold(self) -> None:
        """Make sure that our lock is ours: on Postgres, the session that has it may have been ended from outside."""
        self.lock()
        if not isinstance(self._lock, _PostgresLock) or self._lock.holds():
            return
        self._free_since.clear()  # what cut us off may have cut off the others too: their time begins anew
        if not self._lock.retake():
            self._trouble = f"our lock was lost, and another process runs as executor {self.executor!r} by now; give each a name and start again"
            for event in self._dbos.background_thread_stop_events if self._dbos else ():
                event.set()  # queues are not read any more; what runs already may end
            raise ExecutorTaken(self._trouble)
        log.warning("the executor's lock was lost with its connection; it is taken again")

    def _deserted(self, owner: str, lock: "_FileLock | _PostgresLock") -> bool:
        """Whether nobody has had a lock for a while. A file's lock is never lost by a living process."""
        if isinstance(lock, _FileLock):
            return True
        if not lock.is_free():
            self._free_since.pop(owner, None)
            return False
        return self._free_since.setdefault(owner, time.monotonic()) + self._grace <= time.monotonic()

    def prune(self, before: datetime, limit: int = 5000) -> int:
        """Forget finished flows older than a time; returns how many."""
        done = self.client.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"], completed_before=before.isoformat(), load_input=False, load_output=False, limit=limit
        )
        if done:
            self.client.delete_workflows([flow.workflow_id for flow in done])
        return len(done)

    def _lock_of(self, executor: str) -> "_FileLock | _PostgresLock":
        if self.url.startswith("sqlite"):
            return _FileLock(self._data_dir / f"executor-{hashlib.sha256(executor.encode()).hexdigest()[:16]}.lock")
        return _PostgresLock(self.url, executor)


def step(name: str, work: Callable[[], T]) -> T:
    """Run a part of a flow once: its result is kept, a restarted flow goes on behind it. At least once, not exactly once.

    Outside a flow (a body that is called directly) it is a plain call.
    """
    return work() if DBOS.workflow_id is None else DBOS.run_step({"name": name}, work)


_BODIES: dict[str, Callable[[str], None]] = {}
_REGISTERED: set[str] = set()


def _trampoline(flow: str) -> Callable[[str], None]:
    def run(thing_id: str) -> None:
        _BODIES[flow](thing_id)

    return run


class _FileLock:
    """Held as long as the process lives; the kernel gives it back however the process ends."""

    def __init__(self, path: Path):
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "a")  # noqa: SIM115 — stays open on purpose
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        os.set_inheritable(file.fileno(), False)
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _PostgresLock:
    """A session lock on a connection of its own; the server gives it back when the connection ends."""

    def __init__(self, url: str, executor: str):
        watch: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}
        self._engine = create_engine(url, pool_size=1, max_overflow=0, connect_args={**watch, "connect_timeout": 10}, isolation_level="AUTOCOMMIT")
        self._keys = {"class": LOCK_CLASS, "key": int.from_bytes(hashlib.sha256(executor.encode()).digest()[:4], "big", signed=True)}
        self._connection: Connection | None = None
        self._session: dict[str, Any] = {}

    def take(self) -> bool:
        connection = self._engine.connect()
        asked = text("SELECT pid, backend_start, pg_try_advisory_lock(:class, :key) AS taken FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        session = dict(connection.execute(asked, self._keys).mappings().one())
        if not session.pop("taken"):
            connection.close()
            self._engine.dispose()
            return False
        self._connection, self._session = connection, session
        return True

    def is_free(self) -> bool:
        """Only looks: to take it for a look would stand in the way of an owner that takes it again."""
        with self._engine.connect() as connection:
            held = connection.execute(text(f"SELECT EXISTS ({HELD})"), self._keys).scalar_one()
        self._engine.dispose()
        return not held

    def holds(self) -> bool:
        """Whether our session still lives and has it. If not, the connection is given up."""
        with suppress(DBAPIError):
            if self._connection and self._connection.execute(text(f"SELECT EXISTS ({HELD} AND pid = pg_backend_pid())"), self._keys).scalar_one():
                return True
        self.release()
        return False

    def retake(self) -> bool:
        """Take it on a new connection, for `RETAKE_SECONDS`; a lost session of ours that lives on at the server is ended first."""
        with self._engine.connect() as connection:
            ours = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :backend_start")
            connection.execute(ours, self._session)
        deadline = time.monotonic() + RETAKE_SECONDS
        while not (taken := self.take()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return taken

    def release(self) -> None:
        """Says so to the server, which notices a closed connection only after a while."""
        if self._connection is not None:
            with suppress(DBAPIError), self._connection as connection:
                _ = connection.invalidated or connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), self._keys)
            self._connection = None
        self._engine.dispose()


def things_of(flow_ids: Iterable[str]) -> set[tuple[str, str]]:
    """(flow, thing id) of flow ids like `gate:p1:17`; a flow over many things counts for each."""
    parts = (name.partition(":") for name in flow_ids)
    return {(flow, thing) for flow, _, rest in parts for thing in rest.rpartition(":")[0].split(",")}

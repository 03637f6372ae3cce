"""What a gate writes down while it runs, each in a short transaction of its own: results to keep, and how far it has got."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from service.db import UNREACHABLE, Database
from service.store import gate_runs, suite_results

MOST_LINES = 200
EVERY = 1.0
"""seconds between two looks at the progress: a person reads no faster, and each is a commit"""


class Results:
    """Kept results in the database. One that does not answer now costs the suite's run, not the gate."""

    def __init__(self, db: Database):
        self._db = db

    def look_up(self, key: str) -> dict[str, Any] | None:
        try:
            with self._db.read() as session:
                found = suite_results.get(session, key, self._db.now())
        except UNREACHABLE:
            return None
        return {"rows": found.rows, "seconds": found.seconds} if found else None

    def keep(self, key: str, result: dict[str, Any], holds: timedelta | None) -> None:
        now = self._db.now()
        try:
            with self._db.begin() as session:
                suite_results.put(session, key, result["rows"], result["seconds"], now, now + holds if holds else None)
        except UNREACHABLE:
            return


class Progress:
    """Takes a line for each run of a suite, from any thread, and writes them to the gate run's row once in a while."""

    def __init__(self, db: Database, run_id: str, clock: Callable[[], float]):
        """`clock`: seconds, never backwards."""
        self._db, self._run_id, self._clock = db, run_id, clock
        self._lines: list[str] = []
        self._written: float | None = None
        self._lock = threading.Lock()

    def tell(self, line: str) -> None:
        """What comes within a second of the last write waits for the next line: it is a matter of seconds, and the report has all."""
        with self._lock:
            self._lines = [*self._lines, line[:300]][-MOST_LINES:]
            if self._written is not None and self._clock() - self._written < EVERY:
                return
            self._written = self._clock()
            try:
                with self._db.begin() as session:
                    gate_runs.tell(session, self._run_id, self._lines)
            except UNREACHABLE:
                return

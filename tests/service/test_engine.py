"""The engine holds here: a flow commits with our row or not at all, a name belongs to one process, the dead are taken over, the living never."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from service.db import Database
from service.engine import Engine, ExecutorTaken

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """Not launched: it enqueues and looks."""
    found = Engine(database_url, executor="me", workers=1, poll_seconds=0.02, data_dir=tmp_path)
    found.migrate()
    yield found
    if found._client is not None:
        found._client.destroy()
    if found._lock is not None:
        found._lock.release()


@pytest.fixture
def own(database_url: str, engine: Engine) -> Iterator[Database]:
    """The same database, with the real enqueue."""
    db = Database(database_url, enqueue=engine.enqueue)
    with db.begin() as session:
        session.connection().execute(text("CREATE TABLE ours (id INTEGER)"))
    yield db
    db.dispose()


def enqueue(db: Database, thing: str) -> None:
    with db.begin() as session:
        session.info["enqueue"](session, "handoff", f"handoff:{thing}:1", thing)


def rows(db: Database) -> int:
    with db.read() as session:
        return int(session.connection().execute(text("SELECT COUNT(*) FROM ours")).scalar_one())


def test_a_flow_commits_with_our_row_and_vanishes_with_it(own: Database, engine: Engine) -> None:
    with pytest.raises(RuntimeError), own.begin() as session:
        session.connection().execute(text("INSERT INTO ours VALUES (1)"))
        engine.enqueue(session, "handoff", "handoff:h1:1", "h1")
        raise RuntimeError
    assert (rows(own), engine.active(["handoff:"])) == (0, set())
    with own.begin() as session:
        session.connection().execute(text("INSERT INTO ours VALUES (1)"))
        engine.enqueue(session, "handoff", "handoff:h1:1", "h1")
        engine.enqueue(session, "gate", "gate:p1:2", "p1", delay=60)
    assert (rows(own), engine.active(["handoff:", "gate:"])) == (1, {"handoff:h1:1", "gate:p1:2"})
    assert engine.active(["handoff:"]) == {"handoff:h1:1"}


def test_one_key_is_one_flow(own: Database, engine: Engine) -> None:
    for _ in range(3):
        enqueue(own, "h1")
    assert len(engine.client.list_workflows(workflow_id_prefix="handoff:")) == 1


def test_a_name_belongs_to_one_process_until_it_ends(engine: Engine, tmp_path: Path) -> None:
    engine.lock()
    engine.lock()  # ours already
    second = Engine(engine.url, executor="me", workers=1, poll_seconds=1, data_dir=tmp_path)
    with pytest.raises(ExecutorTaken, match="TRIAGE_EXECUTOR"):
        second.lock()
    other = Engine(engine.url, executor="somebody else", workers=1, poll_seconds=1, data_dir=tmp_path)
    other.lock()
    assert other._lock and engine._lock
    other._lock.release()
    engine._lock.release()
    engine._lock = None
    second.lock()
    assert second._lock
    second._lock.release()


def test_finished_flows_are_forgotten_when_they_are_old(own: Database, engine: Engine) -> None:
    for number in range(5):
        enqueue(own, f"h{number}")
    assert engine.prune(datetime.now(UTC) + timedelta(days=1)) == 0  # unfinished ones are never old enough
    for number in range(4):
        engine.client.cancel_workflow(f"handoff:h{number}:1")
    assert engine.prune(datetime.now(UTC) - timedelta(days=1)) == 0
    assert sum(iter(lambda: engine.prune(datetime.now(UTC) + timedelta(days=1), limit=3), 0)) == 4
    assert [flow.workflow_id for flow in engine.client.list_workflows()] == ["handoff:h4:1"]


# ---- real processes


class Workers:
    def __init__(self, url: str, folder: Path):
        self._url, self._folder = url, folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def starts(self, name: str, *more: str) -> None:
        argv = [sys.executable, "-m", "tests.samples.worker", self._url, name, str(self._folder), *more]
        self._running[name] = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> int:
        (self._folder / f"stop-{name}").touch()
        return self._running.pop(name).wait(timeout=60)

    def log(self) -> list[str]:
        path = self._folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, done: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + 60
        while not done(self.log()):
            assert time.monotonic() < deadline, self.log()
            assert all(process.poll() is None for process in self._running.values()), self.log()
            time.sleep(0.05)
        return self.log()

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def workers(engine: Engine, tmp_path: Path) -> Iterator[Workers]:
    found = Workers(engine.url, tmp_path)
    yield found
    found.end()


def test_the_flows_of_a_dead_process_go_on_elsewhere_and_those_of_a_living_stay(
    own: Database, engine: Engine, workers: Workers, tmp_path: Path
) -> None:
    for number in range(3):
        enqueue(own, f"h{number}")
    workers.starts("first")
    workers.until(lambda log: sum(line.startswith("begin") for line in log) == 3)
    assert engine.rescue() == 0  # it lives: nothing is taken from it
    workers.starts("second", "rescue")
    workers.until(lambda log: sum(line.startswith("rescued") for line in log) >= 3)
    assert not any(line.startswith(("begin", "end")) and line.endswith("second") for line in workers.log())

    workers.kill("first")
    log = workers.until(lambda log: "rescued 3 second" in log)
    assert not any(line.startswith("end") for line in log)
    (tmp_path / "go").touch()
    log = workers.until(lambda log: sum(line.startswith("end") for line in log) == 3)
    assert workers.stop("second") == 0
    found = Counter(line for line in workers.log() if line.startswith(("begin", "end")))
    # what the dead one had finished is not done again, what it had not is done once
    assert found == Counter({f"begin h{n} first": 1 for n in range(3)} | {f"end h{n} second": 1 for n in range(3)})
    assert engine.active(["handoff:"]) == set()


def test_a_process_that_comes_back_takes_up_its_own(own: Database, engine: Engine, workers: Workers, tmp_path: Path) -> None:
    enqueue(own, "h1")
    workers.starts("first")
    workers.until(lambda log: "begin h1 first" in log)
    workers.kill("first")
    (tmp_path / "go").touch()
    workers.starts("first")
    workers.until(lambda log: "end h1 first" in log)
    assert workers.stop("first") == 0
    told = Counter(workers.log())
    assert (told["up - first"], told["end h1 first"]) == (2, 1)
    assert told["begin h1 first"] in (1, 2)  # at least once: the kill may come before the first step's record

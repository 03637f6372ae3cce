"""The executor's lock holds here: one that was lost is taken again, a process that cannot have it stops, nobody living is taken over; what lost its flow gets one."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from connectors.ports import PortError
from connectors.scripted import ScriptedAgent
from service.app import Running
from service.db import Database
from service.engine import GRACE, Engine, ExecutorTaken, step
from service.lifecycle import HandoffState, OutcomeState, PullState
from service.stages import handoff
from service.store import outcomes
from service.ticks import RESCUE_SECONDS, Clock, reconcile
from tests.samples.postgres import Cluster
from tests.samples.small import small_ports
from tests.samples.world import World


class Server:
    """A Postgres database and what an operator, a proxy or a restart does to it."""

    def __init__(self, cluster: Cluster, folder: Path):
        self.url, self._folder = cluster.create(template="migrated"), folder
        self._engine = create_engine(cluster.url("postgres"), isolation_level="AUTOCOMMIT")
        self._made: list[Engine] = []

    def does(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            found = connection.execute(text(statement.format(name=self.url.split("@/")[1].split("?")[0])))
            return list(found.all()) if found.returns_rows else []

    def cuts(self, engine: Engine) -> None:
        """Ends the session that holds the engine's lock, and waits until it is gone."""
        pid = engine._lock._session["pid"]  # type: ignore[union-attr]
        assert self.does(f"SELECT pg_terminate_backend({pid}, 5000)") == [(True,)]

    def engine(self, name: str, grace: float = 0.4) -> Engine:
        made = Engine(self.url, executor=name, workers=1, poll_seconds=0.02, data_dir=self._folder, grace=grace)
        made.migrate()
        self._made.append(made)
        return made

    def pending(self, owner: str, thing: str = "h1") -> None:
        """An unfinished flow of a process."""
        db = Database(self.url, enqueue=self._made[0].enqueue)
        with db.begin() as session:
            self._made[0].enqueue(session, "handoff", f"handoff:{thing}:1", thing)
            session.connection().execute(
                text("UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = :owner WHERE workflow_uuid = :id"),
                {"owner": owner, "id": f"handoff:{thing}:1"},
            )
        db.dispose()

    def end(self) -> None:
        for engine in self._made:
            engine.stop()
        self._engine.dispose()


@pytest.fixture
def server(cluster: Cluster, tmp_path: Path) -> Iterator[Server]:
    found = Server(cluster, tmp_path)
    yield found
    found.end()
    cluster.drop(found.url)


def has(engine: Engine) -> bool:
    return engine._lock is not None and engine._lock.holds()  # type: ignore[union-attr]


def test_a_process_looks_after_its_lock_before_another_may_think_it_dead() -> None:
    assert RESCUE_SECONDS + 4 < GRACE


@pytest.mark.postgres
def test_a_lost_lock_is_taken_again_at_the_next_beat(server: Server) -> None:
    engine = server.engine("me")
    engine.lock()
    for _ in range(2):
        server.cuts(engine)
        assert engine.rescue() == 0 and has(engine) and engine.answers()
    before = engine._lock._session  # type: ignore[union-attr]
    assert engine.rescue() == 0 and engine._lock._session is before  # type: ignore[union-attr]  # held: left alone
    with pytest.raises(ExecutorTaken):
        server.engine("me").lock()


@pytest.mark.postgres
def test_a_rescue_never_runs_without_our_own_lock(server: Server) -> None:
    engine = server.engine("me", grace=0)
    server.pending("dead")
    engine.lock()
    server.cuts(engine)
    server.does('ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    for _ in range(2):
        with pytest.raises(OperationalError):
            engine.rescue()
    assert engine._lock._connection is None  # type: ignore[union-attr]
    server.does('ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert engine.rescue() == 1 and has(engine)


@pytest.mark.postgres
def test_a_session_of_ours_that_lives_on_at_the_server_is_no_other_process(server: Server) -> None:
    """The network broke: we gave the connection up, the server has not noticed."""
    engine = server.engine("me")
    engine.lock()
    ghost, engine._lock._connection = engine._lock._connection, None  # type: ignore[union-attr]
    begun = time.monotonic()
    assert engine.rescue() == 0 and has(engine) and time.monotonic() - begun < 4
    with pytest.raises(OperationalError):
        ghost.execute(text("SELECT 1"))


@pytest.mark.postgres
def test_a_living_process_that_lost_its_lock_is_not_taken_over(server: Server) -> None:
    me, peer = server.engine("me"), server.engine("peer")
    me.lock()
    peer.lock()
    server.pending("peer")
    assert me.rescue() == 0
    server.cuts(peer)
    assert me.rescue() == 0  # free, but only just
    assert peer.rescue() == 0 and has(peer)
    time.sleep(0.5)
    assert me.rescue() == 0  # back in time
    server.cuts(peer)
    assert me.rescue() == 0  # its time begins anew
    time.sleep(0.5)
    assert me.rescue() == 1  # it did not come back


@pytest.mark.postgres
def test_after_a_restart_of_the_database_everybody_has_time_to_come_back(server: Server) -> None:
    me, peer = server.engine("me"), server.engine("peer")
    me.lock()
    peer.lock()
    server.pending("peer")
    server.cuts(peer)
    assert me.rescue() == 0
    time.sleep(0.5)
    server.cuts(me)  # cut off ourselves: what we saw before says nothing
    assert me.rescue() == 0
    assert peer.rescue() == 0
    time.sleep(0.5)
    assert me.rescue() == 0 and has(me) and has(peer)


@pytest.mark.postgres
def test_a_peer_that_has_our_lock_for_a_moment_does_not_stop_us(server: Server) -> None:
    engine, peer = server.engine("me"), server.engine("peer")
    engine.lock()
    server.cuts(engine)
    lock = peer._lock_of("me")
    assert lock.take()
    threading.Timer(0.7, lock.release).start()
    assert engine.rescue() == 0 and has(engine)


@pytest.mark.postgres
def test_a_process_whose_name_is_taken_takes_no_more_flows_and_says_so(server: Server, tmp_path: Path) -> None:
    engine, go, ended = server.engine("me"), threading.Event(), []
    db = Database(server.url, enqueue=engine.enqueue)
    clock = Clock(db, engine, settle=0)
    # the test server is unsafe on purpose, so its own check is left out
    parts = SimpleNamespace(engine=engine, db=SimpleNamespace(check=lambda: None), house=SimpleNamespace(ports=small_ports(tmp_path)), _watch=None)

    def status(thing: str, wanted: str, seconds: float) -> str:
        """The state of a flow after a while, or when it is the wanted one."""
        end = time.monotonic() + seconds
        while True:
            (flow,) = engine.client.list_workflows(workflow_id_prefix=f"gate:{thing}:")
            if flow.status == wanted or time.monotonic() > end:
                return str(flow.status)
            time.sleep(0.05)

    def enqueue(thing: str) -> None:
        with db.begin() as session:
            engine.enqueue(session, "gate", f"gate:{thing}:1", thing)

    def body(thing: str) -> None:
        go.wait(30)
        step("end", lambda: ended.append(thing))

    try:
        engine.launch({"gate": body})
        enqueue("one")
        assert status("one", "PENDING", 20) == "PENDING" and Running.missing(parts) == {}  # type: ignore[arg-type]
        server.cuts(engine)
        second = server.engine("me")
        second.lock()
        with capture_logs() as said:
            clock._rescue()
        assert [(line["event"], line["log_level"], line["reason"]) for line in said] == [("takes no more flows", "error", engine.trouble())]
        assert set(Running.missing(parts)) == {"engine"}  # type: ignore[arg-type]
        assert not engine.answers() and "another process runs as executor 'me'" in str(engine.trouble())
        time.sleep(0.5)  # a look into the queue that was under way
        enqueue("two")
        assert status("two", "PENDING", 1.5) == "ENQUEUED"
        go.set()
        assert status("one", "SUCCESS", 10) == "SUCCESS" and ended == ["one"]  # what ran already may end
        second._lock.release()  # type: ignore[union-attr]
        server.pending("dead", "h9")
        with capture_logs() as said:
            clock._rescue()
        assert said == [] and not has(engine)  # said once, and it stays stopped
        assert [flow.status for flow in engine.client.list_workflows(workflow_id_prefix="handoff:h9:")] == ["PENDING"]
        assert status("two", "SUCCESS", 1.5) != "SUCCESS"
    finally:
        go.set()
        engine.stop()
        db.dispose()


# ---- the queue of drafts


def test_as_many_drafts_run_at_once_as_there_are_workers_and_two_masks_beside_them(tmp_path: Path) -> None:
    """Masks only compute: more of them at once would be no faster, and would keep drafts from running."""
    engine = Engine(f"sqlite:///{tmp_path / 'engine.db'}", executor="me", workers=3, poll_seconds=0.02, data_dir=tmp_path)
    engine.migrate()
    db = Database(engine.url, enqueue=engine.enqueue)
    for flow in ("draft", "mask"):
        with db.begin() as session:
            for number in range(5):
                engine.enqueue(session, flow, f"{flow}:c{number}:0", f"c{number}")
    now, most, done, lock = {"draft": 0, "mask": 0}, {"draft": 0, "mask": 0}, [], threading.Lock()

    def body(flow: str) -> Callable[[str], None]:
        def run(thing: str) -> None:
            with lock:
                now[flow] += 1
                most[flow] = max(most[flow], now[flow])
            time.sleep(0.3)
            with lock:
                now[flow] -= 1
                done.append(thing)

        return run

    try:
        engine.launch({flow: body(flow) for flow in now})
        deadline = time.monotonic() + 30
        while len(done) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        engine.stop()
        db.dispose()
    assert len(done) == 10 and most == {"draft": 3, "mask": 2}


# ---- what lost its flow


class Living:
    """As much of an engine as reconcile needs."""

    def __init__(self, *alive: str):
        self._alive = set(alive)

    def active(self, prefixes: Any) -> set[str]:
        return {one for one in self._alive if one.startswith(tuple(prefixes))}


def reconciled(world: World, *alive: str, seconds: float = 61) -> list[tuple[str, str]]:
    world.time += timedelta(seconds=seconds)
    before = len(world.asked.flows(world.db))
    reconcile(world.db, Living(*alive))  # type: ignore[arg-type]
    return world.asked.flows(world.db)[before:]


class Broken:
    """An eval runner that breaks in a way nobody foresaw."""

    name = "broken"

    def run_suite(self, *_: Any) -> Any:
        raise RuntimeError

    replay = run_suite


@pytest.fixture
def merged(world: World) -> str:
    """A pull that was merged; its `learn` has not run."""
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    world.merges(pull.id)
    world.reopen("land", pull.id)
    assert world.pull(pull.id).state is PullState.merged
    return pull.id


def outcome_of(world: World, pull_id: str) -> OutcomeState:
    with world.db.read() as session:
        (row,) = outcomes.of_pull(session, pull_id)
        return row.state


def test_an_outcome_whose_look_broke_is_looked_at_again(world: World, merged: str) -> None:
    evals = world.ports.evals
    world.with_ports(evals=Broken()).runs()
    assert world.broken == ["learn: RuntimeError: "] and outcome_of(world, merged) is OutcomeState.watching
    assert reconciled(world, f"learn:{merged}:9") == []  # it has a living flow
    assert reconciled(world) == [("learn", merged)]
    assert outcome_of(world.with_ports(evals=evals).runs(), merged) is OutcomeState.cured
    assert reconciled(world) == []


def test_a_look_that_breaks_for_good_is_tried_ever_less_often(world: World, merged: str) -> None:
    world.with_ports(evals=Broken()).runs()
    assert reconciled(world, seconds=30) == []  # too early to worry
    tries = [reconciled(world, seconds=30) for _ in range(240)]
    world.runs()
    assert [one for one in tries if one] == [[("learn", merged)]] * 7  # in two hours
    assert outcome_of(world, merged) is OutcomeState.watching


def test_a_handoff_that_a_person_starts_again_has_all_its_attempts(world: World) -> None:
    def down(*_: Any) -> Any:
        raise PortError("unavailable", "not now", retryable=True)

    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.with_ports(agent=ScriptedAgent(down)).confirms(hint.id)
    for turn in (1, 2, 3):
        row = world.runs().handoff_of(hint.id)
        assert (row.state, row.attempt, len(world.jobs())) == (HandoffState.failed, 3, 3 * turn)
        handoff.retry(world.db, row.id, by="gwen")
    keys = [key for key, flow, _, _ in world.asked.all(world.db) if flow == "handoff" and ":retry" in key]
    assert len(keys) == 6 == len(set(keys))

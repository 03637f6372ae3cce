"""The database holds here: nothing written is lost between writers, a reader cannot write, unsafe settings do not start."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session

from service.db import Database, UnsafeDatabase, alone


@pytest.fixture
def counter(db: Database) -> Database:
    with db.begin() as session:
        session.connection().execute(text("CREATE TABLE counters (name VARCHAR(9) PRIMARY KEY, number INTEGER)"))
        session.connection().execute(text("INSERT INTO counters VALUES ('a', 0)"))
    return db


def number(session: Session) -> int:
    return int(session.connection().execute(text("SELECT number FROM counters")).scalar_one())


def test_fifty_writers_lose_nothing(counter: Database) -> None:
    """Reading, thinking and writing back is one thing for each of them: a deferred BEGIN loses most of these."""

    def add(_: int) -> None:
        with counter.begin() as session:
            alone(session, "the counter")
            now = number(session)
            session.connection().execute(text("UPDATE counters SET number = :number"), {"number": now + 1})

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(add, range(200)))
    with counter.read() as session:
        assert number(session) == 200


def test_a_second_process_waits_instead_of_failing(counter: Database) -> None:
    """Another `Database` on the same file has another lock of its own; then BEGIN IMMEDIATE and the busy timeout hold."""
    other = Database(counter.url)

    def add(one: Database) -> None:
        for _ in range(20):
            with one.begin() as session:
                alone(session, "the counter")
                session.connection().execute(text("UPDATE counters SET number = :number"), {"number": number(session) + 1})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, [counter, other]))
    with other.read() as session:
        assert number(session) == 40
    other.dispose()


def test_a_block_that_raises_leaves_nothing(counter: Database) -> None:
    with pytest.raises(RuntimeError), counter.begin() as session:
        session.connection().execute(text("UPDATE counters SET number = 7"))
        raise RuntimeError
    with counter.read() as session:
        assert number(session) == 0


def test_a_read_session_cannot_write(counter: Database) -> None:
    for statement in ("UPDATE counters SET number = 7", "INSERT INTO counters VALUES ('b', 1)", "DELETE FROM counters", "DROP TABLE counters"):
        with pytest.raises(DBAPIError), counter.read() as session:
            session.connection().execute(text(statement))
    with counter.read() as session:
        assert number(session) == 0
    with counter.begin() as session:  # and the writers still can
        session.connection().execute(text("UPDATE counters SET number = 1"))


def test_a_reader_is_not_held_up_by_a_writer(counter: Database) -> None:
    inside, done = threading.Event(), threading.Event()

    def write() -> None:
        with counter.begin() as session:
            session.connection().execute(text("UPDATE counters SET number = 5"))
            inside.set()
            assert done.wait(30)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert inside.wait(30)
        with counter.read() as session:
            assert number(session) == 0  # what is not committed is not seen
        done.set()
        writing.result()


def test_keys_are_enforced_on_every_connection(db: Database) -> None:
    for _ in range(3):
        with pytest.raises(IntegrityError), db.begin() as session:
            session.connection().execute(text("INSERT INTO originals (case_id, body) VALUES ('nobody', '{}')"))


@pytest.mark.parametrize(
    ("statement", "named"),
    [("PRAGMA synchronous=NORMAL", "synchronous"), ("PRAGMA foreign_keys=OFF", "foreign_keys"), ("PRAGMA journal_mode=DELETE", "journal_mode")],
)
def test_unsafe_settings_of_sqlite_are_named(tmp_path: object, statement: str, named: str) -> None:
    db = Database(f"sqlite:///{tmp_path}/x.db")
    db.check()
    db.dispose()
    event.listen(db._reader, "connect", lambda connection, _: connection.execute(statement))
    with pytest.raises(UnsafeDatabase, match=named):
        db.check()
    db.dispose()


def test_a_postgres_without_fsync_is_refused(db: Database) -> None:
    """The tests' own server runs without; that is what one must not be allowed to start on."""
    if db.is_sqlite:
        db.check()
        return
    with pytest.raises(UnsafeDatabase, match="fsync is 'off'"):
        db.check()


def test_a_name_is_held_by_one_transaction_until_it_ends(db: Database) -> None:
    """On both databases the second one sees what the first one left."""
    order: list[str] = []
    first_in = threading.Event()

    def hold(name: str, wait: threading.Event | None, tell: threading.Event | None) -> None:
        if wait:
            assert wait.wait(30)
        with db.begin() as session:
            alone(session, "one", "two")
            order.append(f"{name} in")
            if tell:
                tell.set()
                threading.Event().wait(0.05)
            order.append(f"{name} out")

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(hold, "a", None, first_in), pool.submit(hold, "b", first_in, None)]
        for one in running:
            one.result()
    assert order == ["a in", "a out", "b in", "b out"]

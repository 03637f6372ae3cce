"""The database: one engine for writing, one for reading, safe settings or no start."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from sqlalchemy import JSON, Engine, Enum, TextClause, event, insert, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlmodel import Session, SQLModel, create_engine

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata.naming_convention = NAMES  # SQLite's nameless constraints could never be altered

Json = JSON().with_variant(JSONB(), "postgresql")
"""Column type for JSON documents. Assign a new value to change one: changes in place are not seen."""

RESTED = 1.0
"""seconds out of use after which a Postgres connection is asked whether it still lives; a question before each commit cost a round trip"""


class JsonText(str):
    """A JSON document as text already: it is stored as it stands, not written a second time."""


_encode = json.JSONEncoder(default=datetime.isoformat).encode


def _json(value: Any) -> str:
    return value if isinstance(value, JsonText) else _encode(value)


def words(enum: type[StrEnum]) -> Enum:
    """Column type for a state: its word as text on both databases, so that a new state needs no migration of a type."""
    return Enum(enum, native_enum=False, length=24, values_callable=lambda members: [member.value for member in members])


UNREACHABLE = (OperationalError, InterfaceError)
"""What a database that is locked, full, restarting or gone raises."""


class UnsafeDatabase(Exception):
    """A setting of the database would lose acknowledged work; the message names it."""


class Enqueue(Protocol):
    def __call__(self, session: Session, flow: str, key: str, thing_id: str, delay: float) -> None: ...


class Database:
    """`begin()` gives a session in a write transaction, `read()` one that cannot write.

    On SQLite a process-wide lock queues the writers: its own busy handler is unfair and costs seconds under load.
    """

    def __init__(self, url: str, *, enqueue: Enqueue | None = None, now: Callable[[], datetime] | None = None):
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.enqueue = enqueue
        self.now = now or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self.engine = _sqlite(url, read_only=False) if self.is_sqlite else _postgres(url)
        self._reader = _sqlite(url, read_only=True) if self.is_sqlite else self.engine.execution_options(postgresql_readonly=True)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A write transaction: commits at the end of the block, rolls back on any exception."""
        with self._writer(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.info["enqueue"] = self.enqueue
            session.info["now"] = self.now
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction; writing in it is an error."""
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            session.info["now"] = self.now
            yield session

    @contextmanager
    def _writer(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        with self._lock:
            yield

    def check(self) -> None:
        """Raise `UnsafeDatabase` unless a commit is durable and keys are enforced."""
        wanted = _SQLITE_SAFE if self.is_sqlite else _POSTGRES_SAFE
        for block in (self.read, self.begin):
            with block() as session:
                for setting, (question, good) in wanted.items():
                    found = str(session.connection().execute(text(question)).scalar_one()).lower()
                    if found not in good:
                        raise UnsafeDatabase(f"{setting} is {found!r}; it must be {' or '.join(sorted(good))}, or acknowledged work can be lost")

    def dispose(self) -> None:
        self.engine.dispose()
        if self.is_sqlite:
            self._reader.dispose()


def alone(session: Session, *names: str) -> None:
    """Wait until no other transaction holds one of these names, then hold them to the end of ours.

    For what a look and a later write decide together. SQLite has one writer at a time anyway.
    """
    if names and session.connection().dialect.name == "postgresql":
        keys = sorted({int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True) for name in names})
        # in one order for everybody, or two of us would wait for each other
        session.connection().execute(text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key"), {"keys": keys})


def add_rows(session: Session, model: type[SQLModel], rows: Sequence[dict[str, Any]]) -> None:
    """Insert checked rows of the same fields, without an ORM object each.

    Postgres gets them as one document: a message a row took a quarter of the time of a commit.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        document = ",".join("{" + ",".join(f'"{name}":{_json(value)}' for name, value in row.items()) + "}" for row in rows)
        connection.execute(_from_document(model, tuple(rows[0])), {"rows": f"[{document}]"})
    else:
        connection.execute(insert(model), list(rows))


@cache
def _from_document(model: type[SQLModel], names: tuple[str, ...]) -> TextClause:
    """Built once for each table: it is part of every commit of intake."""
    table = model.metadata.tables[str(model.__tablename__)]
    types = ", ".join(f"{name} {table.c[name].type.compile(postgresql.dialect())}" for name in names)  # type: ignore[no-untyped-call]
    columns = ", ".join(names)
    given = f"jsonb_to_recordset(CAST(:rows AS jsonb)) AS given ({types})"
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {given}")  # noqa: S608 — names of our own table


_SQLITE_SAFE = {
    "journal_mode": ("PRAGMA journal_mode", {"wal"}),
    "synchronous": ("PRAGMA synchronous", {"2", "3"}),
    "foreign_keys": ("PRAGMA foreign_keys", {"1"}),
}
_POSTGRES_SAFE = {
    "fsync": ("SHOW fsync", {"on"}),
    "full_page_writes": ("SHOW full_page_writes", {"on"}),
    "synchronous_commit": ("SHOW synchronous_commit", {"on", "remote_apply", "remote_write", "local"}),
}


def _sqlite(url: str, *, read_only: bool) -> Engine:
    engine = create_engine(
        url, connect_args={"check_same_thread": False, "timeout": 30}, pool_size=8, max_overflow=24, pool_use_lifo=True, json_serializer=_json
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgres(url: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=24,
        pool_use_lifo=True,
        json_serializer=_json,
        connect_args={"options": "-c timezone=UTC -c plan_cache_mode=force_custom_plan"},
    )

    @event.listens_for(engine, "checkin")
    def _rests(_: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info.get("rests_since", math.inf) > RESTED:
            try:
                alive = engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                alive = False
            if not alive:
                raise DisconnectionError

    return engine

"""The ground that tests stand on: a fresh database of each kind, a small world on it, and a client of the whole application."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from alembic import command
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.db import Database
from service.migrate import config_for
from service.settings import Settings, SourceSettings, TargetSettings
from tests.samples.postgres import Cluster, NoPostgres
from tests.samples.small import TOKEN, WEBHOOK, small_ports
from tests.samples.world import Asked, World

hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")  # the same examples in every run


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Postgres server per test process."""
    found = _server()
    command.upgrade(config_for(found.create("migrated")), "head")
    yield found
    found.stop()


@pytest.fixture(scope="session")
def durable() -> Iterator[Cluster]:
    """One that the whole service starts on; slower, because it writes to the disk."""
    found = _server(durable=True)
    yield found
    found.stop()


def _server(*, durable: bool = False) -> Cluster:
    try:
        return Cluster(durable=durable)
    except NoPostgres as error:
        if os.environ.get("TRIAGE_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"!!! {error} !!!")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_database(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """`new_database()` gives the URL of a migrated database of its own, `new_database(migrated=False)` of an empty one."""
    made: list[str] = []

    def sqlite(*, migrated: bool = True) -> str:
        made.append(str(tmp_path / f"triage-{len(made)}.db"))
        if migrated:
            template = tmp_path_factory.getbasetemp() / "migrated.db"
            if not template.exists():
                command.upgrade(config_for(f"sqlite:///{template}.new"), "head")
                sqlite3.connect(f"{template}.new").execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
                os.rename(f"{template}.new", template)
            shutil.copy(template, made[-1])
        return f"sqlite:///{made[-1]}"

    def postgres(*, migrated: bool = True) -> str:
        made.append(cluster.create(template="migrated" if migrated else "template0"))
        return made[-1]

    if request.param == "sqlite":
        yield sqlite
        return
    cluster = request.getfixturevalue("cluster")
    yield postgres
    for url in made:
        cluster.drop(url)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    return new_database()


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A migrated database whose enqueue writes into a table beside ours."""
    asked = Asked()
    database = Database(database_url, enqueue=asked)
    asked.prepare(database)
    yield database
    database.dispose()


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    """The small pipeline in memory, with a critic that always proposes the same change."""
    return World(db, small_ports(tmp_path))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The whole application on SQLite, engine and clock running: one source `desk`, the small target `bank`, no undo window.

    One per file, because an engine takes seconds to stop: name what you send.
    """
    folder = tmp_path_factory.mktemp("client")
    settings = Settings(
        data_dir=folder / "data", token=SecretStr(TOKEN), split_secret=SecretStr("the split of the tests"), poll_seconds=0.02, settle_seconds=0, undo_seconds=0,
        sources={"desk": SourceSettings(secrets=[SecretStr(WEBHOOK)], target="bank")}, targets={"bank": TargetSettings(repo=folder / "no.git")},
    )  # fmt: skip
    with TestClient(create_app(settings, small_ports(folder, undo_seconds=0)), raise_server_exceptions=False) as browser:
        yield browser


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Figures that a test wants to be read, whichever process it ran in: `record_property("told", line)`."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, line in report.user_properties:
            if name == "told":
                terminalreporter.write_line(str(line))

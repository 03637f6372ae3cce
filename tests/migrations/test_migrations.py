"""The revisions hold here: they make exactly the tables of the code, keep what is in them, and can be taken back."""

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Engine as Connector
from sqlmodel import SQLModel

from service import store
from service.db import Database
from service.engine import Engine
from service.migrate import config_for, migrate
from tests.samples.small import small_ports
from tests.samples.world import Asked, World

for module in pkgutil.iter_modules(store.__path__):
    importlib.import_module(f"service.store.{module.name}")
ROOT = Path(__file__).parents[2]
OURS = set(SQLModel.metadata.tables)


@pytest.fixture
def empty(new_database: Callable[..., str]) -> str:
    return new_database(migrated=False)


@pytest.fixture
def connector(empty: str) -> Iterator[Connector]:
    found = create_engine(empty)
    yield found
    found.dispose()


def tables(connector: Connector) -> set[str]:
    return set(inspect(connector).get_table_names())


def differences(connector: Connector) -> list[Any]:
    """What alembic would still change, of our tables."""
    ours: Any = lambda name, kind, parents: kind != "table" or name in OURS  # noqa: E731
    with connector.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True, "target_metadata": SQLModel.metadata})
        return list(compare_metadata(context, SQLModel.metadata))


def test_all_revisions_make_exactly_the_tables_of_the_code(empty: str, connector: Connector) -> None:
    command.upgrade(config_for(empty), "head")
    assert tables(connector) == OURS | {"alembic_version"}
    assert differences(connector) == []


def test_the_comparison_would_see_a_difference(empty: str, connector: Connector) -> None:
    command.upgrade(config_for(empty), "head")
    with connector.begin() as connection:
        connection.execute(text("ALTER TABLE pulls ADD COLUMN surplus INTEGER"))
        connection.execute(text("DROP INDEX ix_pulls_state"))
    assert len(differences(connector)) == 2


def test_upgrading_again_changes_nothing(empty: str, connector: Connector) -> None:
    for _ in range(2):
        command.upgrade(config_for(empty), "head")
    assert tables(connector) == OURS | {"alembic_version"}


def test_every_revision_can_be_taken_back_and_done_again(empty: str, connector: Connector) -> None:
    config = config_for(empty)
    command.upgrade(config, "head")
    for revision in ScriptDirectory.from_config(config).walk_revisions():
        command.downgrade(config, revision.down_revision or "base")  # type: ignore[arg-type]
    assert tables(connector) == {"alembic_version"}
    command.upgrade(config, "head")
    assert differences(connector) == []


def test_each_revision_keeps_a_filled_database(new_database: Callable[..., str], tmp_path: Path) -> None:
    """Down to the first and up again over rows of every kind: a rebuilt parent table must not take its children along."""
    url = new_database()
    asked = Asked()
    db = Database(url, enqueue=asked)
    asked.prepare(db)
    world = World(db, small_ports(tmp_path))
    world.accepts("email")
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.merges(world.runs().pull_of(hint.id).id)
    world.runs()
    before, weights = contents(db), drafted(db)
    assert weights and all(weight and weight > 0 and draft_hash for _, weight, draft_hash in weights)
    assert all(before[name] for name in OURS), {name for name in OURS if not before[name]}
    db.dispose()
    config = config_for(url)
    first = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()][-1]
    command.downgrade(config, first)
    command.upgrade(config, "head")
    assert contents(db) == before and drafted(db) == weights
    assert world.story(case_id)["outcome_of_fix"] == "cured"
    db.dispose()


def drafted(db: Database) -> list[tuple[str, float | None, str | None]]:
    with db.read() as session:
        return [tuple(row) for row in session.connection().execute(text("SELECT id, weight, draft_hash FROM hints ORDER BY id"))]  # type: ignore[misc]


def contents(db: Database) -> dict[str, int]:
    with db.read() as session:
        return {name: int(session.connection().execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one()) for name in OURS}


def test_keys_are_made_and_enforced(empty: str, connector: Connector) -> None:
    """Every foreign key of the code stands in the database, with what happens on a delete."""
    command.upgrade(config_for(empty), "head")
    for name, table in SQLModel.metadata.tables.items():
        there = {
            (*key["constrained_columns"], key["referred_table"], (key["options"].get("ondelete") or "").upper())
            for key in inspect(connector).get_foreign_keys(name)
        }
        wanted = {(key.parent.name, key.column.table.name, (key.ondelete or "").upper()) for key in table.foreign_keys}
        assert there == wanted, name
    approval = {key["referred_table"] for key in inspect(connector).get_foreign_keys("handoffs")}
    assert "reviews" in approval


def test_our_start_upgrades_ours_and_the_engine_s_and_once_more_does_no_harm(empty: str, connector: Connector, tmp_path: Path) -> None:
    for number in range(2):
        db = Database(empty)
        migrate(db, Engine(empty, executor=f"e{number}", workers=1, poll_seconds=1, data_dir=tmp_path), tmp_path)
        db.dispose()
    assert tables(connector) >= OURS and differences(connector) == []
    # the engine's own tables stand beside ours on SQLite and in a schema of their own on Postgres
    beside = tables(connector) if connector.dialect.name == "sqlite" else set(inspect(connector).get_table_names(schema="dbos"))
    assert "workflow_status" in beside


def test_processes_that_start_at_once_wait_for_each_other(empty: str, connector: Connector, tmp_path: Path) -> None:
    settings = {"TRIAGE_DATABASE_URL": empty.replace("+psycopg", ""), "TRIAGE_DATA_DIR": str(tmp_path)}
    if connector.dialect.name == "sqlite":
        settings = {"TRIAGE_DATA_DIR": str(tmp_path / "data")}
    argv = [sys.executable, "-m", "service.cli", "migrate", "--quiet"]
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}, **settings}
    running = [subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    answers = [(one.communicate(timeout=120)[1][-500:], one.returncode) for one in running]
    assert [status for _, status in answers] == [0, 0, 0], answers
    found = create_engine(f"sqlite:///{tmp_path}/data/triage.db") if connector.dialect.name == "sqlite" else connector
    assert differences(found) == []
    found.dispose()

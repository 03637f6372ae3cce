"""The revisions hold here: they make exactly the tables of the code, keep what is in them, and can be taken back."""

import hashlib
import importlib
import json
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
from sqlalchemy import JSON, bindparam, create_engine, inspect, text
from sqlalchemy.engine import Engine as Connector
from sqlmodel import Session, SQLModel

from rubric import catalogue as catalogue_module
from rubric.catalogue import load
from rubric.drafting import Ask
from rubric.expectations import record_of
from rubric.schema import Plan
from service import store
from service.db import Database
from service.engine import Engine
from service.migrate import config_for, migrate
from service.store import attempts, calls, examples, handoffs, hints, pulls, row_noise, suite_results, waivers
from tests.samples.small import NOON, small_ports
from tests.samples.world import Asked, World

for module in pkgutil.iter_modules(store.__path__):
    importlib.import_module(f"service.store.{module.name}")
ROOT = Path(__file__).parents[2]
OURS = set(SQLModel.metadata.tables)
CARDS = sorted((Path(catalogue_module.__file__).parent / "cards" / "recipes").glob("*.yaml"))
CATALOGUE = load()


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
    with db.begin() as session:
        calls.Purse(session, calls.Caps(case=1, hour=1, day=1)).open(case_id, ASK, "m", 0.1)
        examples.add(session, example(hint.id, case_id))
        attempts.put(session, attempt(handoffs.of_hint(session, hint.id)[0].id))
        fill_gate_tables(session, world.pull_of(hint.id))
    before, found_by, weights = contents(db), examples_words(db), drafted(db)
    assert weights and all(weight and weight > 0 and draft_hash for _, weight, draft_hash in weights)
    assert all(before[name] for name in OURS), {name for name in OURS if not before[name]}
    db.dispose()
    config = config_for(url)
    first = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()][-1]
    command.downgrade(config, first)
    command.upgrade(config, "head")
    assert contents(db) == {**before, **dict.fromkeys(LATER, 0)} and drafted(db) == weights
    assert examples_words(db) == found_by  # made anew from the comments
    assert world.story(case_id)["outcome_of_fix"] == "cured"
    db.dispose()


LATER = {"calls", "attempts", "waivers", "row_noise", "suite_results"}
"""tables that a revision behind the first one makes empty"""
ASK = Ask(name="rules", key="x", rubric="r", case="c", form={})


def attempt(handoff_id: str) -> attempts.AttemptRow:
    return attempts.AttemptRow(
        handoff_id=handoff_id,
        round=0,
        number=1,
        agent="builtin",
        status="done",
        reason="",
        turns=1,
        tokens=2,
        usd=0.1,
        seconds=1.0,
        transcript="",
        at=NOON,
    )


def fill_gate_tables(session: Session, pull: pulls.Pull) -> None:
    waivers.add(session, waivers.Waiver(pull_id=pull.id, head_sha=pull.head_sha, suite="s", row="r", reason="known", by="gwen", at=NOON))
    row_noise.replace(session, "bank", "s", {"r": (3, 8)}, NOON, NOON)
    suite_results.put(session, "k", [{"row": "r", "passed": True}], 1.0, NOON, NOON)


def example(hint_id: str, case_id: str) -> examples.Example:
    said = "Wrong person: <NAME_1> isn’t the STRASSE, straße, a 42"
    return examples.Example(
        hint_id=hint_id, case_id=case_id, target="bank", side="dev", comment=said, leaf="cards/lost", step="fetch", recipe="one_off", target_id="fetch:email",
        edited=False, at=NOON,
    )  # fmt: skip


def examples_words(db: Database) -> set[tuple[int, str]]:
    with db.read() as session:
        return {(word, hint_id) for word, hint_id in session.connection().execute(text("SELECT word, hint_id FROM example_words"))}


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_hints_of_before_get_the_hashes_of_today(empty: str, connector: Connector, revision: str) -> None:
    """The rule once hashed every field but the arguments as it stood: the same change, drafted again, was another one."""
    config = config_for(empty)
    command.upgrade(config, revision)
    changes = [change for path in CARDS for change in as_before(path.stem)]
    assert changes[1]["settings"] == {}, "a field that came later, at its default"
    changes += [{**changes[1], "field": f"number_{number}"} for number in range(1200)]
    stored = [{"id": f"h{number:05}", "current": {"change": change}, "hash": hash_of_before(change)} for number, change in enumerate(changes)]
    with connector.begin() as connection:
        connection.execute(text(CASE))
        connection.execute(text(HINT).bindparams(bindparam("current", type_=JSON)), stored)
    command.upgrade(config, "head")
    with connector.connect() as connection:
        found = connection.execute(text("SELECT id, change_hash FROM hints ORDER BY id")).all()
        drafted = connection.execute(text("SELECT draft_hash FROM hints ORDER BY id")).scalars().all()
    assert drafted == [name for _, name in found], "what the critic drafted is named by the same rule"
    assert [tuple(row) for row in found] == [(row["id"], hints.change_hash(row["current"])) for row in stored]
    assert sum(hashed != row["hash"] for (_, hashed), row in zip(found, stored, strict=True)) > 1200
    names = [hashed for _, hashed in found]
    assert all(first == second for first, second in zip(names[: 2 * len(CARDS) : 2], names[1 : 2 * len(CARDS) : 2], strict=True))
    assert len(set(names)) == len(CARDS) + 1200, "only equal edits have equal hashes"


def as_before(recipe: str) -> list[dict[str, Any]]:
    """One change as it was stored: without the fields that came later and the lists the other way round, and in full as of today."""
    change = CATALOGUE.recipe(recipe).example.change
    whole = change.model_dump(mode="json", by_alias=True)
    old = {name: value[::-1] if isinstance(value, list) and name in ("templates", "drop", "scope") else value for name, value in whole.items()}
    return [{name: value for name, value in old.items() if name not in ("settings", "drop") or value}, whole]


def hash_of_before(change: dict[str, Any]) -> str:
    edit = {name: value for name, value in change.items() if name not in ("cases", "look_alikes", "scores", "flips", "example", "cells")}
    return hashlib.sha256(json.dumps(edit, sort_keys=True).encode()).hexdigest()[:32]


CASE = """INSERT INTO cases (id, source, target, name, revision, content_hash, verdict, side, state, received_at, masked, attempts)
    VALUES ('c1', 's', 't', 'n', 1, '', 'rejected', 'dev', 'drafted', '2026-03-01 12:00:00', 0, 0)"""
HINT = """INSERT INTO hints (id, case_id, target, step, recipe, target_id, state, version, draft, current, content_hash, change_hash, findings,
    critic, rubric_version, cost, created_at) VALUES (:id, 'c1', 't', 'fetch', 'r', 'x', 'awaiting', 1, :current, :current, '', :hash, '[]', 'c', 'v', '{}',
    '2026-03-01 12:00:00')"""


def test_examples_of_before_get_the_record_that_their_plans_acted_on(empty: str, connector: Connector) -> None:
    """Or else a critic would be shown other cases of the same customer, as long as an older example is like the case."""
    config = config_for(empty)
    command.upgrade(config, "0003")
    two = [{"record_id": "a", "score": 3.0, "matched_fields": []}, {"record_id": "b", "score": 4.5, "matched_fields": []}]
    call = {"name": "send", "arguments": {"record_id": "r-called"}}
    plans: list[dict[str, Any]] = [
        {"trace": {"record": "r-traced"}, "tool_calls": [call]}, {"trace": {"record": None}, "tool_calls": [call], "fetch": two}, {"trace": {"record": 7}},
        {"trace": {"steps": []}, "tool_calls": [{"name": "x", "arguments": {"record_id": 7}}, call], "fetch": two}, {"fetch": two, "trace": None},
        {"fetch": [*two, {**two[1], "record_id": "c"}]}, {"fetch": two[:1]}, {},
    ]  # fmt: skip
    plans = [{"intent_path": ["cards", "lost"], **plan} for plan in plans * 130]  # more than two batches
    works: list[Any] = [{"plan": plan} for plan in plans] + [
        None,
        [],
        {},
        {"plan": {"fetch": [{"score": "x"}, 3], "tool_calls": [None, {"arguments": []}]}},
    ]
    rows = [{"case": f"c{number:05}", "hint": f"h{number:05}", "work": work} for number, work in enumerate(works)]
    with connector.begin() as connection:
        cases = text(CASE.replace("attempts)", "attempts, work)").replace("'c1'", ":case").replace("'n'", ":case").replace("0, 0)", "0, 0, :work)"))
        connection.execute(cases.bindparams(bindparam("work", type_=JSON)), rows)
        hint = text(
            HINT.replace(":id", ":hint")
            .replace("'c1'", ":case")
            .replace(":current", """'{"change": {"recipe": "one_off"}}'""")
            .replace(":hash", "''")
        )
        connection.execute(hint, rows)
        connection.execute(text(EXAMPLE), rows)
    command.upgrade(config, "head")
    with connector.connect() as connection:
        found = connection.execute(text("SELECT record FROM examples ORDER BY hint_id")).scalars().all()
    assert found[:8] == ["r-traced", "", "", "r-called", "b", "", "a", ""]
    assert found == [record_of(Plan.model_validate(plan)) for plan in plans] + 4 * [""]


EXAMPLE = """INSERT INTO examples (hint_id, case_id, target, side, comment, leaf, step, recipe, target_id, edited, fate, at)
    VALUES (:hint, :case, 't', 'dev', 'wrong person', 'cards/lost', 'fetch', 'r', 'x', false, 'confirmed', '2026-03-01 12:00:00')"""


def test_cases_of_the_version_before_have_lost_no_hidden_characters_and_it_can_still_write(new_database: Callable[..., str], tmp_path: Path) -> None:
    url = new_database()
    asked = Asked()
    db = Database(url, enqueue=asked)
    asked.prepare(db)
    world = World(db, small_ports(tmp_path))
    old, new = world.rejects("email postcode", "wrong\u200b person"), world.rejects("email postcode", "wrong\u200b\u200b person")
    world.runs()
    assert [hidden(db, case_id) for case_id in (old, new)] == [1, 2]
    before, kept = contents(db), facts(db)
    db.dispose()
    command.downgrade(config_for(url), "0002")
    db = Database(url)
    with db.begin() as session:  # as the version before writes, which knows nothing of the column
        assert "hidden" not in {column["name"] for column in inspect(session.connection()).get_columns("cases")}
    assert facts(db) == kept and contents(db) == before
    db.dispose()
    command.upgrade(config_for(url), "head")
    db = Database(url)
    assert [hidden(db, case_id) for case_id in (old, new)] == [0, 0] and facts(db) == kept and contents(db) == before
    with db.begin() as session:
        columns = ", ".join(sorted(COLUMNS_BEFORE - {"id", "name"}))
        row = f"INSERT INTO cases (id, name, {columns}) SELECT 'c-old', 'old', {columns} FROM cases WHERE id = '{old}'"
        session.connection().execute(text(row))
    assert hidden(db, "c-old") == 0
    db.dispose()


COLUMNS_BEFORE = set(SQLModel.metadata.tables["cases"].columns.keys()) - {"hidden", "waits", "delivery_id"}


def hidden(db: Database, case_id: str) -> int:
    with db.read() as session:
        return int(session.connection().execute(text("SELECT hidden FROM cases WHERE id = :id"), {"id": case_id}).scalar_one())


def facts(db: Database) -> list[tuple[Any, ...]]:
    with db.read() as session:
        columns = ", ".join(sorted(COLUMNS_BEFORE))
        return [tuple(str(value) for value in row) for row in session.connection().execute(text(f"SELECT {columns} FROM cases ORDER BY id"))]


def drafted(db: Database) -> list[tuple[str, float | None, str | None]]:
    with db.read() as session:
        return [tuple(row) for row in session.connection().execute(text("SELECT id, weight, draft_hash FROM hints ORDER BY id"))]  # type: ignore[misc]


def contents(db: Database) -> dict[str, int]:
    """table → its rows; 0 for one that is not there"""
    with db.read() as session:
        there = set(inspect(session.connection()).get_table_names())
        return {name: int(session.connection().execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one()) if name in there else 0 for name in OURS}


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

"""What is read of many hints at once: decisions by weight along one index, and the confirmed changes of a target."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import Session

from rubric.calibration import calibrate
from rubric.schema import Verdict
from service.db import Database
from service.lifecycle import DraftState, ReviewState
from service.store import cases, handoffs, hints, history
from tests.samples.small import small_brief, weight_hint
from tests.samples.world import World

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def add(db: Database, number: int, state: str = "confirmed", weight: float | None = 1.0, to: int = 1, **more: Any) -> str:
    """A hint for a case of its own, decided at the minute of its number."""
    draft = weight_hint(small_brief(), to=to).model_dump(mode="json", by_alias=True)
    columns: dict[str, Any] = {
        "id": f"h{number}", "case_id": f"c{number}", "target": "t", "step": "fetch", "recipe": "adjust_fetch_weight", "target_id": "fetch:postcode",
        "state": ReviewState(state), "draft": draft, "current": draft, "content_hash": "x", "change_hash": hints.change_hash(draft),
        "draft_hash": hints.change_hash(draft), "weight": weight, "critic": "a", "rubric_version": "r", "created_at": NOW + timedelta(minutes=number),
        "decided_at": None if state == "awaiting" else NOW + timedelta(minutes=number), **more,
    }  # fmt: skip
    with db.begin() as session:
        case = cases.CaseRow(
            id=f"c{number}", source="s", target="t", name=f"n{number}", revision=1, content_hash="x", verdict=Verdict.rejected, side="dev",
            state=DraftState.drafted, received_at=NOW,
        )  # fmt: skip
        history.begin(session, case, by="test")
        history.begin(session, hints.HintRow(**columns), by="test")
    return str(columns["id"])


def read(db: Database, limit: int = 2000, critic: str = "a", target: str = "t") -> list[tuple[float, bool]]:
    with db.read() as session:
        return hints.decided(session, target, critic, limit)


def test_what_was_confirmed_as_drafted_was_right(db: Database) -> None:
    add(db, 1, weight=0.1)
    add(db, 2, "dismissed", weight=0.2)
    add(db, 3, weight=0.3, draft_hash="another change")  # edited before it was confirmed
    add(db, 4, weight=0.4, draft_hash=None)  # of before there was this column, and edited
    add(db, 5, "awaiting", weight=0.5)
    add(db, 6, "stale", weight=0.6, decided_at=None)
    add(db, 7, weight=None)  # written by a process of the version before
    assert read(db) == [(0.4, False), (0.3, False), (0.2, False), (0.1, True)]


def test_a_duplicate_counts_as_the_hint_that_it_joined(db: Database) -> None:
    first, wrong, waits = add(db, 1), add(db, 2, "dismissed"), add(db, 3, "awaiting")
    add(db, 4, "duplicate", weight=0.4, duplicate_of=first)
    add(db, 5, "duplicate", weight=0.5, duplicate_of=first, to=2)  # a person said that it is the same; what was built is another change
    add(db, 6, "duplicate", weight=0.6, duplicate_of=wrong)
    add(db, 7, "duplicate", weight=0.7, duplicate_of=waits)
    assert read(db)[:3] == [(0.6, False), (0.5, False), (0.4, True)]
    top = add(db, 8, weight=0.8)  # the hint that others had joined was named a duplicate itself
    between = add(db, 9, "duplicate", weight=0.9, duplicate_of=top)
    add(db, 10, "duplicate", weight=0.1, duplicate_of=between)
    around = add(db, 11, "duplicate", weight=0.2, duplicate_of="h12")
    add(db, 12, "duplicate", weight=0.3, duplicate_of=around)  # which nobody can make here
    assert read(db)[:4] == [(0.1, True), (0.9, True), (0.8, True), (0.6, False)]


def test_each_critic_and_target_has_its_own_and_the_newest_count(db: Database) -> None:
    add(db, 1, weight=0.1)
    add(db, 2, weight=0.2, critic="b")
    add(db, 3, weight=0.3, target="other")
    add(db, 4, "dismissed", weight=0.4)
    assert read(db) == [(0.4, False), (0.1, True)] and read(db, limit=1) == [(0.4, False)]
    assert read(db, critic="b") == [(0.2, True)] and read(db, target="other") == [(0.3, True)] and read(db, critic="nobody") == []


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)  # the plan of Postgres depends on how many rows there are
def test_decisions_are_found_along_one_index(db: Database) -> None:
    """Of a hundred thousand hints a page reads the newest two thousand entries of an index, and of duplicates the hint they joined."""
    add(db, 1, "duplicate", duplicate_of=add(db, 2))
    listed, above = plans_of(db, lambda session: hints.decided(session, "t", "a", 2000))
    assert "USING COVERING INDEX ix_hints_decided (target=? AND critic=? AND decided_at>?)" in listed[0]
    assert "SEARCH hints USING INDEX" in above[0] and "(id=?)" in above[0]
    assert not [line for line in listed + above if "SCAN" in line or "TEMP B-TREE" in line]


def plans_of(db: Database, look: Callable[[Session], object]) -> list[list[str]]:
    """How SQLite would find what each statement of a look asks for."""
    sent: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    with db.read() as session:
        ask = session.connection().exec_driver_sql  # it has begun by now
        event.listen(db._reader, "before_cursor_execute", note)
        look(session)
        event.remove(db._reader, "before_cursor_execute", note)
        return [[row[3] for row in ask(f"EXPLAIN QUERY PLAN {statement}", parameters)] for statement, parameters in sent]


def test_confirmed_changes_are_found_newest_first(db: Database) -> None:
    add(db, 1, to=1)
    add(db, 2, to=9)
    add(db, 3, "awaiting")
    add(db, 4, "dismissed")
    add(db, 5, target="other")
    add(db, 6, recipe="add_fetch_query")
    with db.read() as session:
        found = hints.rules(session, "t", ["adjust_fetch_weight"])
        assert [(name, change.to) for name, change in found] == [("h2", 9), ("h1", 1)]  # type: ignore[union-attr]
        assert [name for name, _ in hints.rules(session, "t", ["adjust_fetch_weight"], limit=1)] == ["h2"]
        assert hints.rules(session, "t", []) == []


def test_what_came_to_nothing_is_no_rule(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.runs()
    with world.db.read() as session:
        assert handoffs.in_force(session, [("h9", 2), (hint.id, 1)]) == [(hint.id, 1)], "of h9 nothing is built"
        assert handoffs.in_force(session, []) == []
    world.closes(world.pull_of(hint.id).id)
    with world.db.read() as session:
        assert handoffs.in_force(session, [("h9", 2), (hint.id, 1)]) == []


def test_decisions_in_and_words_out(db: Database) -> None:
    for number in range(52):
        add(db, number, "dismissed" if number % 4 == 0 else "confirmed")
    found = calibrate(read(db), 1.0)
    assert (found.decisions, found.alike, found.right) == (52, 52, 39)

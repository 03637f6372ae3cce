"""Intake holds here: one row a revision, the same answer for the same message, the same end whatever the order, and nothing said too early."""

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import select

from connectors.webhooks import parse_case
from rubric.splits import Side, side
from service.db import Database
from service.errors import CaseConflict
from service.lifecycle import DraftState, ReviewState
from service.stages import intake
from service.stages.intake import Delivery, Desk, Receipt, accept
from service.store import cases, history, originals
from tests.samples.small import NOON
from tests.samples.world import World

SECRET = b"secret"


def document(name: str | None = "t-1", revision: int = 1, comment: str = "wrong person", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "revision": revision,
        "ticket": {"messages": [{"role": "customer", "text": "email postcode"}]},
        "plan": {"intent_path": ["cards", "lost"], "reply": "Hello"},
        "verdict": "rejected",
        "rejection": {"comment": comment, "by": "staff-1", "at": "2026-03-01T11:00:00Z"},
        **more,
    }
    return {"external_id": name, **found} if name else found


def delivery(delivery_id: str | None = None, source: str = "desk", **parts: Any) -> Delivery:
    return Delivery(source, "bank", parse_case(json.dumps(document(**parts)).encode()), NOON, delivery_id)


def rows(db: Database) -> list[cases.CaseRow]:
    with db.read() as session:
        return sorted(session.exec(select(cases.CaseRow)), key=lambda row: (row.name, row.revision))


def words(answers: list[Receipt | CaseConflict]) -> list[str]:
    return ["conflict" if isinstance(one, CaseConflict) else "new" if one.new else "duplicate" for one in answers]


def test_a_case_is_stored_once_with_its_original_and_its_side(db: Database) -> None:
    (receipt,) = accept(db, [delivery("d1")], SECRET)
    assert isinstance(receipt, Receipt) and receipt.new
    (row,) = rows(db)
    assert (row.id, row.state, row.name, row.delivery_id, row.work, row.leaf) == (receipt.case_id, DraftState.queued, "t-1", "d1", None, None)
    assert row.side == side("desk/t-1", SECRET)
    with db.read() as session:
        assert originals.bodies(session, [row.id])[row.id]["ticket"]["messages"] == document()["ticket"]["messages"]
        assert history.tallies(session, "cases") == {"queued": 1}


def test_the_same_message_gets_the_same_receipt(db: Database) -> None:
    first = accept(db, [delivery("d1")], SECRET)
    again = accept(db, [delivery("d1"), delivery("d2"), delivery()], SECRET)  # a retry, a new id, none at all
    assert words(again) == ["duplicate"] * 3
    assert {one.case_id for one in [*first, *again]} == {first[0].case_id}  # type: ignore[union-attr]
    assert len(rows(db)) == 1


def test_other_content_under_a_known_name_or_delivery_id_is_a_conflict(db: Database) -> None:
    accept(db, [delivery("d1"), delivery("d9", name="t-2")], SECRET)
    answers = accept(db, [delivery("d2", comment="else"), delivery("d1", name="t-3"), delivery("d1", comment="else")], SECRET)
    assert words(answers) == ["conflict"] * 3
    assert answers[0].details["revision"] == 1  # type: ignore[union-attr]
    assert [row.name for row in rows(db)] == ["t-1", "t-2"]


def test_sources_do_not_share_names_nor_delivery_ids(db: Database) -> None:
    answers = accept(db, [delivery("d1"), delivery("d1", source="other", comment="else")], SECRET)
    assert words(answers) == ["new", "new"]
    assert len({row.id for row in rows(db)}) == 2


def test_a_case_without_a_name_is_named_by_its_content(db: Database) -> None:
    answers = accept(db, [delivery(name=None), delivery(name=None), delivery(name=None, comment="else")], SECRET)
    assert words(answers) == ["new", "duplicate", "new"]


def test_a_batch_that_holds_one_case_twice_stores_it_once(db: Database) -> None:
    assert words(accept(db, [delivery("d1"), delivery("d2"), delivery("d3", revision=2), delivery("d4", revision=2)], SECRET)) == [
        "new", "duplicate", "new", "duplicate",
    ]  # fmt: skip
    assert [(row.revision, row.state) for row in rows(db)] == [(1, DraftState.stale), (2, DraftState.queued)]


def test_the_side_of_a_case_stays_with_all_its_revisions(db: Database) -> None:
    accept(db, [delivery(name=f"t-{n}", revision=revision) for n in range(40) for revision in (1, 2)], SECRET)
    sides: dict[str, set[str]] = {}
    for row in rows(db):
        sides.setdefault(row.name, set()).add(row.side)
    assert all(len(found) == 1 for found in sides.values())
    assert {next(iter(found)) for found in sides.values()} == {one.value for one in Side}


EVENTS = [("t-1", 1), ("t-1", 2), ("t-1", 3), ("t-2", 1), ("t-2", 5)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from(EVENTS), max_size=6), last=st.permutations(EVENTS), size=st.integers(1, 4), sweeps=st.booleans())
def test_order_and_repetition_leave_the_same_end(db: Database, order: list[Any], last: list[Any], size: int, sweeps: bool) -> None:
    with db.begin() as session:
        for table in ("originals", "cases", "history", "tallies", "asked"):
            session.connection().execute(text(f"DELETE FROM {table}"))
    events = [*order, *last]
    for start in range(0, len(events), size):
        accept(db, [delivery(name=name, revision=revision, comment=f"r{revision}") for name, revision in events[start : start + size]], SECRET)
        if sweeps:
            intake.sweep(db)
    assert [(row.name, row.revision, str(row.state)) for row in rows(db)] == [
        ("t-1", 1, "stale"), ("t-1", 2, "stale"), ("t-1", 3, "queued"), ("t-2", 1, "stale"), ("t-2", 5, "queued"),
    ]  # fmt: skip
    with db.read() as session:
        assert {one: number for one, number in history.tallies(session, "cases").items() if number} == {"queued": 2, "stale": 3}


def test_a_revision_makes_undecided_hints_stale_and_leaves_decided_ones(world: World) -> None:
    for name in ("open", "decided"):
        world.rejects("email postcode", "wrong person", name=name)
    world.runs()
    waiting, decided = (world.hint_of(intake.case_id_of("desk", name, 1)) for name in ("open", "decided"))
    world.dismisses(decided.id)
    for name in ("open", "decided"):
        world.rejects("email postcode", "wrong person, once more", name=name, revision=2)
    assert (world.hint(waiting.id).state, world.hint(decided.id).state) == (ReviewState.stale, ReviewState.dismissed)
    world.runs()
    assert world.hint_of(intake.case_id_of("desk", "open", 2)).state is ReviewState.awaiting


def test_fifty_threads_with_one_case_make_one_row(db: Database) -> None:
    start = threading.Barrier(50)

    def send(number: int) -> str:
        start.wait(30)
        return words(accept(db, [delivery(f"d{number}")], SECRET))[0]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert sorted(answers) == ["duplicate"] * 49 + ["new"]
    assert len(rows(db)) == 1


def test_revisions_that_come_at_once_leave_one_that_counts(db: Database) -> None:
    """Two processes that both believe theirs to be the newest would leave two drafts due."""
    start = threading.Barrier(8)

    def send(revision: int) -> None:
        for number in range(6):
            start.wait(30)
            accept(db, [delivery(name=f"t-{number}", revision=revision, comment=f"r{revision}")], SECRET)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(1, 9)))
    alive = [(row.name, row.revision) for row in rows(db) if row.state is not DraftState.stale]
    assert alive == [(f"t-{number}", 8) for number in range(6)]
    assert len(rows(db)) == 48


# ---- the desk


def test_the_desk_answers_only_after_the_commit(db: Database) -> None:
    desk = Desk(db, SECRET, nudge=lambda: None)
    seen: list[int] = []
    futures: list[Future[Any]] = []
    for number in range(30):
        future = desk.submit(delivery(f"d{number}", name=f"t-{number}"))
        future.add_done_callback(lambda _: seen.append(len(rows(db))))
        futures.append(future)
    assert words([future.result(30) for future in futures]) == ["new"] * 30
    desk.close()
    assert all(found >= place for place, found in enumerate(seen, start=1)), seen


def test_an_error_of_the_database_is_that_delivery_s_and_no_other_s(db: Database) -> None:
    """A row that the database refuses: the neighbours of its batch are stored all the same."""
    trigger = {
        True: ["CREATE TRIGGER no BEFORE INSERT ON cases WHEN NEW.name = 'poison' BEGIN SELECT RAISE(FAIL, 'no'); END"],
        False: [
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.name = ''poison'' THEN RAISE ''no''; END IF; RETURN NEW; END'",
            "CREATE TRIGGER no BEFORE INSERT ON cases FOR EACH ROW EXECUTE FUNCTION no()",
        ],
    }[db.is_sqlite]
    with db.begin() as session:
        for statement in trigger:
            session.connection().execute(text(statement))
    desk = Desk(db, SECRET, nudge=lambda: None)
    futures = {name: desk.submit(delivery(name=name)) for name in ("t-1", "poison", "t-2", "t-3")}
    desk.close()
    assert isinstance(futures.pop("poison").exception(30), Exception)
    assert words([future.result(30) for future in futures.values()]) == ["new"] * 3
    assert [row.name for row in rows(db)] == ["t-1", "t-2", "t-3"]


def test_a_database_that_is_gone_is_told_and_then_works_again(db: Database) -> None:
    desk = Desk(db, SECRET, nudge=lambda: None)
    with db.begin() as session:
        session.connection().execute(text("ALTER TABLE cases RENAME TO away"))
    with pytest.raises(Exception, match="cases"):
        desk.submit(delivery("d1")).result(30)
    with db.begin() as session:
        session.connection().execute(text("ALTER TABLE away RENAME TO cases"))
    assert words([desk.submit(delivery("d1")).result(30)]) == ["new"]
    desk.close()


def test_the_desk_gathers_who_came_together_and_a_lone_sender_never_waits(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LINGER", 60)
    commits: list[int] = []
    desk = Desk(db, SECRET, nudge=lambda: None)
    plain = desk._commit
    monkeypatch.setattr(desk, "_commit", lambda batch: (commits.append(len(batch)), plain(batch)))
    desk.submit(delivery("d0", name="t-0")).result(10)  # lone: answered although the wait is longer than our patience
    monkeypatch.setattr(intake, "LINGER", 1)
    with db.begin() as session:
        session.connection().execute(text("UPDATE tallies SET number = number"))  # the next commit waits for us
        futures = [desk.submit(delivery("d1", name="t-1"))]
        while len(commits) < 2:
            time.sleep(0.001)
        futures += [desk.submit(delivery(f"d{number}", name=f"t-{number}")) for number in (2, 3)]
    while commits[:3] != [1, 1, 2]:
        time.sleep(0.001)
    futures += [desk.submit(delivery("d4", name="t-4"))]  # now three are known to be at it: the group waits for all of them
    time.sleep(0.05)
    assert len(commits) == 3
    futures += [desk.submit(delivery(f"d{number}", name=f"t-{number}")) for number in (5, 6)]
    assert words([future.result(10) for future in futures]) == ["new"] * 6
    desk.close()
    assert commits == [1, 1, 2, 3]


def test_a_connection_that_died_between_two_commits_costs_nobody_an_answer(db: Database) -> None:
    """A Postgres connection in use is not asked whether it lives before each commit."""
    desk = Desk(db, SECRET, nudge=lambda: None)
    assert words([desk.submit(delivery("d1")).result(30)]) == ["new"]
    if not db.is_sqlite:
        other = Database(db.url)
        with other.begin() as session:
            ours = "pid <> pg_backend_pid() AND datname = current_database()"
            session.connection().execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"))
        other.dispose()
    assert words([desk.submit(one).result(30) for one in (delivery("d2", name="t-2"), delivery("d1"))]) == ["new", "duplicate"]
    desk.close()


def test_a_sender_that_hangs_up_or_a_nudge_that_fails_does_not_stop_the_desk(db: Database) -> None:
    def nudge() -> None:
        raise RuntimeError("the clock has stopped")

    desk = Desk(db, SECRET, nudge=nudge)
    with db.begin():  # on SQLite the desk waits behind us, so that there is time to hang up
        futures = [desk.submit(delivery(name=f"t-{number}")) for number in range(6)]
        for future in futures[1::2]:
            future.cancel()
    later = desk.submit(delivery(name="later"))
    assert words([later.result(30)]) == ["new"]
    desk.close()
    assert {f"t-{number}" for number in (0, 2, 4)} <= {row.name for row in rows(db)}


# ---- sweep and mask


def test_the_sweep_takes_up_each_case_once(db: Database) -> None:
    accepted = delivery(name="ok", verdict="accepted", rejection=None)
    accept(db, [delivery(name="a"), delivery(name="b"), accepted], SECRET)
    assert intake.sweep(db) == 3
    assert intake.sweep(db) == 0
    flows = db.enqueue.flows(db)  # type: ignore[union-attr]
    assert sorted(flow for flow, _ in flows) == ["draft", "draft", "mask"]


def test_masking_twice_is_masking_once(db: Database) -> None:
    (receipt,) = accept(db, [delivery()], SECRET)
    assert isinstance(receipt, Receipt)
    intake.mask(db, [receipt.case_id, "nobody"])
    (first,) = rows(db)
    intake.mask(db, [receipt.case_id])
    (again,) = rows(db)
    assert first.redacted_at == again.redacted_at and first.leaf == "cards/lost" and first.comment == "wrong person"


# ---- hidden characters

HIDING: dict[str, Any] = {
    "ticket": {
        "messages": [{"role": "customer", "text": "I am An\u200dna Ho\u200blt\u202e"}],
        "known_values": {"name": "Anna Holt"},
    },
    "comment": "wrong\u00ad person",
}  # fmt: skip


def test_a_name_that_hidden_characters_split_is_masked_and_they_are_counted(db: Database) -> None:
    dirty, plain = (accept(db, [delivery(name=name, **parts)], SECRET)[0] for name, parts in (("dirty", HIDING), ("plain", {})))
    assert isinstance(dirty, Receipt) and isinstance(plain, Receipt)
    intake.mask(db, [dirty.case_id, plain.case_id])
    found = {row.name: row for row in rows(db)}
    row = found["dirty"]
    assert row.work is not None and row.work["ticket"]["messages"][0]["text"] == "I am <NAME_1A> <NAME_1B>"
    assert (row.comment, row.hidden) == ("wrong person", 4) and row.masked
    assert found["plain"].hidden == 0 and row.comment_key == found["plain"].comment_key
    with db.read() as session:
        stored = originals.bodies(session, [row.id])[row.id]
    assert stored["ticket"]["messages"] == HIDING["ticket"]["messages"] and stored["rejection"]["comment"] == HIDING["comment"]


def test_hidden_characters_make_another_message_although_nobody_sees_the_difference(db: Database) -> None:
    """What counts as the same message is decided on what was sent, to the byte."""
    answers = accept(db, [delivery(comment="wrong person"), delivery(comment="wrong\u200b person"), delivery(comment="wrong person")], SECRET)
    assert words(answers) == ["new", "conflict", "duplicate"]
    again = accept(db, [delivery(name="t-2", comment="wrong\u200b person"), delivery(name="t-2", comment="wrong\u200b person")], SECRET)
    assert words(again) == ["new", "duplicate"]


def test_a_comment_of_hidden_characters_alone_is_no_comment(db: Database) -> None:
    (receipt,) = accept(db, [delivery(comment="\u200b\u2060")], SECRET)
    assert isinstance(receipt, Receipt)
    intake.mask(db, [receipt.case_id])
    (row,) = rows(db)
    assert (row.comment, row.comment_key, row.hidden) == (None, None, 2)

"""Joining holds here: only what still leads somewhere can be joined, who joins late is followed up too, and two decisions at once agree."""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from psycopg.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from connectors.ports import TreeRun
from connectors.scripted import ScriptedAgent
from service import grouping
from service.db import Database
from service.errors import GroupChanged, IllegalMove, NotConfirmable, TriageError
from service.lifecycle import HandoffState, OutcomeState, PullState, ReviewState
from service.stages import gate, handoff, outcome
from service.stages.gate import Choice
from service.store import examples, handoffs, hints, history, outcomes, pulls
from tests.samples.world import World


def rows_of(world: World, number: int = 4) -> list[hints.HintRow]:
    """Hints with one and the same change, oldest first."""
    made = []
    for place in range(number):
        case_id = world.rejects("email postcode", f"wrong person {place}", name=f"m{place}")
        made.append(world.runs().hint_of(case_id))
    return made


def decides(world: World, rows: list[hints.HintRow], leader: str | None = None, by: str = "gwen") -> list[hints.HintRow]:
    choices = [Choice(row.id, row.version) for row in rows]
    return gate.decide_group(world.db, world.ports, rows[0].change_hash, leader=leader or rows[0].id, choices=choices, by=by)


def a_group(world: World, row: hints.HintRow) -> grouping.Group:
    with world.db.read() as session:
        return grouping.group(session, row.change_hash, ["bank"])


def states(world: World, rows: list[hints.HintRow]) -> list[str]:
    return [str(world.hint(row.id).state) for row in rows]


def cures(world: World, hint_id: str) -> list[str]:
    with world.db.read() as session:
        return hints.duplicate_ids(session, hint_id)


def gave_up(world: World, rows: list[hints.HintRow]) -> None:
    able = world.ports.agent
    world.with_ports(agent=ScriptedAgent(lambda job, tree: TreeRun("gave_up", "was_differs: it says 4")))
    world.confirms(rows[0].id)
    world.runs().with_ports(agent=able)


def closed(world: World, rows: list[hints.HintRow]) -> None:
    world.confirms(rows[0].id)
    world.closes(world.runs().pull_of(rows[0].id).id)


ENDS: dict[str, Callable[[World, list[hints.HintRow]], None]] = {"gave up": gave_up, "closed": closed}


@pytest.mark.parametrize("end", ENDS)
def test_what_came_to_nothing_is_not_joined_and_another_one_is_confirmed(world: World, end: str) -> None:
    rows = rows_of(world)
    ENDS[end](world, rows)
    found = a_group(world, rows[0])
    assert (found.count, found.confirmed, found.leader) == (3, None, rows[1].id)
    with pytest.raises(GroupChanged, match="nothing is built from it any more"):
        decides(world, rows[1:], leader=rows[0].id)
    with pytest.raises(GroupChanged, match="nothing is built from it any more"):
        decides(world, rows)
    decides(world, rows[:1])  # a late double click
    decides(world, rows[1:3])
    assert states(world, rows) == ["confirmed", "confirmed", "duplicate", "awaiting"]
    assert (found := a_group(world, rows[0])).confirmed and found.confirmed.id == rows[1].id
    with pytest.raises(NotConfirmable, match=rows[1].id):
        world.confirms(rows[3].id)
    decides(world, rows[3:], leader=rows[1].id)
    world.merges(world.runs().pull_of(rows[1].id).id)
    world.runs()
    assert [world.story(row.case_id)["outcome_of_fix"] for row in rows] == [None, "cured", "cured", "cured"]


def test_a_blocked_or_built_one_is_still_joined(world: World) -> None:
    rows = rows_of(world)
    world.confirms(rows[0].id)
    with world.db.begin() as session:
        history.move(session, handoffs.of_hint(session, rows[0].id)[0], HandoffState.blocked, by="test")
    decides(world, rows[1:2], leader=rows[0].id)
    with world.db.begin() as session:
        history.move(session, handoffs.of_hint(session, rows[0].id)[0], HandoffState.working, by="test")
    world.reopen("handoff", world.handoff_of(rows[0].id).id)
    decides(world, rows[2:3], leader=rows[0].id)
    with world.db.begin() as session:
        history.move(session, pulls.of_hint(session, rows[0].id)[0], PullState.frozen, by="test")
    decides(world, rows[3:], leader=rows[0].id)
    assert states(world, rows) == ["confirmed"] + ["duplicate"] * 3


def test_work_is_not_tried_again_where_another_one_took_its_place(world: World) -> None:
    """Else one change would have two pulls, which fight over the base branch."""
    rows = rows_of(world, 2)
    gave_up(world, rows)
    work = world.handoff_of(rows[0].id).id
    world.confirms(rows[1].id)
    with pytest.raises(IllegalMove, match=rows[1].id):
        handoff.retry(world.db, work, by="gwen")
    world.undoes(rows[1].id)
    assert handoff.retry(world.db, work, by="gwen").state is HandoffState.working


def fates(world: World, hint_id: str) -> dict[str, OutcomeState]:
    with world.db.read() as session:
        return {row.hint_id: row.state for row in outcomes.of_pull(session, pulls.of_hint(session, hint_id)[-1].id)}


@pytest.mark.parametrize("way", ["group", "duplicate"])
def test_who_joins_after_the_merge_is_followed_up_with_his_own(world: World, way: str) -> None:
    rows = rows_of(world)
    world.marks_duplicate(rows[2].id, of=rows[1].id)
    world.confirms(rows[0].id)
    world.merges(world.runs().pull_of(rows[0].id).id)
    world.runs()
    assert fates(world, rows[0].id) == {rows[0].id: OutcomeState.cured}
    for _ in range(2):  # a double click is one decision
        if way == "group":
            decides(world, [rows[1], rows[3]], leader=rows[0].id)
        else:
            for one in (rows[1], rows[3]):
                world.marks_duplicate(one.id, of=rows[0].id)
    assert [fates(world, rows[0].id)[row.id] for row in rows[1:]] == [OutcomeState.watching] * 3
    world.runs()
    assert [world.story(row.case_id)["outcome_of_fix"] for row in rows] == ["cured"] * 4
    with world.db.read() as session:
        assert [examples.get(session, row.id).fate for row in rows] == ["merged"] * 4  # type: ignore[union-attr]
    assert len([one for one in world.asked.flows(world.db) if one[0] == "learn"]) == (2 if way == "group" else 3)
    world.undoes(rows[3].id)
    world.marks_duplicate(rows[3].id, of=rows[0].id)
    world.runs()
    assert len(fates(world, rows[0].id)) == 4 and world.broken == []


def test_what_joins_a_pull_that_was_not_needed_any_more_is_followed_up(world: World) -> None:
    rows = rows_of(world, 2)
    world.confirms(rows[0].id)
    pull = world.runs().pull_of(rows[0].id)
    world.merges(pull.id)
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 2}}\n'})  # type: ignore[attr-defined]
    world.runs()
    assert world.pull(pull.id).state is PullState.closed and a_group(world, rows[0]).leader == rows[0].id
    decides(world, rows[1:], leader=rows[0].id)
    world.runs()
    assert world.story(rows[1].case_id)["outcome_of_fix"] == "cured"


def test_two_hints_of_one_case_on_one_pull_have_one_outcome(world: World) -> None:
    rows = rows_of(world, 2)
    with world.db.begin() as session:
        row = hints.needed(session, rows[1].id)
        row.case_id = rows[0].case_id
    decides(world, rows)
    world.merges(world.runs().pull_of(rows[0].id).id)
    world.runs()
    assert fates(world, rows[0].id) == {rows[0].id: OutcomeState.cured} and world.broken == []


def test_undo_puts_duplicates_back_to_the_one_that_they_were_named_for(world: World) -> None:
    """Else they would hang on a hint that nobody has decided on, and a pull would say too few."""
    rows = rows_of(world)
    world.marks_duplicate(rows[3].id, of=rows[2].id)
    world.time += timedelta(minutes=1)
    decides(world, rows[:3])
    assert set(cures(world, rows[0].id)) == {row.id for row in rows[1:]}
    world.undoes(rows[0].id)
    assert states(world, rows) == ["awaiting", "awaiting", "awaiting", "duplicate"] and cures(world, rows[0].id) == []
    world.dismisses(rows[0].id)
    decides(world, [rows[2], rows[1]])
    pull = world.runs().pull_of(rows[2].id)
    assert "cures 3 rejections" in pull.body
    assert [one["id"] for one in world.story(rows[3].case_id)["pulls"]] == [pull.id]
    world.merges(pull.id)
    world.runs()
    assert [world.story(row.case_id)["outcome_of_fix"] for row in rows] == [None, "cured", "cured", "cured"]


# ---- two decisions at once: one is held up while the other one stands open


def meanwhile(world: World, held: str, move: Callable[[object], object], call: Callable[[], object]) -> str:
    """What becomes of a call that begins while another transaction holds a hint and then moves things."""
    said: list[str] = []

    def run() -> None:
        try:
            call()
            said.append("done")
        except TriageError as error:
            said.append(f"{error.code}: {error}")

    thread = threading.Thread(target=run, daemon=True)
    with world.db.begin() as session:
        hints.hold(session, [held])
        thread.start()
        until_held_up(world.db, thread)
        move(session)
    thread.join(30)
    assert not thread.is_alive() and said, "the call never ended, or broke"
    return said[0]


def until_held_up(db: Database, thread: threading.Thread) -> None:
    """Wait until the thread waits for another transaction: for a lock of Postgres, or for its turn to write to SQLite."""
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        if db.is_sqlite:
            frame = sys._current_frames().get(thread.ident or 0)
            waits = frame is not None and frame.f_code is Database._writer.__wrapped__.__code__  # type: ignore[attr-defined]
        else:
            with db.read() as session:
                waits = bool(session.connection().execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())
        if waits:
            return
        time.sleep(0.01)
    raise AssertionError("the call was not held up")


def is_held(db: Database, hint_id: str) -> bool:
    """Whether somebody else who wants to decide on a hint would have to wait."""
    if db.is_sqlite:
        return db._lock.locked()
    try:
        with db.begin() as session:
            session.connection().execute(text("SELECT id FROM hints WHERE id = :id FOR UPDATE NOWAIT"), {"id": hint_id}).one()
    except OperationalError as error:
        assert isinstance(error.orig, LockNotAvailable)
        return True
    return False


def test_nobody_becomes_a_duplicate_of_what_is_becoming_one(world: World) -> None:
    rows = rows_of(world, 3)

    def joins(session: object) -> None:
        history.move(session, hints.needed(session, rows[1].id), ReviewState.duplicate, by="tom", duplicate_of=rows[0].id)  # type: ignore[arg-type]

    said = meanwhile(world, rows[1].id, joins, lambda: world.marks_duplicate(rows[2].id, of=rows[1].id))
    assert said == f"unprocessable: {rows[1].id} is a duplicate itself, of {rows[0].id}"
    assert states(world, rows) == ["awaiting", "duplicate", "awaiting"]


def test_a_duplicate_that_is_just_taken_back_stays_so(world: World) -> None:
    rows = rows_of(world, 4)
    world.marks_duplicate(rows[3].id, of=rows[2].id)

    def back(session: object) -> None:
        history.move(session, hints.needed(session, rows[3].id), ReviewState.awaiting, by="tom", duplicate_of=None)  # type: ignore[arg-type]

    assert meanwhile(world, rows[3].id, back, lambda: decides(world, rows[:3])) == "done"
    left = world.hint(rows[3].id)
    assert (left.state, left.duplicate_of) == (ReviewState.awaiting, None)
    assert cures(world, rows[0].id) == sorted([rows[1].id, rows[2].id])


def test_who_joins_at_the_moment_of_the_merge_is_not_lost(world: World) -> None:
    rows = rows_of(world, 2)
    world.confirms(rows[0].id)
    pull = world.runs().pull_of(rows[0].id)
    world.merges(pull.id)

    def merges(session: object) -> None:
        outcome._watch(session, world.db, pulls.get(session, pull.id))  # type: ignore[arg-type]
        history.move(session, pulls.get(session, pull.id), PullState.merged, by="tom", merged_sha="0" * 40, merged_at=world.db.now())  # type: ignore[arg-type]

    assert meanwhile(world, rows[0].id, merges, lambda: decides(world, rows[1:], leader=rows[0].id)) == "done"
    assert set(fates(world, rows[0].id)) == {row.id for row in rows}


def test_a_duplicate_that_arrives_while_its_hint_is_waited_for_is_held_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(world, 3)
    world.confirms(rows[0].id)
    hold, held = hints.hold, list[bool]()

    def holds(session: Session, hint_ids: Iterable[str]) -> None:
        hold(session, hint_ids)
        held.extend(is_held(world.db, row.id) for row in rows)

    def takes_back() -> None:
        monkeypatch.setattr(hints, "hold", holds)
        world.undoes(rows[0].id)

    def joins(session: object) -> None:
        history.move(
            session, hints.needed(session, rows[1].id), ReviewState.duplicate, by="tom", duplicate_of=rows[0].id, decided_at=world.db.now()  # type: ignore[arg-type]
        )  # fmt: skip

    assert meanwhile(world, rows[0].id, joins, takes_back) == "done"
    assert held == [True, True, world.db.is_sqlite]  # SQLite has one writer at a time
    assert states(world, rows) == ["awaiting"] * 3

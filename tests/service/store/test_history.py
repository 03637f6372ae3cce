"""The one place that changes a state holds here: legal moves only, one winner, and what follows in the same transaction."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from rubric.schema import Verdict
from service.db import Database
from service.errors import IllegalMove
from service.lifecycle import FOLLOWS, MOVES, DraftState, HandoffState, PullState, ReviewState, may_move
from service.store import cases, handoffs, hints, history, reviews
from tests.samples.world import World

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def add_case(db: Database, name: str = "c1", state: DraftState = DraftState.queued) -> None:
    with db.begin() as session:
        row = cases.CaseRow(
            id=name,
            source="s",
            target="t",
            name=name,
            revision=1,
            content_hash="x",
            verdict=Verdict.rejected,
            side="dev",
            state=state,
            received_at=NOW,
        )
        history.begin(session, row, by="test")


def move(db: Database, to: DraftState, name: str = "c1", why: str = "") -> bool:
    with db.begin() as session:
        row = cases.get(session, name)
        assert row
        return history.move(session, row, to, by="tester", why=why, reason="because")


def state(db: Database, name: str = "c1") -> tuple[str, list[tuple[str | None, str]]]:
    with db.read() as session:
        row = cases.get(session, name)
        assert row
        return str(row.state), [(one.state_from, one.state_to) for one in history.of(session, "cases", name)]


def test_a_legal_move_writes_who_when_why_and_the_columns_beside_it(db: Database) -> None:
    add_case(db)
    assert move(db, DraftState.abstained, why="nothing to mend") is True
    assert state(db) == ("abstained", [(None, "queued"), ("queued", "abstained")])
    with db.read() as session:
        last = history.of(session, "cases", "c1")[-1]
        row = cases.get(session, "c1")
        assert last and row and (last.by, last.why, row.reason) == ("tester", "nothing to mend", "because")


def test_a_repeated_move_is_nothing_and_an_illegal_one_changes_nothing(db: Database) -> None:
    add_case(db)
    move(db, DraftState.drafted)
    assert move(db, DraftState.drafted) is False
    with pytest.raises(IllegalMove) as caught:
        move(db, DraftState.queued)
    assert caught.value.status == 409 and caught.value.details == {"state": "drafted"}
    assert state(db) == ("drafted", [(None, "queued"), ("queued", "drafted")])


def test_every_move_is_as_the_list_says(db: Database) -> None:
    for number, (start, to) in enumerate([(start, to) for start in DraftState for to in DraftState]):
        add_case(db, f"c{number}", start)
        if start is to:
            assert move(db, to, f"c{number}") is False
        elif may_move(start, to):
            assert move(db, to, f"c{number}") is True
        else:
            with pytest.raises(IllegalMove):
                move(db, to, f"c{number}")


def test_no_machine_mixes_with_another() -> None:
    assert not may_move(DraftState.stale, ReviewState.stale)
    assert set(MOVES) == {type(state) for _, state in FOLLOWS} | set(MOVES)
    for enum, moves in MOVES.items():
        assert set(moves) == set(enum)


def test_of_two_sessions_exactly_one_wins(db: Database) -> None:
    """Both have read the thing before either writes: the guard in the update decides, not the look before it."""
    answers: Counter[str] = Counter()
    for number in range(8):
        name = f"c{number}"
        add_case(db, name)
        with db.read() as session:
            seen = [cases.get(session, name)]
            session.expunge_all()
            seen.append(cases.get(session, name))
            session.expunge_all()
        gate = threading.Barrier(2)

        def decide(row: cases.CaseRow | None, to: DraftState, gate: threading.Barrier = gate) -> str:
            gate.wait(30)
            try:
                with db.begin() as session:
                    session.add(row)
                    history.move(session, row, to, by=str(to))
                return "won"
            except IllegalMove:
                return "lost"

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(decide, seen, [DraftState.drafted, DraftState.abstained]))
        answers.update(results)
        assert sorted(results) == ["lost", "won"], results
        assert len(state(db, name)[1]) == 2
    assert answers == {"won": 8, "lost": 8}


def test_what_follows_commits_and_vanishes_with_the_move(world: World) -> None:
    """The loss that matters: a decision without its flow, or a flow without its decision."""
    case_id = world.rejects("email postcode", "wrong person")
    world.runs().confirms(world.hint_of(case_id).id)
    handoff = world.handoff_of(world.hint_of(case_id).id)
    asked = world.asked.flows(world.db)
    assert asked.count(("handoff", handoff.id)) == 1
    with pytest.raises(RuntimeError), world.db.begin() as session:
        row = handoffs.get(session, handoff.id)
        history.move(session, row, HandoffState.working, by="x")
        history.enqueue(session, "handoff", "other", "1")
        raise RuntimeError
    assert world.asked.flows(world.db) == asked
    assert world.handoff_of(handoff.hint_id).state is HandoffState.waiting


def test_opposite_decisions_at_once_do_not_wait_for_each_other_for_ever(world: World) -> None:
    """Confirming touches hints, then handoffs; taking back the other way round. Tallies must not make a deadlock of it."""
    first, second = (world.rejects("email postcode", f"wrong person {n}") for n in (1, 2))
    world.runs()
    world.confirms(world.hint_of(first).id)
    start = threading.Barrier(2)

    def forth() -> None:
        with world.db.begin() as session:
            row = hints.get(session, world_hint)
            history.move(session, row, ReviewState.dismissed, by="a")
            if not world.db.is_sqlite:
                start.wait(30)
            history.move(session, handoffs.of_hint(session, confirmed)[0], HandoffState.withdrawn, by="a")

    def back() -> None:
        with world.db.begin() as session:
            history.begin(session, _handoff(session, confirmed), by="b")
            if not world.db.is_sqlite:
                start.wait(30)
            history.move(session, hints.get(session, confirmed), ReviewState.awaiting, by="b")

    world_hint, confirmed = world.hint_of(second).id, world.hint_of(first).id
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(forth), pool.submit(back)]:
            one.result(timeout=60)
    recount(world.db)


def _handoff(session: object, hint_id: str) -> handoffs.Handoff:
    row = hints.get(session, hint_id)  # type: ignore[arg-type]
    assert row
    review = reviews.add(
        session,  # type: ignore[arg-type]
        reviews.Review(hint_id=row.id, verdict="confirm", hint_version=1, hint_hash=row.content_hash, text=row.current, by="b", at=NOW),
    )
    return handoffs.Handoff(
        id="another", hint_id=row.id, review_seq=review.seq or 0, hint_hash=row.content_hash, target="bank", state=HandoffState.waiting, due_at=NOW
    )


def recount(db: Database) -> None:
    """The kept numbers are those that counting gives."""
    with db.read() as session:
        for table in ("cases", "hints", "handoffs", "gate_runs", "pulls", "outcomes"):
            counted = {one: number for one, number in session.connection().execute(text(f"SELECT state, COUNT(*) FROM {table} GROUP BY state"))}
            kept = {one: number for one, number in history.tallies(session, table).items() if number}
            assert kept == counted, table


MOVE = st.tuples(st.sampled_from([f"c{n}" for n in range(4)]), st.sampled_from(list(DraftState)), st.booleans())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MOVE, max_size=12))
def test_tallies_are_what_counting_gives(db: Database, moves: list[tuple[str, DraftState, bool]]) -> None:
    """Whatever is tried, allowed or not, kept or rolled back."""
    with db.begin() as session:
        for table in ("cases", "history", "tallies"):
            session.connection().execute(text(f"DELETE FROM {table}"))
    for number in range(4):
        add_case(db, f"c{number}")
    for name, to, keep in moves:
        try:
            with db.begin() as session:
                row = cases.get(session, name)
                history.move(session, row, to, by="x")
                if not keep:
                    raise RuntimeError
        except (IllegalMove, RuntimeError):
            pass
    recount(db)


def test_raw_sql_cannot_hand_over_what_nobody_approved(world: World) -> None:
    """P17: the database itself refuses a handoff without its review row, whoever writes it."""
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    insert = text(
        "INSERT INTO handoffs (id, hint_id, review_seq, hint_hash, target, state, due_at, attempt, violations) "
        "VALUES ('x', :hint, :review, 'h', 'bank', 'waiting', '2026-03-01 00:00:00', 0, '[]')"
    )
    for review in (4711, None):
        with pytest.raises(IntegrityError, match=r"(?i)foreign key|not.null"), world.db.begin() as session:
            session.connection().execute(insert, {"hint": hint.id, "review": review})
    world.dismisses(hint.id)
    with world.db.begin() as session:  # the very same statement with a review row is taken: nothing else stood in its way
        (review_row,) = reviews.of_hint(session, hint.id)
        session.connection().execute(insert, {"hint": hint.id, "review": review_row.seq})
    with pytest.raises(IntegrityError), world.db.begin() as session:  # and the approval cannot go away from under it
        session.connection().execute(text("DELETE FROM reviews"))


def test_one_review_is_one_handoff(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    world.runs().confirms(world.hint_of(case_id).id)
    handoff = world.handoff_of(world.hint_of(case_id).id)
    with pytest.raises(IntegrityError), world.db.begin() as session:
        copy = handoffs.Handoff.model_validate(handoff.model_dump())
        copy.id = "again"
        history.begin(session, copy, by="x")


def test_what_stands_still_is_found_by_its_last_move(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    world.runs().confirms(world.hint_of(case_id).id)
    world.runs()
    pull = world.pull_of(world.hint_of(case_id).id)
    with world.db.read() as session:
        moved = history.of(session, "pulls", pull.id)[-1]
        assert moved and not history.standing(session, type(pull), PullState.ready, moved.at)
        assert [one.id for one in history.standing(session, type(pull), PullState.ready, datetime.now(UTC))] == [pull.id]

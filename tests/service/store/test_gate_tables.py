"""What the gate remembers holds here: waivers of a head, noise until it expires, results by content, and how far a run has got."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from service.db import Database
from service.lifecycle import GateState
from service.store import gate_runs, history, pulls, row_noise, suite_results, waivers
from tests.samples.small import NOON
from tests.samples.world import World

WEEK = timedelta(days=7)


@pytest.fixture
def pull(world: World) -> pulls.Pull:
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    return world.runs().pull_of(hint.id)


def waive(db: Database, pull: pulls.Pull, row: str, head: str = "h1", reason: str = "known") -> None:
    with db.begin() as session:
        waivers.add(session, waivers.Waiver(pull_id=pull.id, head_sha=head, suite="s", row=row, reason=reason, by="gwen", at=NOON))


def test_a_waiver_holds_for_its_head_and_stands_once(db: Database, pull: pulls.Pull) -> None:
    waive(db, pull, "r1")
    waive(db, pull, "r1", head="h2", reason="known too")
    waive(db, pull, "r2")
    with pytest.raises(IntegrityError):
        waive(db, pull, "r1")
    with db.read() as session:
        assert waivers.on_head(session, pull.id, "h1") == {"s": {"r1": "known", "r2": "known"}}
        assert waivers.on_head(session, pull.id, "h2") == {"s": {"r1": "known too"}}
        assert waivers.on_head(session, pull.id, "h3") == {} and waivers.on_head(session, "other", "h1") == {}


def test_a_pull_takes_its_waivers_along(db: Database, pull: pulls.Pull) -> None:
    waive(db, pull, "r1")
    with db.begin() as session:
        session.delete(session.get_one(pulls.Pull, pull.id))
    with db.read() as session:
        assert waivers.of_pull(session, pull.id) == []


def test_noise_is_replaced_suite_by_suite_and_expires(db: Database) -> None:
    with db.begin() as session:
        row_noise.replace(session, "bank", "s", {"a": (3, 8), "gone": (1, 8)}, NOON, NOON + WEEK)
        row_noise.replace(session, "bank", "t", {"a": (4, 8)}, NOON, NOON + WEEK)
        row_noise.replace(session, "shop", "s", {"a": (5, 8)}, NOON, NOON + WEEK)
        row_noise.replace(session, "bank", "s", {"a": (2, 8)}, NOON, NOON + WEEK)
    with db.read() as session:
        assert [(one.suite, one.row, one.passes) for one in row_noise.standing(session, "bank", NOON)] == [("s", "a", 2), ("t", "a", 4)]
        assert row_noise.standing(session, "bank", NOON + WEEK) == []
        assert row_noise.standing(session, "bank", NOON + WEEK - timedelta(seconds=1))
    with db.begin() as session:
        row_noise.forget(session, "bank", ["t"])
        assert [one.suite for one in row_noise.standing(session, "bank", NOON)] == ["t"] and row_noise.standing(session, "shop", NOON)


def test_a_result_is_there_until_it_expires_and_the_newest_stays(db: Database) -> None:
    rows = [{"row": "r", "passed": True, "score": None}]
    with db.begin() as session:
        suite_results.put(session, "ever", rows, 2.5, NOON, None)
        suite_results.put(session, "week", [], 1.0, NOON, NOON + WEEK)
        suite_results.put(session, "week", rows, 3.0, NOON, NOON + WEEK)
    with db.read() as session:
        kept = suite_results.get(session, "week", NOON)
        assert kept and (kept.rows, kept.seconds) == (rows, 3.0)
        assert suite_results.get(session, "week", NOON + WEEK) is None and suite_results.get(session, "never", NOON) is None
        assert suite_results.get(session, "ever", NOON + 1000 * WEEK)
    with db.begin() as session:
        assert suite_results.drop_expired(session, NOON + WEEK) == 1
        assert suite_results.get(session, "ever", NOON)


def test_a_run_that_has_ended_tells_no_more(db: Database, world: World, pull: pulls.Pull) -> None:
    run = world.gate_of(pull.id)
    with db.begin() as session:
        gate_runs.tell(session, run.id, ["late"])
    assert world.gate_of(pull.id).progress == run.progress != ["late"] and run.state is GateState.passed
    with db.begin() as session:
        found = gate_runs.GateRun(id="r", pull_id=pull.id, base_sha="b", head_sha="h", state=GateState.running, started_at=NOON)
        history.begin(session, found, by="test")
        gate_runs.tell(session, "r", ["one", "two"])
    with db.read() as session:
        found_again = gate_runs.on(session, pull.id, "b", "h")
        assert found_again and found_again.progress == ["one", "two"] and gate_runs.on(session, pull.id, "b", "other") is None

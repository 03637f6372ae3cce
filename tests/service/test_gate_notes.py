"""What a gate writes down holds here: kept results serve the next pull, a database that is away stops nothing, and progress is seldom and honest."""

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from rubric.manifest import Suite
from service.caching import SAMPLED_HOLDS
from service.db import Database
from service.gate_notes import MOST_LINES, Progress, Results
from service.lifecycle import GateState
from service.stages import evals
from service.store import gate_runs, history, suite_results
from tests.samples.small import NOON, small_evals
from tests.samples.world import World


class Watching:
    """The small evals, with a look at the gate's row, and at whether a transaction is open, in the middle of each run."""

    name = "watching"

    def __init__(self, world: World):
        self._inner, self._world = small_evals(), world
        self.seen: list[list[str]] = []
        self.replay = self._inner.replay

    def run_suite(self, suite: Suite, *rest: Any) -> Any:
        with self._world.db.begin() as session:  # would wait for ever if the stage held one
            (row,) = [run for run in session.exec(select(gate_runs.GateRun)) if run.state is GateState.running]
            self.seen.append(row.progress)
        return self._inner.run_suite(suite, *rest)


def pull_of(world: World, comment: str = "wrong person") -> Any:
    case_id = world.rejects("email postcode", comment)
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    return world.pull_of(hint.id)


def test_the_same_gate_again_runs_no_suite(world: World) -> None:
    """After an error of the replay: suites that gave a result give it again without a run."""
    pull = pull_of(world)
    evals.run(world.db, world.with_ports(evals=small_evals(replay="timeout")).ports, pull.id)
    assert world.gate_of(pull.id).state is GateState.error
    again = small_evals()
    evals.run(world.db, world.with_ports(evals=again).ports, pull.id)
    found = world.gate_of(pull.id)
    assert found.state is GateState.passed and set(again.runs) == {"replay"}
    assert [(one["cached_base"], one["cached_head"]) for one in found.report["suites"]] == [(1, 1)]


def test_base_is_not_run_again_for_the_next_pull(world: World) -> None:
    """Two edits of one base, with no row of their own: base's results serve both."""
    pull = pull_of(world)
    host: Any = world.host
    other = host.publish("triage/other", pull.base_sha, {"config/fetch.json": b'{"weights": {"email": 3, "postcode": 2}}\n'}, "x")
    heads = [pull.head_sha, other.sha]
    reports = []
    for head in heads:
        with world.db.begin() as session:
            row = session.get_one(type(pull), pull.id)
            row.head_sha, row.row, row.row_suite = head, None, None
            session.add(row)
        runner = small_evals()
        evals.run(world.db, world.with_ports(evals=runner).ports, pull.id)
        reports.append(
            (runner.runs.count("fetch-golden"), [(one["cached_base"], one["cached_head"]) for one in world.gate_of(pull.id).report["suites"]])
        )
    assert reports == [(2, [(0, 0)]), (1, [(1, 0)])]


def test_progress_is_there_while_it_runs_and_no_transaction_is_open(world: World) -> None:
    pull, watching = pull_of(world), Watching(world)
    evals.run(world.db, world.with_ports(evals=watching).ports, pull.id)
    found = world.gate_of(pull.id)
    assert found.state is GateState.passed and watching.seen[0] == []
    assert found.progress and all(line.startswith("fetch-golden on ") and "3 rows" in line for line in found.progress)


@pytest.fixture
def running(world: World) -> str:
    pull = pull_of(world)
    with world.db.begin() as session:
        history.begin(
            session, gate_runs.GateRun(id="r", pull_id=pull.id, base_sha="b", head_sha="h", state=GateState.running, started_at=NOON), by="test"
        )
    return "r"


def test_lines_are_written_once_a_second(db: Database, running: str) -> None:
    now = [0.0]
    progress = Progress(db, running, lambda: now[0])

    def shown() -> list[str]:
        with db.read() as session:
            run = gate_runs.get(session, running)
            assert run is not None
            return run.progress

    progress.tell("1")
    for line in ("2", "3"):
        now[0] += 0.49
        progress.tell(line)
    assert shown() == ["1"]
    now[0] += 0.1
    progress.tell("4")
    assert shown() == ["1", "2", "3", "4"]
    for number in range(MOST_LINES):
        now[0] += 2 if number == MOST_LINES - 1 else 0
        progress.tell("x" * 1000)
    assert len(shown()) == MOST_LINES and set(shown()) == {"x" * 300}


class Away:
    """A database that does not answer."""

    now = staticmethod(lambda: NOON)

    def begin(self) -> Any:
        raise OperationalError("x", {}, Exception("locked"))

    read = begin


def test_a_database_that_is_away_stops_no_gate() -> None:
    away: Any = Away()
    results = Results(away)
    assert results.look_up("k") is None
    results.keep("k", {"rows": [], "seconds": 1.0}, None)
    Progress(away, "r", lambda: 0.0).tell("line")


def test_results_that_have_expired_are_not_found(world: World) -> None:
    results = Results(world.db)
    results.keep("week", {"rows": [{"row": "r", "passed": True, "score": None}], "seconds": 2.0}, SAMPLED_HOLDS)
    results.keep("ever", {"rows": [], "seconds": 2.0}, None)
    assert results.look_up("week") == {"rows": [{"row": "r", "passed": True, "score": None}], "seconds": 2.0}
    world.time += SAMPLED_HOLDS
    assert results.look_up("week") is None and results.look_up("ever") is not None and results.look_up("never") is None
    with world.db.begin() as session:
        assert suite_results.drop_expired(session, world.time) == 1

"""What a person lets pass holds here: a named row on one head, an undecided run on two commits, never the cure, and one person at a time."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import Row, SuiteRun
from connectors.scripted import ScriptedEvals
from rubric.manifest import Suite
from service.errors import IllegalMove, NotFound, TriageError, Unprocessable
from service.lifecycle import GateState, PullState
from service.stages import evals, waiving
from service.store import gate_runs, history, pulls, waivers
from service.ticks import PATIENCE, reconcile
from tests.samples.small import MANIFEST, Killed, plan_of, small_evals, small_host
from tests.samples.world import World


def changed(tree: Path) -> bool:
    return bool(json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5)


def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
    return plan_of(tree, case["ticket"]["messages"][0]["text"])


def losing(*rows: str) -> ScriptedEvals:
    """Evals by which the change loses these rows of its own making."""
    small = small_evals()
    return ScriptedEvals(lambda suite, tree, row: not (changed(tree) and row["id"] in rows) and small._passes(suite, tree, row), plan)


def pull_with(world: World, ports_evals: Any) -> pulls.Pull:
    """A pull that these evals have judged."""
    world.with_ports(evals=small_evals())
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    pull = world.pull_of(hint.id)
    world.with_ports(evals=ports_evals)
    evals.run(world.db, world.ports, pull.id)
    return pull


def waive(world: World, pull: pulls.Pull, row: str = "f2", suite: str = "fetch-golden", reason: str = "the team retires it", by: str = "gwen") -> Any:
    return waiving.waive(world.db, pull.id, suite=suite, row=row, reason=reason, by=by)


def kept(world: World, pull: pulls.Pull) -> list[waivers.Waiver]:
    with world.db.read() as session:
        return waivers.of_pull(session, pull.id)


def test_a_waived_row_lets_the_gate_pass_and_the_pull_be_merged(world: World) -> None:
    pull = pull_with(world, losing("f2"))
    assert (world.gate_of(pull.id).state, world.pull(pull.id).state) == (GateState.failed, PullState.draft)
    assert waive(world, pull).state is GateState.running
    assert world.gate_of(pull.id).state is GateState.running and world.asked.flows(world.db)[-1] == ("gate", pull.id)
    world.runs()
    found = world.gate_of(pull.id)
    assert (found.state, found.report["suites"][0]["waived"]) == (GateState.passed, {"f2": "the team retires it"})
    assert [(one.row, one.head_sha, one.by) for one in kept(world, pull)] == [("f2", pull.head_sha, "gwen")]
    with world.db.read() as session:
        move = history.of(session, "gate_runs", found.id)[2]
    assert (move.by, move.why) == ("gwen", "waived the row f2 of fetch-golden: the team retires it")
    world.merges(pull.id)
    world.runs()
    assert world.pull(pull.id).state is PullState.merged


def test_each_row_is_waived_by_itself(world: World) -> None:
    """One waiver of two that are needed: the gate fails again, and names the other."""
    pull = pull_with(world, losing("f1", "f2"))
    waive(world, pull, "f1")
    world.runs()
    found = world.gate_of(pull.id)
    assert (found.state, found.report["suites"][0]["lost"]) == (GateState.failed, ["f2"])
    waive(world, pull, "f2")
    assert world.runs().gate_of(pull.id).state is GateState.passed


@pytest.mark.parametrize("row, suite", [("f1", "fetch-golden"), ("f9", "fetch-golden"), ("f2", "intent-golden"), ("", "fetch-golden"), ("f2", "")])
def test_a_row_that_is_not_lost_is_not_waived(world: World, row: str, suite: str) -> None:
    pull = pull_with(world, losing("f2"))
    with pytest.raises(Unprocessable, match="no such row"):
        waive(world, pull, row, suite)
    assert (world.gate_of(pull.id).state, kept(world, pull)) == (GateState.failed, [])


class Shrinking(ScriptedEvals):
    """Evals that give fewer rows once the change is in."""

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        run = super().run_suite(suite, tree, rows_file, exam)
        gone = tuple(row for row in run.rows if not (changed(tree) and row.row == "f2"))
        return SuiteRun(suite.id, (*gone, Row("extra", False)) if changed(tree) else gone)


@pytest.mark.parametrize("row", ["f2", "extra"])
def test_a_missing_row_and_a_new_one_that_fails_are_not_waived(world: World, row: str) -> None:
    pull = pull_with(world, Shrinking(small_evals()._passes, plan))
    suite = next(one for one in world.gate_of(pull.id).report["suites"] if one["suite"] == "fetch-golden")
    assert (suite["missing"], suite["new_failing"]) == (["f2"], ["extra"])
    with pytest.raises(Unprocessable, match="no such row"):
        waive(world, pull, row)


def test_the_cure_is_never_waived(world: World) -> None:
    """The pull's own row is its proof: lost, it is refused by name; and with every other row waived, an uncured case still fails."""
    pull = pull_with(world, losing("f2"))
    with world.db.begin() as session:
        run = gate_runs.on(session, pull.id, pull.base_sha, pull.head_sha)
        assert run is not None and pull.row is not None
        suites = [{**one, "lost": [*one["lost"], pull.row["id"]]} for one in run.report["suites"]]
        run.report = {**run.report, "suites": suites}
        session.add(run)
    with pytest.raises(Unprocessable, match="never waived"):
        waive(world, pull, str(pull.row["id"]))
    assert kept(world, pull) == []
    never = ScriptedEvals(lambda suite, tree, row: not (changed(tree) and row["id"] == "f2"), lambda tree, case: {**plan(tree, case), "fetch": []})
    never.name = "never"  # or what the other evals gave would be known
    waive(world.with_ports(evals=never), pull)
    found = world.runs().gate_of(pull.id)
    assert found.state is GateState.failed and "is not cured" in "; ".join(found.report["reasons"])


@pytest.mark.parametrize("reason", ["", "  \n", "\u200b\u00ad", "x" * 501])
@pytest.mark.parametrize("act", ["waive", "accept"])
def test_a_reason_is_needed_that_somebody_can_read(world: World, reason: str, act: str) -> None:
    pull = pull_with(world, losing("f2"))
    with pytest.raises(Unprocessable, match="reason"):
        waive(world, pull, reason=reason) if act == "waive" else waiving.accept(world.db, pull.id, reason=reason, by="gwen")
    assert kept(world, pull) == []


def test_hidden_characters_of_a_reason_are_not_kept(world: World) -> None:
    pull = pull_with(world, losing("f2"))
    waive(world, pull, reason=" fi\u200bne\u202e ")
    assert kept(world, pull)[0].reason == "fine"


def test_two_people_at_once_are_one_waiver(world: World) -> None:
    pull = pull_with(world, losing("f1", "f2"))
    together = threading.Barrier(2)

    def one(row: str) -> str:
        together.wait()
        try:
            waive(world, pull, row, by=f"reads {row}")
        except TriageError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, ["f1", "f2"])) == ["done", "illegal_move"]
    assert len(kept(world, pull)) == 1
    assert world.asked.flows(world.db).count(("gate", pull.id)) == 2  # the first look, and one more


@pytest.mark.parametrize("act", ["waive", "accept"])
def test_only_a_pull_that_waits_for_somebody_is_let_pass(world: World, act: str) -> None:
    pull = pull_with(world, losing("f2"))
    world.closes(pull.id)
    with pytest.raises(IllegalMove, match="not looked at any more"):
        waive(world, pull) if act == "waive" else waiving.accept(world.db, pull.id, reason="x", by="gwen")
    with pytest.raises(NotFound):
        waiving.waive(world.db, "p", suite="s", row="r", reason="x", by="gwen")


@pytest.mark.parametrize("runner", [small_evals(), Killed(99), small_evals(**{"fetch-golden": "timeout"})], ids=["pass", "killed", "error"])
def test_a_run_that_passed_or_broke_has_nothing_to_waive(world: World, runner: Any) -> None:
    pull = pull_with(world, runner)
    for act in (lambda: waive(world, pull), lambda: waiving.accept(world.db, pull.id, reason="x", by="gwen")):
        with pytest.raises(IllegalMove):
            act()


def test_a_pull_without_a_run_has_nothing_to_waive(world: World) -> None:
    pull = pull_with(world, losing("f2"))
    moved(world, pull, "another-head")
    with pytest.raises(IllegalMove, match="has not run on this head"):
        waive(world, pull)


def moved(world: World, pull: pulls.Pull, head: str) -> None:
    with world.db.begin() as session:
        found = session.get_one(pulls.Pull, pull.id)
        found.head_sha = head
        session.add(found)


def test_a_waiver_ends_with_its_head(world: World) -> None:
    """The same edit, built again on a base that moved: the row may be lost for another reason there."""
    pull = pull_with(world, losing("f2"))
    waive(world, pull)
    world.runs()
    world.host.pushes({"notes.md": b"x"})
    world.merges(pull.id)
    world.runs()
    back = world.pull(pull.id)
    assert back.head_sha != pull.head_sha and (back.state, world.gate_of(pull.id).state) == (PullState.ready, GateState.failed)
    assert back.closed_reason == "the gate says fail on the newest base"
    waive(world, back, reason="still")
    assert world.pull(pull.id).state is PullState.draft
    world.runs()
    assert (world.pull(pull.id).state, world.pull(pull.id).closed_reason) == (PullState.ready, None)
    assert [one.head_sha for one in kept(world, pull)] == [pull.head_sha, back.head_sha]
    world.merges(pull.id)
    assert world.runs().pull(pull.id).state is PullState.merged


def test_a_waiver_whose_flow_was_lost_is_looked_after(world: World) -> None:
    from_before = pull_with(world, losing("f2"))
    waive(world, from_before)

    class Flows:
        def active(self, prefixes: Any) -> set[str]:
            return set()

    world.time += 2 * PATIENCE
    assert reconcile(world.db, Flows()) == 1  # type: ignore[arg-type]


SAMPLED = MANIFEST.replace("min_rows: 2,", "min_rows: 2, kind: sampled,")


class Wavering(ScriptedEvals):
    """A sampled suite one of whose rows passes in 8 of 8 runs on base and in 4 of 8 with the change: nobody can tell."""

    def __init__(self) -> None:
        super().__init__(small_evals()._passes, plan)
        self.turns = 0

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        run = super().run_suite(suite, tree, rows_file, exam)
        if suite.id != "fetch-golden" or not changed(tree):
            return run
        self.turns += 1
        return SuiteRun(suite.id, tuple(Row(row.row, row.passed and not (row.row == "f2" and self.turns % 2)) for row in run.rows))


@pytest.fixture
def undecided(world: World) -> pulls.Pull:
    host = small_host(**{"triage.yaml": SAMPLED.encode()})
    assert SAMPLED != MANIFEST
    world.host = host
    world.with_ports(hosts={"bank": host})
    return pull_with(world, Wavering())


def test_an_undecided_row_can_be_waived(world: World, undecided: pulls.Pull) -> None:
    assert (world.gate_of(undecided.id).state, world.gate_of(undecided.id).report["suites"][0]["undecided"]) == (GateState.inconclusive, ["f2"])
    waive(world, undecided)
    assert world.runs().gate_of(undecided.id).state is GateState.passed


def test_a_run_that_could_not_tell_is_taken_on_and_lands(world: World, undecided: pulls.Pull) -> None:
    assert waiving.accept(world.db, undecided.id, reason="looked at it by hand", by="gwen").state is PullState.ready
    assert world.gate_of(undecided.id).accepted_by == "gwen" and world.gate_of(undecided.id).state is GateState.inconclusive
    with world.db.read() as session:
        last = history.of(session, "pulls", undecided.id)[-1]
    assert (last.by, last.why) == ("gwen", "accepted although the gate could not tell: looked at it by hand")
    with pytest.raises(IllegalMove, match="accepted by gwen already"):
        waiving.accept(world.db, undecided.id, reason="me too", by="hal")
    world.merges(undecided.id)
    assert world.runs().pull(undecided.id).state is PullState.merged


def test_what_was_taken_on_holds_for_its_two_commits(world: World, undecided: pulls.Pull) -> None:
    waiving.accept(world.db, undecided.id, reason="fine", by="gwen")
    world.host.pushes({"notes.md": b"x"})
    world.merges(undecided.id)
    back = world.runs().pull(undecided.id)
    assert (back.state, back.closed_reason) == (PullState.ready, "the gate says inconclusive on the newest base")
    assert waiving.accept(world.db, undecided.id, reason="fine here too", by="gwen").closed_reason is None
    world.merges(undecided.id)
    assert world.runs().pull(undecided.id).state is PullState.merged


def test_a_failed_run_is_not_taken_on(world: World) -> None:
    pull = pull_with(world, losing("f2"))
    with pytest.raises(IllegalMove, match="only one that is inconclusive"):
        waiving.accept(world.db, pull.id, reason="I want it", by="gwen")
    assert world.pull(pull.id).state is PullState.draft


def test_whoever_took_it_on_did_not_take_on_a_failure_that_came_later(world: World, undecided: pulls.Pull) -> None:
    """Accepted, then a row was waived and the gate ran again: what it says now counts."""
    waiving.accept(world.db, undecided.id, reason="fine", by="gwen")
    worse = losing("f1", "f2")
    worse.name = "worse"
    waive(world.with_ports(evals=worse), undecided)
    world.runs()
    assert (world.gate_of(undecided.id).state, world.gate_of(undecided.id).accepted_by) == (GateState.failed, None)
    assert world.pull(undecided.id).state is PullState.draft

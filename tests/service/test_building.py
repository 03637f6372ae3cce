"""A model-driven agent at work: what it is told, what stops it, what it may try again, and where its code is run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import PortError, SuiteRun, TreeJob, TreeRun
from connectors.scripted import ScriptedAgent, ScriptedEvals
from rubric.schema import Step
from service.lifecycle import GateState, HandoffState, PullState
from service.stages import evals, handoff
from service.store import attempts, pulls
from tests.samples.small import MANIFEST, small_agent, small_evals, small_host
from tests.samples.world import World

OUTSIDE = MANIFEST.replace('results: {format: rows-jsonl, path: "{out}/rows.jsonl"}', 'results: {format: outputs-jsonl, path: "{out}/o"}, grade: {}')
GIVES_UP = ScriptedAgent(lambda job, tree: TreeRun("gave_up", "no_rule: the manifest says no edits"))
GOOD = b'{"weights": {"email": 3, "postcode": 1}}\n'


class Coder(ScriptedAgent):
    """A model-driven agent that goes by a list, and remembers what it was told."""

    def __init__(self, *goes: Mapping[str, bytes | None] | TreeRun | str, trouble: str | None = None):
        self._goes, self._trouble = list(goes), trouble
        super().__init__(self._go, by_model=True)
        self.name = "coder"
        self.heard: list[str] = []

    def trouble(self) -> str | None:
        return self._trouble

    def _go(self, job: TreeJob, tree: Path) -> Any:
        go = self._goes.pop(0) if len(self._goes) > 1 else self._goes[0]
        if isinstance(go, str) and job.examine:
            self.heard.append(job.examine(Step(go)))
            go = {"config/fetch.json": GOOD}
        return go


@pytest.fixture
def outside(world: World) -> World:
    """The small world, whose suites are graded outside, and whose codemod knows no edit."""
    return world.with_ports(hosts={"bank": small_host(**{"triage.yaml": OUTSIDE.encode()})}, boxed=small_evals())


def confirmed(world: World, agent: ScriptedAgent = GIVES_UP) -> str:
    """A hint that was tried with the codemod of the small pipeline, and confirmed; `agent` is the one that will be asked to build it."""
    case_id = world.with_ports(agent=ScriptedAgent(small_agent())).rejects("email postcode", "wrong person, Marlene told you")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.with_ports(agent=agent)
    return hint.id


def goes(world: World, hint_id: str) -> list[attempts.AttemptRow]:
    with world.db.read() as session:
        return attempts.of_handoff(session, world.handoff_of(hint_id).id)


def test_who_gives_up_makes_room_for_a_model(outside: World) -> None:
    coder = Coder({"config/fetch.json": GOOD})
    hint_id = confirmed(outside.with_ports(coder=coder))
    built = outside.runs().handoff_of(hint_id)
    assert (built.state, built.agent, built.by_model) == (HandoffState.built, "coder", True), built.reason
    assert [(one.number, one.status, one.violations, one.lost) for one in goes(outside, hint_id)] == [(1, "done", [], [])]
    assert outside.pull_of(hint_id).state is PullState.ready
    assert outside.gate_of(outside.pull_of(hint_id).id).state is GateState.passed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"coder": None}, "none is set up"),
        ({"coder": Coder({"config/fetch.json": GOOD}), "boxed": None}, "sandbox"),
        ({"coder": Coder({"config/fetch.json": GOOD}, trouble="no_program: claude is not installed")}, "not installed"),
    ],
)
def test_without_an_agent_or_a_box_nothing_is_written(outside: World, changes: dict[str, Any], why: str) -> None:
    hint_id = confirmed(outside.with_ports(**changes))
    built = outside.runs().handoff_of(hint_id)
    assert built.state is HandoffState.gave_up and "no_rule" in str(built.reason), "who went first says why it went no further"
    assert why in str(handoff.hindrance(outside.ports)) and goes(outside, hint_id) == []


def test_it_is_told_what_the_policy_had_against_it(outside: World) -> None:
    coder = Coder({"config/fetch.json": GOOD.replace(b"1", b"2")}, {"config/fetch.json": GOOD})
    hint_id = confirmed(outside.with_ports(coder=coder))
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built
    first, second = coder.jobs
    assert first.feedback == () and any(line.startswith("unapplied") for line in second.feedback)
    assert [one.number for one in goes(outside, hint_id)] == [1, 2] and goes(outside, hint_id)[0].violations


def test_it_is_told_which_rows_it_lost(outside: World) -> None:
    coder, inner, lost = Coder({"config/fetch.json": GOOD}), small_evals(), iter([True])

    def passes(suite: str, tree: Path, row: dict[str, Any]) -> bool:
        loses = row["id"] == "f2" and (tree / "config/fetch.json").read_bytes() == GOOD and next(lost, False)
        return not loses and inner._passes(suite, tree, row)

    hint_id = confirmed(outside.with_ports(coder=coder, boxed=ScriptedEvals(passes, inner._plan)))
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built
    assert coder.jobs[1].feedback == ("fetch-golden: fail (lost: f2)",) and [one.lost for one in goes(outside, hint_id)][1] == []


def test_evals_that_never_pass_end_it(outside: World) -> None:
    coder = Coder({"config/fetch.json": GOOD})
    passes = lambda suite, tree, row: row["id"] != "f1" or b"1" not in (tree / "config/fetch.json").read_bytes()  # noqa: E731
    hint_id = confirmed(outside.with_ports(coder=coder, boxed=ScriptedEvals(passes, lambda *_: None)))
    ended = outside.runs().handoff_of(hint_id)
    assert ended.state is HandoffState.gave_up and "after 3 attempts: fetch-golden: fail (lost: f1)" in str(ended.reason)
    assert [one.lost for one in goes(outside, hint_id)] == [["fetch-golden: fail (lost: f1)"]] * 3


def test_drift_stops_it_at_once(outside: World) -> None:
    coder = Coder({"config/fetch.json": b'{"weights": {"email": 9, "postcode": 1}}\n'})
    hint_id = confirmed(outside.with_ports(coder=coder))
    ended = outside.runs().handoff_of(hint_id)
    assert ended.state is HandoffState.refused and str(ended.reason).startswith("scope_drift at config/fetch.json"), ended.reason
    assert len(coder.jobs) == 1 and goes(outside, hint_id)[0].violations


def test_what_the_codemod_would_do_is_what_is_expected(outside: World) -> None:
    """Where the manifest has edits for the recipe, the very file they make is right, and another way to the same rows is not."""
    coder = Coder({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 1, "name": 1}}\n'})
    hint_id = confirmed(outside.with_ports(coder=coder), _gives_up_once())
    ended = outside.runs().handoff_of(hint_id)
    assert ended.state is HandoffState.refused and "scope_drift" in str(ended.reason)


def _gives_up_once() -> ScriptedAgent:
    seen: list[int] = []
    script = small_agent()

    def go(job: TreeJob, tree: Path) -> Any:
        seen.append(1)
        return TreeRun("gave_up", "not now") if len(seen) == 1 else script(job, tree)

    return ScriptedAgent(go)


@pytest.mark.parametrize(
    ("run", "state", "tries"),
    [
        (TreeRun("gave_up", "cannot"), HandoffState.gave_up, 1),
        (TreeRun("refused", "will not"), HandoffState.refused, 1),
        (TreeRun("budget", "turns: used up", turns=40, usd=0.9), HandoffState.blocked, 1),
        (TreeRun("crashed", "exit status 3"), HandoffState.failed, 3),
    ],
)
def test_how_it_ends_is_how_the_handoff_ends(outside: World, run: TreeRun, state: HandoffState, tries: int) -> None:
    hint_id = confirmed(outside.with_ports(coder=Coder(run)))
    ended = outside.runs().handoff_of(hint_id)
    assert (ended.state, ended.reason) == (state, run.reason)
    assert [(one.status, one.turns, one.usd) for one in goes(outside, hint_id)] == [(run.status, run.turns, run.usd)] * tries
    outside.with_ports(coder=Coder({"config/fetch.json": GOOD}))
    handoff.retry(outside.db, ended.id, by="tom")
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built


def test_the_words_of_a_customer_reach_no_agent(outside: World) -> None:
    """It holds the hint, and looks at nothing of it but the change; the ticket and the comment are not in it beyond the evidence."""
    coder = Coder("fetch")
    hint_id = confirmed(outside.with_ports(coder=coder))
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built
    assert coder.heard == ["fetch-golden: pass"]


def test_its_code_runs_in_the_box_and_nowhere_else(outside: World) -> None:
    boxed, plain = small_evals(), outside.ports.evals
    hint_id = confirmed(outside.with_ports(coder=Coder({"config/fetch.json": GOOD}), boxed=boxed))
    before = len(plain.runs)  # type: ignore[attr-defined]
    outside.runs()
    assert outside.pull_of(hint_id).state is PullState.ready
    assert len(plain.runs) == before and "replay" in boxed.runs and "fetch-golden" in boxed.runs  # type: ignore[attr-defined]


def test_a_box_that_is_gone_by_the_gate_is_no_pass(outside: World) -> None:
    hint_id = confirmed(outside.with_ports(coder=Coder({"config/fetch.json": GOOD})))
    outside.runs()
    pull = outside.pull_of(hint_id)
    with outside.db.begin() as session:
        row = pulls.get(session, pull.id)
        assert row
        row.head_sha = row.base_sha  # another head, which was not examined
    assert evals.run(outside.db, outside.with_ports(boxed=None).ports, pull.id) is GateState.error
    assert "no_sandbox" in str(outside.gate_of(pull.id).report["reasons"])


def test_what_grades_itself_is_no_proof_of_a_model_s_code(world: World) -> None:
    hint_id = confirmed(world.with_ports(coder=Coder({"config/fetch.json": GOOD}), boxed=small_evals()))
    world.runs()
    pull = world.pull_of(hint_id)
    assert world.gate_of(pull.id).state is GateState.inconclusive and pull.state is PullState.draft
    assert "grades itself in fetch-golden" in str(world.gate_of(pull.id).report["reasons"])


def test_a_model_is_not_asked_again_for_a_newer_base(outside: World) -> None:
    coder = Coder({"config/fetch.json": GOOD})
    hint_id = confirmed(outside.with_ports(coder=coder))
    pull = outside.runs().pull_of(hint_id)
    outside.ports.hosts["bank"].pushes({"README.md": b"hello\n"})  # type: ignore[attr-defined]
    outside.merges(pull.id)
    assert outside.runs().pull(pull.id).state is PullState.merged and len(coder.jobs) == 1
    host = outside.ports.hosts["bank"]
    assert json.loads(host.read(host.head(), "config/fetch.json") or b"") == json.loads(GOOD)


def test_what_the_base_changed_meanwhile_is_not_written_over(outside: World) -> None:
    coder = Coder({"config/fetch.json": GOOD})
    hint_id = confirmed(outside.with_ports(coder=coder))
    pull = outside.runs().pull_of(hint_id)
    outside.ports.hosts["bank"].pushes({"config/fetch.json": b'{"weights": {"email": 4, "postcode": 5}}\n'})  # type: ignore[attr-defined]
    outside.merges(pull.id)
    ended = outside.runs().pull(pull.id)
    assert ended.state is PullState.ready and "value_differs: what a model wrote in config/fetch.json" in str(ended.closed_reason)


def test_a_box_that_cannot_be_had_just_now_is_tried_again(outside: World) -> None:
    class Lingers(ScriptedEvals):
        left = 1

        def run_suite(self, *args: Any, **named: Any) -> Any:
            if self.left:
                self.left -= 1
                raise PortError("box_lingers", "what ran in a box does not end", retryable=True)
            return super().run_suite(*args, **named)

    inner = small_evals()
    runner = Lingers(inner._passes, inner._plan)
    hint_id = confirmed(outside.with_ports(coder=Coder({"config/fetch.json": GOOD}), boxed=runner))
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built


def test_landing_asks_no_model(outside: World) -> None:
    """Where a codemod's edit has no place on the newest base, a model could make it; but what it would write nobody has reviewed."""
    coder = Coder({"config/fetch.json": b'{"weights": {"email": 4, "postcode": 1}}\n'})
    hint_id = confirmed(outside.with_ports(coder=coder), ScriptedAgent(small_agent()))
    pull = outside.runs().pull_of(hint_id)
    assert pull.state is PullState.ready and not outside.handoff_of(hint_id).by_model
    outside.ports.hosts["bank"].pushes({"config/fetch.json": b'{"weights": {"email": 4, "postcode": 6}}\n'})  # type: ignore[attr-defined]
    outside.merges(pull.id)
    back = outside.runs().pull(pull.id)
    assert back.state is PullState.ready and "was_differs" in str(back.closed_reason) and coder.jobs == []


def test_what_a_model_may_cost_is_not_spent_anew_by_each_start(outside: World) -> None:
    class NoBox(ScriptedEvals):
        def run_suite(self, *args: Any, **named: Any) -> Any:
            raise PortError("box_lingers", "what ran in a box does not end", retryable=True)

    coder = Coder({"config/fetch.json": GOOD})
    hint_id = confirmed(outside.with_ports(coder=coder, boxed=NoBox(lambda *_: True, lambda *_: None)))
    ended = outside.runs().handoff_of(hint_id)
    assert ended.state in (HandoffState.failed, HandoffState.gave_up) and len(coder.jobs) == 3
    assert [(one.round, one.number, one.status) for one in goes(outside, hint_id)] == [(0, number, "done") for number in (1, 2, 3)]
    outside.with_ports(boxed=small_evals())
    handoff.retry(outside.db, ended.id, by="tom")
    assert outside.runs().handoff_of(hint_id).state is HandoffState.built and goes(outside, hint_id)[-1].round == 1


def test_a_go_that_a_dying_process_cut_off_counts(outside: World) -> None:
    class Dies(Coder):
        def run(self, job: TreeJob, tree: Path) -> TreeRun:
            self.jobs.append(job)
            raise KeyboardInterrupt

    coder = Dies({})
    hint_id = confirmed(outside.with_ports(coder=coder))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            handoff.build(outside.db, outside.ports, outside.catalogue, outside.handoff_of(hint_id).id)
    handoff.build(outside.db, outside.ports, outside.catalogue, outside.handoff_of(hint_id).id)
    assert len(coder.jobs) == 3 and [one.status for one in goes(outside, hint_id)] == ["begun"] * 3
    assert outside.handoff_of(hint_id).state is HandoffState.gave_up and "cut off" in str(outside.handoff_of(hint_id).reason)


def test_what_is_blocked_begins_again_by_a_person_only(outside: World) -> None:
    coder = Coder(TreeRun("budget", "turns: used up"))
    hint_id = confirmed(outside.with_ports(coder=coder))
    ended = outside.runs().handoff_of(hint_id)
    handoff.build(outside.db, outside.ports, outside.catalogue, ended.id)
    assert outside.handoff_of(hint_id).state is HandoffState.blocked and len(coder.jobs) == 1


def test_a_row_that_somebody_else_added_does_not_stand_in_the_way(outside: World) -> None:
    hint_id = confirmed(outside.with_ports(coder=Coder({"config/fetch.json": GOOD})))
    pull = outside.runs().pull_of(hint_id)
    assert pull.row and pull.row_suite == "fetch-golden"
    host, path = outside.ports.hosts["bank"], "evals/fetch/cases.jsonl"
    more = (host.read(host.head(), path) or b"") + b'{"id": "f3", "words": "email", "expected": "rec_a"}\n'
    host.pushes({path: more})  # type: ignore[attr-defined]
    outside.merges(pull.id)
    assert outside.runs().pull(pull.id).state is PullState.merged
    assert [json.loads(line)["id"] for line in (host.read(host.head(), path) or b"").splitlines()] == ["f1", "f2", "f3", pull.row["id"]]


# Rows that the service alone holds


@pytest.mark.parametrize(
    ("rows", "state", "said"),
    [
        ([{"id": "h1", "words": "email", "expected": "rec_a"}], GateState.passed, ""),
        ([{"id": "h1", "words": "email postcode", "expected": "rec_b"}], GateState.failed, "1 of 1 held-out rows of fetch-golden lost"),
        ([{"id": "h1", "words": "email"}], GateState.error, "held-out rows of fetch-golden: on base: the suite could not run (bad_exam)"),
    ],
)
def test_held_out_rows_are_counted_and_not_told(outside: World, tmp_path: Path, rows: list[Any], state: GateState, said: str) -> None:
    (tmp_path / "fetch-golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hint_id = confirmed(outside.with_ports(held_out={"bank": tmp_path}), ScriptedAgent(small_agent()))
    outside.runs()
    run = outside.gate_of(outside.pull_of(hint_id).id)
    assert run.state is state and any(said in reason for reason in run.report["reasons"] or [""])
    assert "h1" not in json.dumps(run.report) and len(run.report["held_out"]) == 1


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "their folder is not there"), ("renamed.jsonl", "held-out rows of renamed: no suite of that name")]
)
def test_held_out_rows_are_not_switched_off_by_a_name(outside: World, tmp_path: Path, name: str, said: str) -> None:
    kept = tmp_path / "kept"
    if name.endswith(".jsonl"):
        kept.mkdir()
        (kept / name).write_text('{"id": "x", "words": "email", "expected": "rec_a"}\n')
    hint_id = confirmed(outside.with_ports(held_out={"bank": kept}), ScriptedAgent(small_agent()))
    run = outside.runs().gate_of(outside.pull_of(hint_id).id)
    assert run.state is GateState.error and any(said in reason for reason in run.report["reasons"])


def test_a_head_that_breaks_on_held_out_rows_alone_fails(outside: World, tmp_path: Path) -> None:
    class Breaks(ScriptedEvals):
        def run_suite(self, suite: Any, tree: Path, rows_file: Path | None, exam: Path | None = None) -> Any:
            held = rows_file is not None and "x9" in rows_file.read_text()
            if held and tree.name == "head":
                return SuiteRun(suite.id, failure="exit_code", detail="ended with exit status 3")
            return super().run_suite(suite, tree, rows_file, exam)

    (tmp_path / "fetch-golden.jsonl").write_text('{"id": "x9", "words": "email", "expected": "rec_a"}\n')
    inner = small_evals()
    evals_ = Breaks(inner._passes, inner._plan)
    evals_.name = "breaks"
    hint_id = confirmed(outside.with_ports(held_out={"bank": tmp_path}, evals=evals_), ScriptedAgent(small_agent()))
    assert outside.runs().gate_of(outside.pull_of(hint_id).id).state is GateState.failed

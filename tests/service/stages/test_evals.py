"""The gate on a pull holds here: it passes only what cures its case, keeps every row and changes no control."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import ReplayAnswer
from connectors.scripted import ScriptedAgent, ScriptedCritic, ScriptedEvals
from rubric.drafting import Drafted
from service.lifecycle import GateState, PullState
from service.stages import evals
from service.store import gate_runs, hints, pulls
from tests.samples.small import Killed, plan_of, small_evals, weight_hint
from tests.samples.world import World


def built(world: World, *, controls: list[str] | None = None, agent: ScriptedAgent | None = None) -> pulls.Pull:
    """A draft pull that the gate has not looked at."""
    case_id = world.rejects("email postcode", "wrong person")
    if controls is not None:
        world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, controls=controls)])))
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.with_ports(agent=agent or world.ports.agent).reopen("handoff", world.handoff_of(hint.id).id)
    return world.pull_of(hint.id)


def run(world: World, pull: pulls.Pull) -> gate_runs.GateRun:
    assert evals.run(world.db, world.ports, pull.id) is not None
    return world.gate_of(pull.id)


def reasons(found: gate_runs.GateRun) -> str:
    return "; ".join(found.report["reasons"])


def weights(**new: int) -> ScriptedAgent:
    """An agent that writes these weights, whatever the hint says."""
    text = json.dumps({"weights": {"email": 3, "postcode": 5, **new}}) + "\n"
    return ScriptedAgent(lambda job, tree: {"config/fetch.json": text.encode()})


def test_a_cure_that_keeps_everything_passes_and_makes_the_pull_ready(world: World) -> None:
    ok = world.accepts("email")
    pull = built(world)
    found = run(world, pull)
    assert (found.state, found.report["reasons"]) == (GateState.passed, [])
    assert found.report["cure"]["state"] == "cured" and [one["case_id"] for one in found.report["controls"]] == [ok]
    assert found.report["suites"][0]["gained"] == [pull.hint_id]
    assert world.pull(pull.id).state is PullState.ready


def test_a_change_that_does_not_cure_its_case_fails(world: World) -> None:
    pull = built(world, agent=weights(postcode=4))
    found = run(world, pull)
    assert found.state is GateState.failed and "is not cured" in reasons(found)
    assert world.pull(pull.id).state is PullState.draft


def test_a_control_that_changes_fails(world: World) -> None:
    ok = world.accepts("postcode")
    spoiled = ScriptedEvals(lambda suite, tree, row: True, _other_reply_for("postcode"))
    pull = built(world)
    found = run(world.with_ports(evals=spoiled), pull)
    assert found.state is GateState.failed and f"the control case {ok} changed" in reasons(found)


def _other_reply_for(words: str) -> Any:
    """A pipeline that, with the change in place, says something else to a ticket nobody complained about."""

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        said = case["ticket"]["messages"][0]["text"]
        found = plan_of(tree, said)
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        return {**found, "reply": "Go away"} if changed and said == words else found

    return plan


def test_a_lost_row_fails(world: World) -> None:
    def passes(suite: str, tree: Path, row: dict[str, Any]) -> bool:
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        return not (changed and row["id"] == "f2")

    pull = built(world)
    found = run(world.with_ports(evals=ScriptedEvals(passes, _other_reply_for("nothing"))), pull)
    assert found.state is GateState.failed and "1 lost" in reasons(found) and "f2" in reasons(found)


def red(*rows: str) -> ScriptedEvals:
    """A target some of whose rows fail, with the change and without."""
    small = small_evals()
    return ScriptedEvals(lambda suite, tree, row: row["id"] not in rows and small._passes(suite, tree, row), small._plan)


@pytest.mark.parametrize("rows", [("f2",), ("f1", "f2")])
def test_rows_that_were_red_before_do_not_stop_a_cure_and_are_named(world: World, rows: tuple[str, ...]) -> None:
    found = run(world.with_ports(evals=red(*rows)), built(world))
    assert found.state is GateState.passed, reasons(found)
    (suite,) = found.report["suites"]
    assert set(rows) <= set(suite["failing"]), suite


def test_a_base_that_is_red_from_end_to_end_is_no_crash_and_has_its_reason(world: World) -> None:
    """Nothing passes on either side: the pull's own row proves nothing, and the report says so."""
    pull = built(world)
    found = run(world.with_ports(evals=red("f1", "f2", pull.hint_id)), pull)
    assert found.state is GateState.failed and "its eval row does not go from failing to passing" in reasons(found)
    assert world.pull(pull.id).state is PullState.draft


def test_a_row_that_does_not_go_from_failing_to_passing_is_no_proof(world: World) -> None:
    """The pull brings a row; by the time of the gate it passes on both sides."""
    pull = built(world)
    always = ScriptedEvals(lambda suite, tree, row: True, _other_reply_for("nothing"))
    found = run(world.with_ports(evals=always), pull)
    assert found.state is GateState.failed and "its eval row does not go from failing to passing" in reasons(found)


@pytest.mark.parametrize("failure", ["timeout", "killed", "bad_rows", "no_rows_file", "command_missing"])
def test_a_suite_that_runs_on_neither_side_is_an_error(world: World, failure: str) -> None:
    pull = built(world)
    found = run(world.with_ports(evals=small_evals(**{"fetch-golden": failure})), pull)
    assert found.state is GateState.error and failure in reasons(found)
    assert world.pull(pull.id).state is PullState.draft


def test_a_suite_that_somebody_kills_on_head_alone_is_no_verdict_on_the_change(world: World) -> None:
    """One `kill -9` said `fail`, for good."""
    pull = built(world)
    found = run(world.with_ports(evals=Killed(1)), pull)
    assert found.state is GateState.error and "on head: the suite could not run (killed)" in reasons(found)
    assert world.pull(pull.id).state is PullState.draft
    assert run(world, pull).state is GateState.passed
    assert world.pull(pull.id).state is PullState.ready


@pytest.mark.parametrize("failure", ["over_limit", "crashed", "timeout", "exit_code"])
def test_a_suite_that_dies_of_the_change_itself_fails_it(world: World, failure: str) -> None:
    pull = built(world)
    found = run(world.with_ports(evals=Killed(9, failure)), pull)
    assert found.state is GateState.failed and failure in reasons(found)


@pytest.mark.parametrize("failure", ["replay_garbage", "replay_missing", "timeout", "command_missing"])
def test_a_replay_that_gives_no_plan_is_an_error_with_its_reason(world: World, failure: str) -> None:
    pull = built(world)
    found = run(world.with_ports(evals=small_evals(replay=failure)), pull)
    assert found.state is GateState.error and f"no plan on base ({failure})" in reasons(found)


def test_a_replay_that_answers_nonsense_is_an_error(world: World) -> None:
    pull = built(world)
    nonsense = ScriptedEvals(lambda suite, tree, row: True, lambda tree, case: {"reply": 7})
    found = run(world.with_ports(evals=nonsense), pull)
    assert found.state is GateState.error and "replay_garbage" in reasons(found)


def test_an_error_is_tried_again_and_a_verdict_is_not(world: World) -> None:
    pull = built(world)
    run(world.with_ports(evals=small_evals(**{"fetch-golden": "timeout"})), pull)
    assert run(world.with_ports(evals=small_evals()), pull).state is GateState.passed
    again = small_evals(**{"fetch-golden": "timeout"})
    assert run(world.with_ports(evals=again), pull).state is GateState.passed
    assert again.runs == []
    with world.db.read() as session:
        assert len(gate_runs.of_pull(session, pull.id)) == 1
    assert world.moves("gate_runs", evals.run_id(pull)) == ["running", "error", "running", "pass"]


def test_the_exam_is_the_base_s_whatever_the_head_says(world: World) -> None:
    """A head that rewrites rows, manifest or graders is examined with the base's."""
    pull = built(world, agent=weights(postcode=4))
    host: Any = world.host
    manifest = (host.read(pull.base_sha, "triage.yaml") or b"").replace(b"min_rows: 2", b"min_rows: 1")
    cheat = host.publish(
        "triage/cheat",
        pull.base_sha,
        {"evals/fetch/cases.jsonl": b'{"id": "f1", "words": "email", "expected": "rec_a"}\n', "triage.yaml": manifest},
        "x",
    )
    with world.db.begin() as session:
        row = pulls.get(session, pull.id)
        assert row
        row.head_sha, row.row, row.row_suite = cheat.sha, None, None
    found = run(world, world.pull(pull.id))
    assert found.state is GateState.failed
    assert found.report["from_base"] == ["evals/fetch/cases.jsonl", "triage.yaml"]
    assert found.report["suites"] and all(suite["rows_head"] == suite["rows_base"] for suite in found.report["suites"])


def test_no_suite_and_no_change_is_no_pass(world: World) -> None:
    pull = built(world)
    with world.db.begin() as session:
        row = pulls.get(session, pull.id)
        assert row
        row.head_sha, row.row, row.row_suite = row.base_sha, None, None
    assert run(world, world.pull(pull.id)).state is GateState.failed


def test_named_controls_come_first_and_no_more_than_the_limit(world: World) -> None:
    world.with_ports(limits=replace(world.ports.limits, gate_controls=20))
    accepted = [world.accepts("email", name=f"ok{number}") for number in range(30)]
    pull = built(world, controls=[accepted[0]])
    asked = [one["case_id"] for one in run(world, pull).report["controls"]]
    assert asked[0] == accepted[0] and len(asked) == world.ports.limits.gate_controls == len(set(asked))


def test_a_control_that_cannot_be_replayed_any_more_on_one_side_is_an_error(world: World) -> None:
    world.accepts("postcode")

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        found = _other_reply_for("nothing")(tree, case)
        if found["reply"] and tree.name == "head" and case["ticket"]["messages"][0]["text"] == "postcode":
            raise ValueError
        return found  # type: ignore[no-any-return]

    pull = built(world)
    real = small_evals()
    found = run(world.with_ports(evals=ScriptedEvals(real._passes, plan)), pull)
    assert found.state is GateState.error and "no plan on head" in reasons(found)


def test_another_number_in_a_reply_is_a_change_although_both_are_masked(world: World) -> None:
    """One of the customer's two numbers for the other: a placeholder stands for the same value on both sides."""
    ok = world.accepts("postcode")

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        found = _other_reply_for("nothing")(tree, case)
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        return (
            {**found, "reply": f"We call you on +44 1632 96000{2 if changed else 1}."}
            if case["ticket"]["messages"][0]["text"] == "postcode"
            else found
        )

    pull = built(world)
    found = run(world.with_ports(evals=ScriptedEvals(small_evals()._passes, plan)), pull)
    assert found.state is GateState.failed and f"the control case {ok} changed" in reasons(found)
    assert "1632" not in json.dumps(found.report)


class Slow:
    """A target whose replay takes time: who of those asked is answered, and how many timeouts of the manifest a call takes."""

    name = "slow"

    def __init__(self, world: World, answered: Callable[[Path, list[str]], Collection[str]], rounds: int = 0):
        self._inner, self._world, self._answered, self._rounds = small_evals(), world, answered, rounds
        self.asked: list[tuple[str, int]] = []
        """(tree, number of cases), in order"""
        self.run_suite = self._inner.run_suite

    def replay(self, replay: Any, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        self.asked.append((tree.name, len(cases)))
        self._world.time += timedelta(seconds=self._rounds * replay.timeout_s)
        here = self._answered(tree, list(cases))
        answers = self._inner.replay(replay, tree, cases)
        return [one if one.case_id in here else ReplayAnswer(one.case_id, failure="timeout") for one in answers]


def slow_gate(
    world: World, answered: Callable[[Path, list[str]], Collection[str]], rounds: int = 0
) -> tuple[list[tuple[str, int]], gate_runs.GateRun]:
    """A gate with 45 controls; what the replay was asked, and the run."""
    for number in range(45):
        world.accepts("email", name=f"ok{number}")
    pull, slow = built(world), Slow(world, answered, rounds)
    world.with_ports(evals=slow, limits=replace(world.ports.limits, gate_controls=45))
    return slow.asked, run(world, pull)


def test_a_replay_that_hangs_is_given_up_after_the_first_few(world: World) -> None:
    asked, found = slow_gate(world, lambda tree, cases: [])
    assert asked == [("base", 46), ("base", evals.FEW)]
    assert found.state is GateState.error and "no plan on base (timeout)" in reasons(found)


def test_a_change_that_makes_the_replay_hang_is_an_error_after_the_first_few(world: World) -> None:
    asked, found = slow_gate(world, lambda tree, cases: cases if tree.name == "base" else [])
    assert asked == [("base", 46), ("head", 46), ("head", evals.FEW)]
    assert found.state is GateState.error and "no plan on head (timeout)" in reasons(found)


def test_a_slow_replay_gets_its_time_for_a_few_at_once(world: World) -> None:
    asked, found = slow_gate(world, lambda tree, cases: cases if len(cases) <= evals.FEW else [])
    assert asked == [(side, number) for side in ("base", "head") for number in (46, 20, 20, 6)] and found.state is GateState.passed


def test_replays_on_both_sides_have_one_end(world: World) -> None:
    """Half the time on base, all of it before the second few: neither they nor head are asked any more."""
    asked, found = slow_gate(world, lambda tree, cases: cases[:1] if len(cases) <= evals.FEW else [], rounds=evals.ROUNDS // 2)
    assert asked == [("base", 46), ("base", 20)]
    assert found.state is GateState.error and "no plan on head (timeout)" in reasons(found)


def test_a_report_holds_no_value_of_the_customer(world: World) -> None:
    ticket = {"messages": [{"role": "customer", "text": "Ada Byron, email postcode, ada.byron@mail.example"}], "known_values": {"name": "Ada Byron"}}
    hint = _confirmed(world, ticket)
    found = world.runs().gate_of(world.pull_of(hint.id).id)
    assert found.state is GateState.passed
    assert "Ada" not in json.dumps(found.report) and "byron" not in json.dumps(found.report).lower()


def _confirmed(world: World, ticket: dict[str, Any]) -> hints.HintRow:
    case_id = world.rejects(ticket, "not Ada Byron")
    hint = world.runs().hint_of(case_id)
    return world.confirms(hint.id)


def test_a_pull_that_is_not_there_has_no_gate(world: World) -> None:
    assert evals.run(world.db, world.ports, "p") is None
    evals.fail(world.db, "p", "nobody")


def test_a_gate_that_breaks_is_an_error_with_a_name(world: World) -> None:
    class Broken:
        name = "broken"

        def run_suite(self, *_: Any) -> Any:
            raise ZeroDivisionError

        replay = run_suite

    pull = built(world)
    with pytest.raises(ZeroDivisionError):
        world.with_ports(evals=Broken()).reopen("gate", pull.id)
    assert (world.gate_of(pull.id).state, reasons(world.gate_of(pull.id))) == (GateState.error, "internal error (ZeroDivisionError); see the log")


def test_a_control_that_changes_by_hidden_characters_alone_is_no_changed_control(world: World) -> None:
    """The pages could not show the difference; a person could not judge it."""
    ok = world.accepts("postcode")

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        said = case["ticket"]["messages"][0]["text"]
        found = plan_of(tree, said)
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        return {**found, "reply": found["reply"] + "\u200b\u00ad"} if changed and said == "postcode" else found

    found = run(world.with_ports(evals=ScriptedEvals(lambda suite, tree, row: True, plan)), built(world))
    assert found.state is GateState.passed and f"the control case {ok} changed" not in reasons(found)
    assert [one["state"] for one in found.report["controls"] if one["case_id"] == ok] == ["same"]


def test_a_cure_is_judged_although_the_pipeline_writes_hidden_characters(world: World) -> None:
    """What was promised is held against what can be read, however the target's config spells it."""
    case_id = world.rejects("email postcode", "wrong person")
    spelt = [{"part": "record", "is": "cus_\u200bright"}, {"part": "reply", "contains": "Scho\u0308n"}]

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        found = plan_of(tree, case["ticket"]["messages"][0]["text"])
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        found["fetch"] = [{"record_id": "cus_ri\u2060ght" if changed else "cus_wrong", "score": 5, "matched_fields": []}]
        return {**found, "tool_calls": [], "trace": None, "reply": "Sch\u00f6\u00adn" if changed else "Hm"}

    pipeline = ScriptedEvals(lambda suite, tree, row: True, plan)
    world.with_ports(evals=pipeline, critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, must=spelt, must_not=[])])))
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    found = run(world, world.pull_of(hint.id))
    assert found.report["cure"] == {**found.report["cure"], "state": "cured", "reason": ""}, found.report

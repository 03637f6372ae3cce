"""The clock holds here: what lost its flow gets one again, what has one or needs none does not, and a beat that fails is not the last."""

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service import ticks
from service.lifecycle import HandoffState, PullState
from service.store import hints
from service.ticks import Clock, reconcile
from tests.samples.small import Killed, small_evals
from tests.samples.world import World


class Flows:
    """As much of an engine as the clock needs; `alive` are the ids of flows that still live."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.rescues = 0
        self.pruned: list[Any] = []

    def active(self, prefixes: Any) -> set[str]:
        return {one for one in self.alive if one.startswith(tuple(prefixes))}

    def rescue(self) -> int:
        self.rescues += 1
        raise OperationalError("select", {}, Exception("gone"))

    def prune(self, before: Any) -> int:
        self.pruned.append(before)
        return 3 if len(self.pruned) < 3 else 0


def reconciled(world: World, alive: set[str] | None = None) -> list[tuple[str, str]]:
    """What is asked for again once everything has stood still for a while."""
    world.time += timedelta(seconds=61)
    flows = Flows()
    flows.alive = alive or set()
    before = world.asked.flows(world.db)
    count = reconcile(world.db, flows)  # type: ignore[arg-type]
    again = world.asked.flows(world.db)[len(before) :]
    assert count == len(again)
    return again


def hint_of_a_rejection(world: World) -> hints.HintRow:
    case_id = world.rejects("email postcode", "wrong person")
    return world.runs().hint_of(case_id)


def test_a_case_that_lost_its_flow_is_drafted_again(world: World) -> None:
    case_id, control = world.rejects("email postcode", "wrong person"), world.accepts("email")
    ticks.intake.sweep(world.db)
    assert reconcile(world.db, Flows()) == 0  # type: ignore[arg-type]  # too early to worry
    assert sorted(reconciled(world)) == sorted([("draft", case_id), ("mask", control)])
    assert reconciled(world, {f"draft:{case_id}:0", f"mask:{control},other:0"}) == []
    world.runs()
    assert reconciled(world) == []


def test_a_handoff_that_lost_its_flow_goes_on(world: World) -> None:
    hint = hint_of_a_rejection(world)
    world.confirms(hint.id)
    handoff = world.handoff_of(hint.id)
    assert reconciled(world) == [("handoff", handoff.id)]
    assert reconciled(world, {f"handoff:{handoff.id}:9"}) == []


def test_a_handoff_whose_worker_never_came_back_goes_on(world: World) -> None:
    """The flow was given up on in the middle of its work."""

    class Gone:
        name = "gone"

        def run(self, job: Any, tree: Any) -> Any:
            raise KeyboardInterrupt

    hint = hint_of_a_rejection(world)
    world.confirms(hint.id)
    handoff, agent = world.handoff_of(hint.id), world.ports.agent
    with pytest.raises(KeyboardInterrupt):
        world.with_ports(agent=Gone()).reopen("handoff", handoff.id)
    assert world.handoff_of(hint.id).state is HandoffState.working
    assert reconciled(world) == [("handoff", handoff.id)]
    assert reconciled(world, {f"handoff:{handoff.id}:retry1"}) == []
    world.with_ports(agent=agent).runs()
    assert world.handoff_of(hint.id).state is HandoffState.built


def test_a_pull_that_lost_its_gate_is_gated_and_one_that_failed_it_is_left_alone(world: World) -> None:
    hint = hint_of_a_rejection(world)
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    pull = world.pull_of(hint.id)
    assert reconciled(world) == [("gate", pull.id)]
    world.with_ports(evals=small_evals(**{"fetch-golden": "too_few_rows"})).runs()
    assert (world.pull(pull.id).state, world.gate_of(pull.id).state) == (PullState.draft, "fail")
    assert reconciled(world) == []


@pytest.mark.parametrize("evals", [small_evals(**{"fetch-golden": "timeout"}), Killed(99)], ids=["on neither side", "killed on head every time"])
def test_a_gate_that_could_not_run_is_tried_a_few_times_and_no_more(world: World, evals: Any) -> None:
    world.with_ports(evals=evals)
    hint = hint_of_a_rejection(world)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    turns = 0
    while reconciled(world):
        turns += 1
        assert turns < 9, "it never stops"
        world.runs()
    assert turns == ticks.GATE_TRIES - 1
    assert world.moves("gate_runs", world.gate_of(pull.id).id).count("running") == ticks.GATE_TRIES
    assert (world.gate_of(pull.id).state, world.pull(pull.id).state) == ("error", PullState.draft)
    assert world.gate_of(pull.id).report["reasons"]


def test_a_landing_that_lost_its_flow_lands(world: World) -> None:
    hint = hint_of_a_rejection(world)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    world.merges(pull.id)
    assert reconciled(world) == [("land", pull.id)]
    world.runs()
    assert world.pull(pull.id).state is PullState.merged and reconciled(world) == []


def test_what_waits_for_a_person_is_never_enqueued(world: World) -> None:
    hint_of_a_rejection(world)
    hint = hint_of_a_rejection(world)
    world.dismisses(hint.id)
    assert reconciled(world) == [] == reconciled(world)


def test_the_clock_starts_beats_and_stops(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    flows = Flows()
    clock = Clock(world.db, flows, settle=0)  # type: ignore[arg-type]
    clock.nudge()  # not running yet: nothing to hurry
    clock.start()
    clock.nudge()
    for _ in range(400):
        if ("draft", case_id) in world.asked.flows(world.db):
            break
        time.sleep(0.01)
    clock.stop()
    assert ("draft", case_id) in world.asked.flows(world.db)
    assert not clock._scheduler.running and {job.id for job in clock._scheduler.get_jobs()} <= {"sweep", "rescue", "reconcile", "prune", "noise"}
    clock.nudge()  # after the end: no error


def test_senders_go_first_but_not_for_ever(world: World) -> None:
    """While cases keep coming they are not swept, until the first has waited long enough."""
    case_id = world.rejects("email postcode", "wrong person")
    clock = Clock(world.db, Flows(), settle=0)  # type: ignore[arg-type]
    sweep = {job.id: job.func for job in clock._scheduler.get_jobs()}["sweep"]
    clock.nudge()
    sweep()
    assert world.asked.flows(world.db) == []
    clock._first -= ticks.AT_LATEST
    clock.nudge()
    sweep()
    assert ("draft", case_id) in world.asked.flows(world.db)


def test_a_beat_that_fails_is_logged_and_swallowed(world: World) -> None:
    flows = Flows()
    clock = Clock(world.db, flows, settle=0)  # type: ignore[arg-type]
    beats = {job.id: job.func for job in clock._scheduler.get_jobs()}
    beats["rescue"]()
    beats["prune"]()
    assert flows.rescues == 1 and len(flows.pruned) == 3
    assert flows.pruned[0] == world.db.now() - ticks.KEEP_FLOWS

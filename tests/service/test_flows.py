"""The flows hold here: run twice they do no more than run once, and one that breaks says so in the state of its thing."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from connectors.scripted import ScriptedAgent, ScriptedCritic
from service.engine import MASK, QUEUE_OF, step, things_of
from service.lifecycle import DraftState, HandoffState, PullState
from service.store import history
from tests.samples.world import World

THINGS = ("cases", "originals", "hints", "reviews", "handoffs", "pulls", "gate_runs", "outcomes", "examples", "history")


def counted(world: World) -> dict[str, Any]:
    """What there is, what state it is in, and how often it moved."""
    with world.db.read() as session:
        found: dict[str, Any] = {name: session.connection().execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one() for name in THINGS}
        for name in ("cases", "hints", "handoffs", "pulls", "gate_runs", "outcomes"):
            found[f"{name} by state"] = {state: number for state, number in history.tallies(session, name).items() if number}
        return found


def whole_loop(world: World) -> list[tuple[str, str]]:
    """Everything once; returns the flows that ran."""
    world.accepts("email")
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.merges(world.runs().pull_of(hint.id).id)
    world.runs()
    return world.asked.flows(world.db)


def test_every_flow_run_twice_is_harmless(world: World) -> None:
    """At-least-once is all that a queue promises: after a crash any body may start over, also long after its turn."""
    ran = whole_loop(world)
    assert {flow for flow, _ in ran} == set(world.flows()) - {"noise"} == {"mask", "draft", "handoff", "gate", "land", "learn"}
    before, head, asked = counted(world), world.host.head(), len(ran)
    for flow, thing in [*ran, *reversed(ran)]:
        world.reopen(flow, thing)
    assert (counted(world), world.host.head(), len(world.asked.flows(world.db))) == (before, head, asked)
    assert len(world.jobs()) == len(world.ports.critic.briefs) == len(world.host.branches) == 1  # type: ignore[attr-defined]


def test_every_flow_started_twice_in_its_turn_is_harmless(world: World) -> None:
    """The duplicate comes at once, before what follows."""

    def twice(body: Callable[[str], None]) -> Callable[[str], None]:
        return lambda thing: (body(thing), body(thing))[0]

    real = world.flows
    world.flows = lambda: {name: twice(body) for name, body in real().items()}  # type: ignore[method-assign]
    whole_loop(world)
    assert counted(world)["pulls by state"] == {"merged": 1} and counted(world)["outcomes by state"] == {"cured": 1}
    assert len(world.jobs()) == len(world.ports.critic.briefs) == len(world.host.branches) == 1  # type: ignore[attr-defined]


def test_flows_of_things_that_are_gone_do_nothing(world: World) -> None:
    before = counted(world)
    for flow in world.flows():
        world.reopen(flow, "nothing-of-that-name")
    assert counted(world) == before


class Crash(RuntimeError):
    pass


def crash(*_: Any) -> Any:
    raise Crash("the customer said: secret words")


class Broken:
    """An eval runner that breaks in a way nobody foresaw."""

    name = "broken"
    run_suite = replay = staticmethod(crash)


def test_a_broken_step_leaves_a_named_state(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    critic, agent, evals = world.ports.critic, world.ports.agent, world.ports.evals
    world.with_ports(critic=ScriptedCritic(crash)).runs()
    assert (world.case(case_id).state, world.case(case_id).reason) == (DraftState.failed, "internal")

    again = world.with_ports(critic=critic, evals=evals).rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(again)
    world.with_ports(agent=ScriptedAgent(crash)).confirms(hint.id)
    world.runs()
    assert world.handoff_of(hint.id).state is HandoffState.failed

    third = world.with_ports(agent=agent).rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(third)
    with world.db.begin() as session:
        session.connection().execute(text("UPDATE hints SET state = 'dismissed' WHERE state = 'confirmed'"))
        session.connection().execute(text("UPDATE hints SET findings = '[]'"))
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    pull = world.pull_of(hint.id)
    world.with_ports(evals=Broken()).runs()
    assert (world.gate_of(pull.id).state, world.pull(pull.id).state) == ("error", PullState.draft)

    world.with_ports(evals=evals).reopen("gate", pull.id)
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.merges(pull.id)
    world.with_ports(evals=Broken()).runs()
    assert world.pull(pull.id).state is PullState.ready
    assert [line.split(":")[0] for line in world.broken] == ["draft", "handoff", "gate", "land"]
    told = [world.case(case_id).reason, world.handoff_of(hint.id).reason, world.pull(pull.id).closed_reason, str(world.gate_of(pull.id).report)]
    assert "secret words" not in str(told)


def test_outside_a_flow_a_step_is_a_plain_call() -> None:
    assert step("x", lambda: 7) == 7
    with pytest.raises(Crash):
        step("x", crash)


def test_masks_have_a_queue_of_their_own() -> None:
    """What only computes must not stand before a gate or a person's merge."""
    assert QUEUE_OF["mask"] == MASK and [flow for flow, queue in QUEUE_OF.items() if queue == MASK] == ["mask"]


def test_flow_ids_say_whose_they_are() -> None:
    assert things_of(["gate:p1:17", "mask:c1,c2:0", "handoff:h-1-2:again-99", "handoff:h-1-2:retry1"]) == {
        ("gate", "p1"), ("mask", "c1"), ("mask", "c2"), ("handoff", "h-1-2"),
    }  # fmt: skip


def test_a_case_that_cannot_be_masked_takes_no_neighbour_with_it(world: World) -> None:
    good, bad, other = (world.rejects("email postcode", f"wrong person {number}") for number in range(3))
    control = world.accepts("email")
    with world.db.begin() as session:
        session.connection().execute(text("UPDATE originals SET body = '{}' WHERE case_id = :bad"), {"bad": bad})
    world.reopen("mask", ",".join([good, bad, other, control]))
    assert world.case(bad).state is DraftState.failed
    world.runs()
    assert [world.case(one).state for one in (good, bad, other, control)] == [
        DraftState.drafted, DraftState.failed, DraftState.drafted, DraftState.control,
    ]  # fmt: skip
    assert all(world.case(one).redacted_at for one in (good, other, control)) and world.broken == []

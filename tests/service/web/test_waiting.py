"""What a model's draft cost, what it was shown, and why a draft waits: said on the pages of hint and case."""

from dataclasses import replace

from connectors.ports import PortError
from connectors.scripted import ScriptedCritic
from rubric.drafting import Brief, Cost, Drafted
from tests.service.web.world import World


def test_a_draft_that_was_put_off_says_why_and_when_it_goes_on(world: World) -> None:
    def busy(brief: Brief) -> Drafted:
        raise PortError("overloaded", "the model gave no answer", retryable=True, retry_after=300)

    ports, world.ports = world.ports, replace(world.ports, critic=ScriptedCritic(busy))
    try:
        case_id = world.receives()
    finally:
        world.ports = ports
    said = world.sees(f"/cases/{case_id}").text
    assert "It waits: overloaded: the model gave no answer; tried 1 time, next in 5 min" in said


def test_a_hint_says_what_it_cost_what_it_moves_too_and_what_the_model_was_shown(world: World) -> None:
    other = world.receives(name="T-0")

    def drafts(brief: Brief) -> Drafted:
        reply = world._draft(brief)
        assert isinstance(reply, Drafted)
        hints = [hint.model_copy(update={"also_moves": [other], "precedents": [other]}) for hint in reply.hints]
        return reply.model_copy(update={"hints": hints, "cost": Cost(calls=8, tokens=5120, usd=0.0123)})

    ports, world.ports = world.ports, replace(world.ports, critic=ScriptedCritic(drafts))
    try:
        hint = world.rejects()
    finally:
        world.ports = ports
    page = world.sees(f"/hints/{hint}")
    assert "8 calls, 5120 tokens, about $0.0123 by the price list" in page.text
    assert "1 other rejection, as replay showed" in page.text
    assert len(page.all("a", href=f"/cases/{other}")) == 2

"""What an agent did is shown beside its hint: figures, what was against it, and its words as the words of a stranger."""

from datetime import UTC, datetime
from typing import Any

from service.store import attempts, handoffs
from tests.service.web.test_untrusted import ALL, harmless
from tests.service.web.world import World


def tried(world: World, hint_id: str, **changes: Any) -> None:
    with world.house.db.begin() as session:
        work = handoffs.of_hint(session, hint_id)[-1]
        row = {
            "handoff_id": work.id, "round": 0, "number": 1, "agent": "claude", "status": "done", "reason": "", "turns": 12, "tokens": 34567, "usd": 0.0456,
            "seconds": 61.27, "violations": [], "lost": [], "transcript": "", "at": datetime.now(UTC), **changes,
        }  # fmt: skip
        attempts.put(session, attempts.AttemptRow(**row))


def test_an_attempt_is_shown_with_what_was_against_it(world: World) -> None:
    hint_id = world.rejects()
    world.confirms(hint_id)
    tried(world, hint_id, violations=[{"path": "config/x.json", "code": "unapplied", "text": "to=5 is not there"}])
    tried(world, hint_id, number=2, usd=None, lost=["fetch-golden: fail (lost: f2)"], transcript="> hello")
    page = world.sees(f"/hints/{hint_id}")
    for words in (
        "12",
        "34567",
        "0.046",
        "61.3",
        "unapplied at config/x.json: to=5 is not there",
        "cost unknown",
        "fetch-golden: fail (lost: f2)",
        "> hello",
    ):
        assert words in page.text, words
    assert world.client.get(f"/v1/hints/{hint_id}").json()["handoffs"][0]["attempts"][1]["number"] == 2


def test_the_words_of_an_agent_are_data(world: World) -> None:
    hint_id = world.rejects()
    world.confirms(hint_id)
    hostile = [{"path": ALL, "code": ALL, "text": ALL}]
    tried(world, hint_id, agent=ALL, status=ALL, reason=ALL, violations=hostile, lost=[ALL], transcript=ALL)
    harmless(world.sees(f"/hints/{hint_id}"), "attempts")

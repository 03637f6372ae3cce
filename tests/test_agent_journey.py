"""The whole loop with a real coding agent in a real box: from a comment to a pull that the gate lets through, examined where the agent's code can do no harm."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.localgit import LocalGit
from connectors.ports import Budget, Limits, Ports, TreeRun
from connectors.processes import ProcessLimits
from connectors.scripted import ScriptedAgent, ScriptedCritic
from connectors.subprocess_evals import SubprocessEvals
from rubric.drafting import Brief, Drafted
from rubric.schema import Hint
from service.db import Database
from service.lifecycle import HandoffState, PullState
from service.stages import critic, intake
from service.store import attempts
from tests.connectors.test_real_agents import EXAMPLE, SAYS, Answers, agent_of, agents, example, use
from tests.samples.boxes import KEY, needs_box
from tests.samples.world import World

__all__ = ["agents"]
pytestmark = [needs_box, pytest.mark.agents]
CASES = {case["external_id"]: case for case in map(json.loads, (EXAMPLE.parent / "cases.jsonl").read_text().splitlines())}
FILE, PHRASE, BETTER = "config/templates.json", "Kindly be patient.", "It will be with you in five working days."
EDITS = {
    "claude": (
        lambda tree: use("Read", 1, file_path=f"{tree}/{FILE}"),
        lambda tree: use("Edit", 2, file_path=f"{tree}/{FILE}", old_string=PHRASE, new_string=BETTER),
        SAYS,
    ),
    "pi": (
        lambda tree: use("read", 1, path=f"{tree}/{FILE}"),
        lambda tree: use("edit", 2, path=f"{tree}/{FILE}", edits=[{"oldText": PHRASE, "newText": BETTER}]),
        SAYS,
    ),
}
"""what the scripted model asks each agent's own tools for"""


def rephrase(brief: Brief) -> Drafted:
    comment, template = brief.case.comment, "replacement.ordered"
    text = {
        "step": "reply", "target": f"reply:{template}",
        "change": {"recipe": "change_reply_template", "templates": [template], "old": PHRASE, "new": BETTER},
        "evidence": [{"source": "comment", "quote": comment, "start": 0, "end": len(comment)}], "summary": "Say how long it takes",
        "worked_example": {"case_id": brief.case_id, "plan_now": "says to be patient", "plan_instead": "says when"}, "cure_case": brief.case_id,
        "must": [{"part": "reply", "contains": BETTER}], "must_not": [{"part": "reply", "contains": PHRASE}], "risk": "careful",
        "risk_reason": "customers read it", "confidence": {"agree": 1, "of": 1},
    }  # fmt: skip
    return Drafted(hints=[Hint.model_validate(text)])


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    (tmp_path / "work").mkdir()
    now = lambda: datetime(2026, 3, 1, tzinfo=UTC)  # noqa: E731
    host = LocalGit.create(tmp_path / "target.git", EXAMPLE, "Start", name="bank", now=now)
    ports = Ports(
        critic=ScriptedCritic(rephrase), agent=ScriptedAgent(lambda job, tree: TreeRun("gave_up", "no_rule: not by a template")),
        evals=SubprocessEvals(tmp_path / "evals", python=sys.executable), hosts={"bank": host}, now=now, workdir=tmp_path / "work",
        limits=Limits(controls=4, gate_controls=4, budget=Budget(seconds=60)),
    )  # fmt: skip
    return World(db, ports)


@pytest.mark.parametrize("name", EDITS)
def test_what_an_agent_makes_of_an_approved_hint_passes_the_gate(name: str, world: World, agents: Path) -> None:
    answers = Answers(*EDITS[name])
    with example(agents, answers) as around:
        boxed = SubprocessEvals(around.place / "boxed", python=sys.executable, limits=ProcessLimits(memory_mb=0), box=around.box)
        coder = agent_of(name, around, agents)
        world.sends(CASES["nsb-002"])
        case_id = world.sends(CASES["nsb-026"]).case_id
        intake.mask(world.db, [case_id])
        critic.draft(world.db, world.ports, world.catalogue, case_id)  # not tried: no template makes this change
        hint = world.hint_of(case_id)
        world.confirms(hint.id)
        world.with_ports(coder=_Placed(coder, answers), boxed=boxed).runs()

        built = world.handoff_of(hint.id)
        assert (built.state, built.by_model) == (HandoffState.built, True), built.reason
        pull = world.pull_of(hint.id)
        run = world.gate_of(pull.id)
        assert (pull.state, run.state) == (PullState.ready, "pass"), run.report["reasons"]
        assert {suite["graded"] for suite in run.report["suites"]} == {"outside"} and len(run.report["controls"]) == 1
        changed = world.host.diff(pull.base_sha, pull.head_sha)
        assert {line[6:] for line in changed.splitlines() if line.startswith("+++ b/")} == {FILE}
        with world.db.read() as session:
            (go,) = attempts.of_handoff(session, built.id)
        assert (go.status, go.turns, go.violations, go.lost) == ("done", 3, [], []) and go.usd and KEY not in go.transcript
        assert all(KEY in str(seen.headers) for seen in around.stub.requests), "the server saw the real key"
        words = [CASES["nsb-026"]["rejection"]["comment"], *CASES["nsb-026"]["ticket"].get("known_values", {}).values()]
        said = "".join(str(seen.body) for seen in around.stub.requests)
        assert not [word for word in words if isinstance(word, str) and word in said], "a customer's words reached the agent"


class _Placed:
    """The agent, whose scripted model learns where the tree is."""

    by_model = True

    def __init__(self, agent, answers: Answers):  # type: ignore[no-untyped-def]
        self.name, self._agent, self._answers = agent.name, agent, answers

    def trouble(self) -> str | None:
        return self._agent.trouble()  # type: ignore[no-any-return]

    def run(self, job, tree: Path) -> TreeRun:  # type: ignore[no-untyped-def]
        self._answers.tree = tree
        return self._agent.run(job, tree)  # type: ignore[no-any-return]

"""The whole loop in the words of those who use it, on the example target: real git, real evals, real critic, flows run one by one."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import Limits, PortError, Ports
from connectors.precedent_critic import PrecedentCritic
from connectors.scripted import ScriptedCritic
from connectors.subprocess_evals import SubprocessEvals
from rubric.drafting import Brief, Drafted
from rubric.schema import Hint, Plan
from service.db import Database
from service.errors import NotConfirmable
from service.lifecycle import DraftState, HandoffState, PullState, ReviewState
from service.stages import intake
from tests.samples.repos import push
from tests.samples.world import CATALOGUE, World

EXAMPLES = Path(__file__).parents[1] / "examples"
CASES = {case["external_id"]: case for case in map(json.loads, (EXAMPLES / "cases.jsonl").read_text().splitlines())}
PHRASE, BETTER = "Kindly be patient.", "It will be with you in five working days."
CONTROLS = ("nsb-002", "nsb-006", "nsb-007", "nsb-015")
TEMPLATES = ["replacement.ordered"]


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    """The example target in a repository of its own."""
    now = lambda: datetime(2026, 3, 1, tzinfo=UTC)  # noqa: E731
    (tmp_path / "work").mkdir()
    host = LocalGit.create(tmp_path / "target.git", EXAMPLES / "target-pipeline", "Start", name="bank", now=now)
    ports = Ports(
        critic=PrecedentCritic(CATALOGUE), agent=RecipeCodemod(), evals=SubprocessEvals(tmp_path / "evals", python=sys.executable),
        hosts={"bank": host}, now=now, workdir=tmp_path / "work", limits=Limits(controls=4, gate_controls=4),
    )  # fmt: skip
    return World(db, ports)


def rephrase(brief: Brief, **changes: Any) -> Hint:
    """The hint that takes a phrase out of a template."""
    comment = brief.case.comment
    text: dict[str, Any] = {
        "step": "reply", "target": f"reply:{TEMPLATES[0]}",
        "change": {"recipe": "change_reply_template", "templates": TEMPLATES, "old": PHRASE, "new": BETTER},
        "evidence": [{"source": "comment", "quote": comment, "start": 0, "end": len(comment)}], "summary": "Say how long it takes",
        "worked_example": {"case_id": brief.case_id, "plan_now": "says to be patient", "plan_instead": "says when"}, "cure_case": brief.case_id,
        "must": [{"part": "reply", "contains": BETTER}], "must_not": [{"part": "reply", "contains": PHRASE}], "risk": "careful",
        "risk_reason": "customers read it", "confidence": {"agree": 1, "of": 1}, **changes,
    }  # fmt: skip
    return Hint.model_validate(text)


def says_the_same(brief: Brief) -> Drafted:
    return Drafted(hints=[rephrase(brief)])


def the_case(world: World, name: str) -> str:
    return world.sends(CASES[name]).case_id  # type: ignore[no-any-return]


def plan_now(world: World, name: str) -> Plan:
    return Plan.model_validate(world.pipeline_says(CASES[name]["ticket"]))


def test_a_rejection_becomes_a_merged_pull_that_cures_it(world: World) -> None:
    """The real critic, from the comment alone."""
    accepted = [the_case(world, name) for name in CONTROLS]
    case_id = the_case(world, "nsb-026")
    world.runs()
    assert world.case(case_id).state is DraftState.drafted, world.case(case_id).reason
    hint = world.hint_of(case_id)
    assert (hint.recipe, [finding for finding in hint.findings if finding["blocks"]]) == ("change_reply_template", [])
    before, controls = plan_now(world, "nsb-026"), [plan_now(world, name) for name in CONTROLS]

    world.confirms(hint.id, by="gwen")
    pull = world.runs().pull_of(hint.id)
    run = world.gate_of(pull.id)
    assert (pull.state, run.state) == (PullState.ready, "pass"), run.report["reasons"]
    assert {one["case_id"] for one in run.report["controls"]} == set(accepted)
    # a reply greets by the name of the record, which a row with made-up names cannot hold: it stays out, and the pull says so
    assert pull.row is None and pull.row_note == "none: with made-up names the row does not pass after the change" and pull.row_note in pull.body

    world.merges(pull.id, by="gwen")
    world.runs()
    assert world.pull(pull.id).state is PullState.merged and world.host.head() == world.pull(pull.id).merged_sha
    story = world.story(case_id)
    assert (story["state"], story["outcome_of_fix"], world.broken) == ("drafted", "cured", [])
    after = plan_now(world, "nsb-026")
    assert PHRASE in before.reply and PHRASE not in after.reply and before.leaf == after.leaf
    assert [plan_now(world, name) for name in CONTROLS] == controls
    changed = world.host.diff(pull.base_sha, pull.head_sha)
    assert {line[6:] for line in changed.splitlines() if line.startswith("+++ b/")} == {"config/templates.json"}


def test_nothing_published_names_the_customer(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    known = [value for value in CASES["nsb-026"]["ticket"].get("known_values", {}).values() if isinstance(value, str)]
    assert known
    hint = drafted(world, "nsb-026")
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    published = " ".join([pull.title, pull.body, json.dumps(pull.row, ensure_ascii=False), world.host.diff(pull.base_sha, pull.head_sha)])
    for value in known:
        for word in [value, *value.split()]:
            assert word not in published
    assert "agent-" not in pull.body


def drafted(world: World, name: str) -> Any:
    case_id = the_case(world, name)
    return world.runs().hint_of(case_id)


def test_a_revision_makes_the_draft_stale(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    hint = drafted(world, "nsb-026")
    again = {**CASES["nsb-026"], "revision": 2, "rejection": {**CASES["nsb-026"]["rejection"], "comment": "I meant something else"}}
    newer = world.sends(again).case_id
    world.runs()
    assert world.hint(hint.id).state is ReviewState.stale
    assert world.case(intake.case_id_of("desk", "nsb-026", 1)).state is DraftState.stale
    assert world.hint_of(newer).state is ReviewState.awaiting
    with pytest.raises(Exception, match="stale"):
        world.confirms(hint.id)


def test_two_hints_with_the_same_change_become_one_pull_that_cures_both(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    first, second = the_case(world, "nsb-026"), world.rejects(CASES["nsb-026"]["ticket"], "please no 'kindly be patient'", name="x-1")
    world.runs()
    one, two = world.hint_of(first), world.hint_of(second)
    assert one.change_hash == two.change_hash
    world.confirms(one.id)
    with pytest.raises(Exception, match=r"twin|same change"):
        world.confirms(two.id)
    world.marks_duplicate(two.id, of=one.id)
    pull = world.runs().pull_of(one.id)
    assert "cures 2 rejections" in pull.body
    world.merges(pull.id)
    world.runs()
    assert [world.story(case)["outcome_of_fix"] for case in (first, second)] == ["cured", "cured"]


def test_a_dismissed_hint_ends_there_and_teaches_the_critic(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    hint = drafted(world, "nsb-026")
    world.dismisses(hint.id, "one_off")
    world.runs()
    story = world.story(hint.case_id)
    assert (story["hints"][0]["state"], story["hints"][0]["reason"], story["pulls"]) == ("dismissed", "one_off", [])


def test_a_decision_taken_back_leaves_no_trace_in_the_repository(world: World, tmp_path: Path) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    hint = drafted(world, "nsb-026")
    world.confirms(hint.id)
    world.undoes(hint.id)
    world.runs()
    assert world.handoff_of(hint.id).state is HandoffState.withdrawn
    refs = subprocess.run(["git", "-C", str(tmp_path / "target.git"), "for-each-ref"], capture_output=True, text=True, check=True).stdout
    assert "triage/" not in refs


def test_a_pull_behind_the_base_is_built_again(world: World, tmp_path: Path) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    hint = drafted(world, "nsb-026")
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    moved = push(tmp_path / "target.git", {"README.md": b"# changed meanwhile\n"})
    world.merges(pull.id)
    world.runs()
    merged = world.pull(pull.id)
    assert (merged.state, merged.base_sha) == (PullState.merged, moved), merged.closed_reason
    assert world.host.read(world.host.head(), "README.md") == b"# changed meanwhile\n"
    assert PHRASE not in plan_now(world, "nsb-026").reply


SECOND, CLEARER = "Your present card works until the new one is first used.", "Use your present card until then."


@pytest.mark.parametrize(
    ("said", "instead", "fits"), [(SECOND, CLEARER, True), (f"{PHRASE} {SECOND}", CLEARER, False)], ids=["another phrase", "one around it"]
)
def test_two_hints_on_one_line_in_flight(world: World, said: str, instead: str, fits: bool) -> None:
    """Both are confirmed and built on one base. The first lands; the second is made again on it, or says why it cannot be."""

    def drafts(brief: Brief) -> Drafted:
        if brief.case.external_id == "nsb-026":
            return Drafted(hints=[rephrase(brief)])
        change = {"recipe": "change_reply_template", "templates": TEMPLATES, "old": said, "new": instead}
        must, must_not = [{"part": "reply", "contains": instead}], [{"part": "reply", "contains": said}]
        return Drafted(hints=[rephrase(brief, change=change, must=must, must_not=must_not)])

    world.with_ports(critic=ScriptedCritic(drafts))
    first, second = the_case(world, "nsb-026"), world.rejects(CASES["nsb-026"]["ticket"], f"not '{said}'", name="x-1")
    world.runs()
    hints = [world.hint_of(first), world.hint_of(second)]
    for hint in hints:
        world.confirms(hint.id)
    one, two = [world.runs().pull_of(hint.id) for hint in hints]
    assert (one.state, two.state, one.base_sha) == (PullState.ready, PullState.ready, two.base_sha)
    for pull in (one, two):
        world.merges(pull.id)
    world.runs()
    landed = world.pull(one.id)
    assert landed.state is PullState.merged and world.broken == []
    reply, after = plan_now(world, "nsb-026").reply, world.pull(two.id)
    assert BETTER in reply and PHRASE not in reply
    if fits:
        assert (after.state, after.base_sha, world.host.head()) == (PullState.merged, landed.merged_sha, after.merged_sha), after.closed_reason
        assert CLEARER in reply and world.story(second)["outcome_of_fix"] == "cured"
    else:
        assert after.state is PullState.ready and "text_not_found" in (after.closed_reason or ""), (after.state, after.closed_reason)
        assert world.host.head() == landed.merged_sha


def test_two_hints_that_replace_one_phrase_by_two_are_not_both_confirmed(world: World) -> None:
    """Drafted side by side, neither knew of the other; only one can be built."""
    other = {
        "change": {"recipe": "change_reply_template", "templates": TEMPLATES, "old": PHRASE, "new": "It takes a week."},
        "must": [{"part": "reply", "contains": "It takes a week."}],
    }  # fmt: skip
    drafts = lambda brief: Drafted(hints=[rephrase(brief, **(other if brief.case.external_id == "x-1" else {}))])  # noqa: E731
    world.with_ports(critic=ScriptedCritic(drafts))
    first, second = the_case(world, "nsb-026"), world.rejects(CASES["nsb-026"]["ticket"], f"not '{PHRASE}'", name="x-1")
    world.runs()
    world.confirms(world.hint_of(first).id)
    with pytest.raises(NotConfirmable, match="one phrase is replaced by two"):
        world.confirms(world.hint_of(second).id)


def test_a_target_without_a_manifest_fails_its_cases_by_name_and_the_rest_goes_on(world: World, tmp_path: Path) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    manifest = world.host.read(world.host.head(), "triage.yaml")
    push(tmp_path / "target.git", {"triage.yaml": None})
    lost = the_case(world, "nsb-026")
    world.runs()
    assert (world.case(lost).state, world.case(lost).reason) == (DraftState.failed, "no_manifest")
    push(tmp_path / "target.git", {"triage.yaml": manifest})
    found = world.rejects(CASES["nsb-026"]["ticket"], "please no 'kindly be patient'", name="x-1")
    assert world.runs().case(found).state is DraftState.drafted


def test_a_manifest_that_names_a_missing_command_stops_at_the_gate_with_its_name(world: World, tmp_path: Path) -> None:
    world.with_ports(critic=ScriptedCritic(says_the_same))
    case_id = the_case(world, "nsb-026")
    manifest = world.host.read(world.host.head(), "triage.yaml") or b""
    missing = manifest.replace(b"argv: [python, -m, evals.run, --step, reply,", b"argv: [no-such-command, --step, reply,")
    push(tmp_path / "target.git", {"triage.yaml": missing})
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    run = world.gate_of(pull.id)
    assert (pull.state, run.state) == (PullState.draft, "error") and "command_missing" in "; ".join(run.report["reasons"])
    assert pull.row is None and "could not be run" in pull.row_note


def test_a_plan_that_names_a_leaf_that_is_gone_is_not_reproducible(world: World) -> None:
    case = json.loads(json.dumps(CASES["nsb-026"]))
    case["plan"]["intent_path"] = ["cards", "teleport"]
    case_id = world.sends(case).case_id
    good = world.rejects(CASES["nsb-026"]["ticket"], CASES["nsb-026"]["rejection"]["comment"], name="x-1")
    world.runs()
    assert (world.case(case_id).state, world.case(case_id).outcome) == (DraftState.abstained, "not_reproducible")
    assert world.case(good).state is DraftState.drafted


def test_a_critic_that_is_down_fails_its_case_by_name(world: World) -> None:
    world.with_ports(critic=ScriptedCritic({"nsb-026": PortError("overloaded", "come back later")}))
    case_id = the_case(world, "nsb-026")
    assert (world.runs().case(case_id).state, world.case(case_id).reason) == (DraftState.failed, "overloaded")

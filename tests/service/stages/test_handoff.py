"""The handoff holds here: nothing but approved bytes is worked on, one branch and one pull come of it, every end has its name."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from connectors.ports import PortError, TreeJob, TreeRun
from connectors.scripted import ScriptedAgent, ScriptedCritic
from rubric.drafting import Brief, Drafted
from rubric.schema import Hint
from service.lifecycle import HandoffState, PullState
from service.store import hints, pulls
from tests.samples.small import FILES, small_agent, small_evals, weight_hint
from tests.samples.world import World


@pytest.fixture
def hint(world: World) -> hints.HintRow:
    """A confirmed hint whose handoff waits."""
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    return hint


def agent_that(answer: Any) -> ScriptedAgent:
    return ScriptedAgent(lambda job, tree: answer)


def all_pulls(world: World, hint_id: str) -> list[pulls.Pull]:
    with world.db.read() as session:
        return pulls.of_hint(session, hint_id)


def test_an_approved_hint_becomes_one_draft_pull_with_its_eval_row(world: World, hint: hints.HintRow) -> None:
    world.reopen("handoff", world.handoff_of(hint.id).id)
    pull = world.pull_of(hint.id)
    assert (pull.state, pull.base_sha, world.handoff_of(hint.id).state) == (PullState.draft, world.host.head(), HandoffState.built)
    assert world.host.branches == {pull.branch: pull.head_sha}  # type: ignore[attr-defined]
    assert json.loads(world.host.read(pull.head_sha, "config/fetch.json") or b"")["weights"]["postcode"] == 1
    added = (world.host.read(pull.head_sha, "evals/fetch/cases.jsonl") or b"").removeprefix(FILES["evals/fetch/cases.jsonl"])
    assert json.loads(added) == {"id": hint.id, "words": "email postcode", "expected": "rec_a"} == pull.row
    assert ("gate", pull.id) in world.asked.flows(world.db)


def test_the_agent_is_told_nothing_of_ticket_and_comment(world: World) -> None:
    ticket = {"messages": [{"role": "customer", "text": "Ada Byron: email postcode"}], "known_values": {"name": "Ada Byron"}}
    case_id = world.rejects(ticket, "that is not Ada Byron")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.runs()
    (job,) = world.jobs()
    pull = world.pull_of(hint.id)
    published = " ".join(
        [pull.title, pull.body, json.dumps(pull.row), world.host.message(pull.head_sha), world.host.diff(pull.base_sha, pull.head_sha)]
    )  # type: ignore[attr-defined]
    assert "Ada" not in repr(job) and "Byron" not in repr(job)
    assert "Ada" not in published and "Byron" not in published and "Robin Example" in published


TAMPER = {
    "the hint's text": "UPDATE hints SET current = :text",
    "the hint's hash": "UPDATE hints SET content_hash = 'other'",
    "the text of the review": "UPDATE reviews SET text = :text",
    "the hash of the review": "UPDATE reviews SET hint_hash = 'other'",
    "the verdict of the review": "UPDATE reviews SET verdict = 'dismiss'",
    "the hash of the handoff": "UPDATE handoffs SET hint_hash = 'other'",
    "the state of the hint": "UPDATE hints SET state = 'dismissed'",
    "text and hash of the hint": "UPDATE hints SET current = :text, content_hash = :hash",
}


@pytest.mark.parametrize("tampering", TAMPER.values(), ids=TAMPER.keys())
def test_an_approval_that_does_not_fit_is_refused_before_any_agent_hears_of_it(world: World, hint: hints.HintRow, tampering: str) -> None:
    """P17, one level up: whatever changed after the yes, by whatever hand."""
    other = {**hint.current, "summary": "something else"}
    values = {"text": json.dumps(other), "hash": hints.content_hash(other)}
    with world.db.begin() as session:
        session.connection().execute(text(tampering), {name: value for name, value in values.items() if f":{name}" in tampering})
    world.runs()
    handoff = world.handoff_of(hint.id)
    assert (handoff.state, handoff.reason) == (HandoffState.refused, "the approval does not match the hint")
    assert world.jobs() == [] and world.host.branches == {} and all_pulls(world, hint.id) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (TreeRun("gave_up", "was_differs: it says 4"), HandoffState.gave_up, "was_differs: it says 4"),
        (TreeRun("refused", "path_not_allowed: no"), HandoffState.refused, "path_not_allowed: no"),
        (TreeRun("crashed", ""), HandoffState.failed, "crashed"),
        ({"triage.yaml": b"version: 1\n"}, HandoffState.refused, "triage.yaml"),
        ({"evals/fetch/cases.jsonl": b""}, HandoffState.refused, "evals/fetch/cases.jsonl"),
        ({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 1}}\n', "README.md": b"by the way\n"}, HandoffState.refused, "README.md"),
        ({".github/workflows/x.yml": b"on: push\n"}, HandoffState.refused, ".github"),
    ],
)
def test_every_end_has_its_name_and_leaves_no_branch(world: World, hint: hints.HintRow, answer: Any, state: HandoffState, reason: str) -> None:
    world.with_ports(agent=agent_that(answer)).runs()
    handoff = world.handoff_of(hint.id)
    assert handoff.state is state and reason in (handoff.reason or "")
    assert bool(handoff.violations) == (isinstance(answer, dict))
    assert world.host.branches == {} and all_pulls(world, hint.id) == []  # type: ignore[attr-defined]


def test_an_agent_that_lies_about_being_done_has_done_nothing(world: World, hint: hints.HintRow) -> None:
    world.with_ports(agent=agent_that(TreeRun("done", "all tests pass"))).runs()
    assert world.handoff_of(hint.id).state is HandoffState.refused
    assert [violation["code"] for violation in world.handoff_of(hint.id).violations] == ["empty"]


def test_what_may_work_later_is_tried_again_and_then_fails(world: World, hint: hints.HintRow) -> None:
    calls: list[int] = []

    def down(job: TreeJob, tree: Path) -> TreeRun:
        calls.append(job.attempt)
        raise PortError("host_down", "no answer", retryable=True)

    world.with_ports(agent=ScriptedAgent(down)).runs()
    handoff = world.handoff_of(hint.id)
    assert calls == [1, 2, 3]
    assert (handoff.state, handoff.reason) == (HandoffState.failed, "host_down: no answer")
    delays = [delay for key, flow, _, delay in world.asked.all(world.db) if flow == "handoff" and "retry" in key]
    assert delays == [2.0, 4.0]


def test_what_works_at_the_second_try_is_built_once(world: World, hint: hints.HintRow) -> None:
    world.host.fail_next["export"] = PortError("host_down", "no answer", retryable=True)  # type: ignore[attr-defined]
    world.runs()
    assert world.handoff_of(hint.id).state is HandoffState.built
    assert len(all_pulls(world, hint.id)) == 1 and len(world.jobs()) == 1


def test_what_can_never_work_fails_at_once(world: World, hint: hints.HintRow) -> None:
    world.host.fail_next["publish"] = PortError("forbidden", "no rights")  # type: ignore[attr-defined]
    world.runs()
    assert (world.handoff_of(hint.id).state, world.handoff_of(hint.id).reason) == (HandoffState.failed, "forbidden: no rights")


def test_a_branch_whose_answer_was_lost_is_adopted(world: World, hint: hints.HintRow) -> None:
    """The crash between publishing and writing it down: one branch, one pull."""
    world.host.lose_answer_of.add("publish")  # type: ignore[attr-defined]
    world.runs()
    (pull,) = all_pulls(world, hint.id)
    assert world.host.branches == {pull.branch: pull.head_sha}  # type: ignore[attr-defined]
    assert len(world.jobs()) == 2


def test_a_crash_after_publishing_is_taken_up_by_the_same_flow(world: World, hint: hints.HintRow) -> None:
    """The worker dies before the write: the flow starts over with the handoff in `working`."""

    handoff_id = world.handoff_of(hint.id).id
    real = world.ports.hosts["bank"]
    published: list[str] = []

    class Host:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def publish(self, *args: Any) -> Any:
            published.append(real.publish(*args).sha)
            raise KeyboardInterrupt

    world.with_ports(hosts={"bank": Host()})
    with pytest.raises(KeyboardInterrupt):
        world.reopen("handoff", handoff_id)
    assert world.handoff_of(hint.id).state is HandoffState.working
    world.with_ports(hosts={"bank": real}).reopen("handoff", handoff_id)
    (pull,) = all_pulls(world, hint.id)
    assert [pull.head_sha] == published and len(world.host.branches) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("deaths", "state"), [(5, HandoffState.built), (99, HandoffState.failed)])
def test_processes_that_die_at_work_are_no_failed_attempts_and_do_not_begin_for_ever(
    world: World, hint: hints.HintRow, deaths: int, state: HandoffState
) -> None:
    """Three deaths of the server within one handoff made it fail for good."""

    class Dying:
        name, left, by_model = "dying", deaths, False

        def trouble(self) -> str | None:
            return None

        def run(self, job: TreeJob, tree: Path) -> TreeRun:
            self.left -= 1
            if self.left >= 0:
                raise KeyboardInterrupt
            return agent.run(job, tree)

    agent, handoff_id = world.ports.agent, world.handoff_of(hint.id).id
    world.with_ports(agent=Dying())
    for _ in range(20):
        if world.handoff_of(hint.id).state in (HandoffState.waiting, HandoffState.working):
            with suppress(KeyboardInterrupt):
                world.reopen("handoff", handoff_id)
    assert world.handoff_of(hint.id).state is state
    assert len(all_pulls(world, hint.id)) == (state is HandoffState.built)


def test_when_the_base_moved_in_between_the_next_branch_is_taken(world: World, hint: hints.HintRow) -> None:
    world.host.lose_answer_of.add("publish")  # type: ignore[attr-defined]
    world.with_ports(agent=_pushing(world)).runs()
    pull = world.pull_of(hint.id)
    assert pull.branch.endswith("-2") and pull.base_sha == world.host.head()
    assert world.gate_of(pull.id).state == "pass"


def _pushing(world: World) -> ScriptedAgent:
    """An agent during whose second run somebody has changed the base branch already."""
    script = small_agent()

    def run(job: TreeJob, tree: Path) -> Any:
        if job.attempt == 1:
            world.host.pushes({"README.md": b"hello\n"})  # type: ignore[attr-defined]
        return script(job, tree)

    return ScriptedAgent(run)


def test_what_is_built_is_not_built_again(world: World, hint: hints.HintRow) -> None:
    handoff_id = world.handoff_of(hint.id).id
    world.runs()
    for _ in range(3):
        world.reopen("handoff", handoff_id)
    assert len(world.jobs()) == 1 and len(all_pulls(world, hint.id)) == 1


def test_a_recipe_without_an_agent_is_blocked_and_can_be_taken_back(world: World) -> None:
    def asks(brief: Brief) -> Drafted:
        change = {"recipe": "request_endpoint", "tool": "get_status", "question": "Is it held?", "openapi": {"paths": {"/x": {}}}}
        hint = weight_hint(brief).model_dump(mode="json", by_alias=True) | {"change": change, "risk": "low", "target": "intent:cards.leaves.lost"}
        return Drafted(hints=[Hint.model_validate(hint)])

    world.with_ports(critic=ScriptedCritic(asks))
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    with world.db.begin() as session:
        row = hints.get(session, hint.id)
        assert row
        row.findings = []
    world.confirms(hint.id)
    world.runs()
    assert (world.handoff_of(hint.id).state, world.handoff_of(hint.id).reason) == (HandoffState.blocked, "waits for the endpoint")
    world.undoes(hint.id)
    assert world.handoff_of(hint.id).state is HandoffState.withdrawn


ROWS = {
    "no replay": ({"replay: {argv: [replay, \"{in}\", \"{out}\"]}": ""}, "names no replay"),
    "no template": ({", add: {id: \"{row_id}\", words: \"{ticket.messages.0.text}\", expected: \"{after.fetch.0.record_id}\"}": ""}, "how this step's rows are made"),
    "a row that passes already": ({"expected: \"{after.fetch.0.record_id}\"": "expected: rec_b"}, "passes without the change already"),
    "a row that never passes": ({"expected: \"{after.fetch.0.record_id}\"": "expected: rec_z"}, "does not pass after the change"),
    "a template that fits nothing": ({"{ticket.messages.0.text}": "{nonsense.0}"}, "none:"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "note"), ROWS.values(), ids=ROWS.keys())
def test_a_row_that_would_prove_nothing_stays_out_and_the_pull_says_why(world: World, changes: dict[str, str], note: str) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    manifest = FILES["triage.yaml"].decode()
    for old, new in changes.items():
        assert old in manifest
        manifest = manifest.replace(old, new)
    world.host.pushes({"triage.yaml": manifest.encode()})  # type: ignore[attr-defined]
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.runs()
    pull = world.pull_of(hint.id)
    assert pull.row is None and pull.row_suite is None and pull.row_note.startswith("none:") and note in pull.row_note
    assert pull.row_note in pull.body
    assert world.host.read(pull.head_sha, "evals/fetch/cases.jsonl") == FILES["evals/fetch/cases.jsonl"]


def test_a_suite_that_cannot_run_gives_no_row(world: World, hint: hints.HintRow) -> None:
    world.with_ports(evals=small_evals(**{"fetch-golden": "timeout"})).runs()
    assert "could not be run" in world.pull_of(hint.id).row_note


def test_a_flow_that_breaks_leaves_the_handoff_failed(world: World, hint: hints.HintRow) -> None:
    def broken(job: TreeJob, tree: Path) -> TreeRun:
        raise ZeroDivisionError

    world.with_ports(agent=ScriptedAgent(broken)).runs()
    handoff = world.handoff_of(hint.id)
    assert (handoff.state, handoff.reason) == (HandoffState.failed, "internal error (ZeroDivisionError); see the log")
    assert len(world.broken) == 1


def test_no_scratch_folder_is_left(world: World, hint: hints.HintRow) -> None:
    world.runs()
    assert [path.name for path in world.ports.workdir.iterdir() if not path.name.startswith("base-")] == []  # bases are kept for trials


@pytest.mark.parametrize(
    ("note", "ends"),
    [
        ("call +44 1632 960001", HandoffState.built),  # stands on base, on the line that is edited
        ("call us on +44 1632 960001 now", HandoffState.built),
        ("call +44 1632 960002", HandoffState.refused),
        ("call +44 1632 960001 or write to ada@mail.example", HandoffState.refused),
    ],
)
def test_what_base_holds_is_no_leak_on_a_line_that_is_edited(world: World, hint: hints.HintRow, note: str, ends: HandoffState) -> None:
    def config(weight: int, text: str) -> bytes:
        return json.dumps({"weights": {"email": 3, "postcode": weight}, "note": text}).encode() + b"\n"

    world.host.pushes({"config/fetch.json": config(5, "call +44 1632 960001")})  # type: ignore[attr-defined]
    world.with_ports(agent=agent_that({"config/fetch.json": config(1, note)})).runs()
    handoff = world.handoff_of(hint.id)
    assert handoff.state is ends, handoff.reason
    if ends is HandoffState.refused:
        assert (handoff.reason or "").startswith("leak at ") and "1632" not in (handoff.reason or "")
        assert ("EMAIL" in (handoff.reason or "")) is ("mail" in note) and ("PHONE" in (handoff.reason or "")) is ("960002" in note)

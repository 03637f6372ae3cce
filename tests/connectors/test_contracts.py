"""One set of promises a port, held over every implementation of it: what a test sees on a double holds for the real one."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.builtin_agent import BuiltinAgent
from connectors.claude_profile import Profile
from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import TRANSCRIPT_CAP, CriticModel, EvalRunner, LandingHost, PortError, TreeAgent, TreeJob
from connectors.precedent_critic import PrecedentCritic
from connectors.scripted import ScriptedAgent, ScriptedCritic, ScriptedEvals, ScriptedHost
from connectors.subprocess_evals import SubprocessEvals
from rubric.catalogue import load
from rubric.drafting import Abstained, Drafted
from rubric.manifest import Replay, Suite, read_manifest
from rubric.schema import Hint, Outcome, Plan
from tests.samples import messages
from tests.samples.messages import MessagesStub, Play
from tests.samples.repos import push, tree_of
from tests.samples.small import FILES, MANIFEST, NOON, plan_of, small_agent, small_brief, weight_hint


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PortError) as caught:
        call()
    return caught.value.code


# ---- code hosts


def local_git(tmp_path: Path) -> tuple[LandingHost, Callable[[dict[str, bytes]], str]]:
    host = LocalGit.create(tmp_path / "t.git", tree_of(FILES, tmp_path / "from"), "Start", name="bank", now=lambda: NOON)
    return host, lambda files: push(tmp_path / "t.git", files)


def in_memory(tmp_path: Path) -> tuple[LandingHost, Callable[[dict[str, bytes]], str]]:
    host = ScriptedHost("bank", FILES)
    return host, host.pushes


@pytest.fixture(params=[local_git, in_memory])
def hosted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LandingHost, Callable[[dict[str, bytes]], str]]:
    return request.param(tmp_path)  # type: ignore[no-any-return]


@pytest.fixture
def host(hosted: tuple[LandingHost, Any]) -> LandingHost:
    return hosted[0]


CHANGE: dict[str, bytes | None] = {"config/fetch.json": b"{}\n", "README.md": b"hello\n", "evals/intent/cases.jsonl": None}


def test_a_host_shows_what_a_commit_holds(host: LandingHost, tmp_path: Path) -> None:
    sha = host.head()
    assert len(sha) == 40 and host.paths(sha) == sorted(FILES)
    assert {path: host.read(sha, path) for path in FILES} == FILES and host.read(sha, "nothing") is None
    host.export(sha, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == FILES
    assert code_of(lambda: host.export(sha, tmp_path / "out")) == "not_empty"
    for look in (lambda: host.paths("0" * 40), lambda: host.read("0" * 40, "x"), lambda: host.tree_id("0" * 40), lambda: host.diff(sha, "0" * 40)):
        assert code_of(look) == "object_missing"


def test_a_branch_is_published_once_and_adopted_when_it_is_the_same(host: LandingHost) -> None:
    base = host.head()
    first = host.publish("triage/h1", base, CHANGE, "One")
    again = host.publish("triage/h1", base, CHANGE, "One")
    assert first.created and not again.created and first.sha == again.sha
    assert host.paths(first.sha) == sorted((set(FILES) | {"README.md"}) - {"evals/intent/cases.jsonl"})
    assert host.read(first.sha, "config/fetch.json") == b"{}\n" and host.head() == base
    assert code_of(lambda: host.publish("triage/h1", base, {"README.md": b"x"}, "Two")) == "branch_taken"
    assert host.tree_id(first.sha) == host.tree_id(host.publish("triage/h2", base, CHANGE, "Two").sha) != host.tree_id(base)


def test_a_branch_on_another_base_is_taken(hosted: Any) -> None:
    host, pushes = hosted
    host.publish("triage/h1", host.head(), {"README.md": b"hello\n"}, "One")
    moved = pushes({"other.txt": b"x\n"})
    assert code_of(lambda: host.publish("triage/h1", moved, {"README.md": b"hello\n"}, "One")) == "branch_taken"


@pytest.mark.parametrize("branch", ["main", "triage/", "triage/UP", "triage/a..b", "refs/heads/triage/x", "triage/x y", "triage/-x", ""])
def test_only_our_own_branches_are_published(host: LandingHost, branch: str) -> None:
    assert code_of(lambda: host.publish(branch, host.head(), CHANGE, "x")) == "bad_branch"


def test_publishing_nothing_is_an_error(host: LandingHost) -> None:
    for files in ({}, {"triage.yaml": FILES["triage.yaml"]}, {"not-there": None}):
        assert code_of(lambda files=files: host.publish("triage/h1", host.head(), files, "x")) == "nothing_to_publish"  # type: ignore[misc]


def test_a_diff_names_both_sides_of_each_file(host: LandingHost) -> None:
    base = host.head()
    head = host.publish("triage/h1", base, CHANGE, "One").sha
    lines = host.diff(base, head).splitlines()
    assert {line.rstrip("\t") for line in lines if line.startswith(("--- ", "+++ "))} == {
        "--- a/config/fetch.json", "+++ b/config/fetch.json", "--- /dev/null", "+++ b/README.md", "--- a/evals/intent/cases.jsonl", "+++ /dev/null",
    }  # fmt: skip
    assert "+hello" in lines and host.diff(base, base) == ""


def test_landing_moves_the_base_from_where_it_was_expected(hosted: Any) -> None:
    host, pushes = hosted
    base = host.head()
    one = host.publish("triage/h1", base, {"README.md": b"one\n"}, "One").sha
    two = host.publish("triage/h2", base, {"OTHER.md": b"two\n"}, "Two").sha
    assert code_of(lambda: host.land(one, two)) == "base_moved" and host.head() == base
    assert host.land(one, base) == one == host.head()
    assert host.land(one, base) == one  # a lost answer is asked for again
    assert code_of(lambda: host.land(two, base)) == "base_moved" and host.head() == one
    pushes({"x.txt": b"x\n"})
    assert host.land(one, base) == one and host.read(host.head(), "x.txt") == b"x\n"  # still landed, and nothing is moved back


# ---- eval runners: the same small pipeline as processes and as functions

OUTPUTS = """
import json, sys
given, out = sys.argv[1:3]
for line in open(given):
    row = json.loads(line)
    assert "right" not in row
    print(json.dumps({"row": row["name"], "output": row["good"]}), file=open(out + "/outputs.jsonl", "a"))
"""
SUITE = """
import json, sys
given, out = sys.argv[1:3]
for line in open(given):
    row = json.loads(line)
    print(json.dumps({"row": row["id"], "pass": row["good"]}), file=open(out + "/rows.jsonl", "a"))
"""
REPLAY = """
import json, sys
sys.path.insert(0, ".")
given, out = sys.argv[1:3]
for line in open(given):
    case = json.loads(line)
    words = case["ticket"]["messages"][0]["text"]
    if words == "breaks":
        sys.exit(3)
    plan = {"reply": 7} if words == "garbage" else {"intent_path": ["a", "b"], "reply": words}
    print(json.dumps({"external_id": case["external_id"], "plan": plan}), file=open(out, "a"))
"""


def as_processes(tmp_path: Path) -> EvalRunner:
    return SubprocessEvals(tmp_path / "scratch", python=sys.executable)


def as_functions(tmp_path: Path) -> EvalRunner:
    def plan(tree: Path, case: dict[str, Any]) -> Any:
        words = case["ticket"]["messages"][0]["text"]
        if words == "breaks":
            raise SystemError
        return {"reply": 7} if words == "garbage" else {"intent_path": ["a", "b"], "reply": words}

    return ScriptedEvals(lambda suite, tree, row: bool(row["good"]), plan)


@pytest.fixture(params=[as_processes, as_functions])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> EvalRunner:
    return request.param(tmp_path)  # type: ignore[no-any-return]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tree_of({"suite.py": SUITE.encode(), "outputs.py": OUTPUTS.encode(), "replay.py": REPLAY.encode()}, tmp_path / "tree")


def suite(min_rows: int = 1) -> Suite:
    return Suite.model_validate(
        {
            "id": "s", "argv": ["python", "suite.py", "{in}", "{out}"], "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"},
            "timeout_s": 30, "min_rows": min_rows, "rows": {"path": "rows.jsonl"},
        }
    )  # fmt: skip


def outside(grader: list[str] | None = None) -> Suite:
    """The same suite, which no longer says itself what is right."""
    return Suite.model_validate(
        {
            "id": "s", "argv": ["python", "outputs.py", "{in}", "{out}"], "results": {"format": "outputs-jsonl", "path": "{out}/outputs.jsonl"},
            "timeout_s": 30, "min_rows": 2, "rows": {"path": "rows.jsonl"}, "grade": {"expected": "right", "id": "name", "argv": grader},
        }
    )  # fmt: skip


def exam_file(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    (tmp_path / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "exam.jsonl"


def rows_file(tmp_path: Path, *rows: tuple[str, bool]) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": name, "good": good}) + "\n" for name, good in rows))
    return tmp_path / "rows.jsonl"


def cases(*words: str) -> dict[str, dict[str, Any]]:
    return {f"c{place}": {"ticket": {"messages": [{"role": "customer", "text": one}]}} for place, one in enumerate(words)}


COMMAND = Replay.model_validate({"argv": ["python", "replay.py", "{in}", "{out}"], "timeout_s": 30})


def test_a_suite_tells_row_by_row(runner: EvalRunner, tree: Path, tmp_path: Path) -> None:
    run = runner.run_suite(suite(), tree, rows_file(tmp_path, ("a", True), ("b", False)))
    assert (run.suite, run.failure, [(row.row, row.passed) for row in run.rows]) == ("s", None, [("a", True), ("b", False)])


@pytest.mark.parametrize(("rows", "failure"), [([("a", True)], "too_few_rows"), ([], "no_rows"), ([("a", True), ("a", True)], "duplicate_row")])
def test_too_little_or_too_much_is_named(runner: EvalRunner, tree: Path, tmp_path: Path, rows: list[tuple[str, bool]], failure: str) -> None:
    found = runner.run_suite(suite(min_rows=2), tree, rows_file(tmp_path, *rows)).failure
    assert found == failure or (not rows and found == "no_rows_file")  # a process that has no rows writes no file


def test_a_suite_without_its_rows_is_named(runner: EvalRunner, tree: Path, tmp_path: Path) -> None:
    for missing in (None, tmp_path / "nowhere.jsonl"):
        run = runner.run_suite(suite(), tree, missing)
        assert (run.failure, run.rows) == ("no_rows_path", ())


RIGHT, WRONG = {"name": "a", "good": True, "right": True}, {"name": "b", "good": False, "right": True}


def test_outputs_are_graded_outside_row_by_row(runner: EvalRunner, tree: Path, tmp_path: Path) -> None:
    run = runner.run_suite(outside(), tree, exam_file(tmp_path, RIGHT, WRONG))
    assert (run.failure, [(row.row, row.passed) for row in run.rows]) == (None, [("a", True), ("b", False)])
    assert runner.run_suite(outside(), tree, exam_file(tmp_path, RIGHT)).failure == "too_few_rows"


def test_outputs_are_not_graded_by_a_bad_exam_or_without_the_grader(runner: EvalRunner, tree: Path, tmp_path: Path) -> None:
    for bad in ({"name": "b", "good": True}, {"name": 7, "good": True, "right": True}, RIGHT):
        assert runner.run_suite(outside(), tree, exam_file(tmp_path, RIGHT, bad)).failure == "bad_exam"
    exam = exam_file(tmp_path, RIGHT, WRONG)
    assert runner.run_suite(outside(["python", "grade.py", "{in}", "{outputs}", "{out}"]), tree, exam).failure == "no_grader"
    assert runner.run_suite(outside(), tree, None).failure == "no_rows_path"


def test_plans_come_in_the_order_asked_and_fit_the_schema(runner: EvalRunner, tree: Path) -> None:
    answers = runner.replay(COMMAND, tree, cases("one", "two", "three"))
    assert [answer.case_id for answer in answers] == ["c0", "c1", "c2"]
    assert [Plan.model_validate(answer.plan).reply for answer in answers] == ["one", "two", "three"]
    assert runner.replay(COMMAND, tree, {}) == []


def test_a_bad_case_sinks_only_itself(runner: EvalRunner, tree: Path) -> None:
    answers = runner.replay(COMMAND, tree, cases("one", "breaks", "garbage", "two"))
    assert [(answer.plan is not None, answer.failure) for answer in answers] == [
        (True, None), (False, "replay_exit"), (False, "replay_garbage"), (True, None),
    ]  # fmt: skip
    assert all("breaks" not in answer.detail for answer in answers)


# ---- agents: one approved hint, one edit


def coder(body: dict[str, Any]) -> Play:
    """A model that does its job: looks, edits or gives up, and ends."""
    turn, said = len(body["messages"]) // 2, body["messages"][-1]["content"][0]
    change = json.loads(body["messages"][0]["content"][0]["text"])["change"]
    old, new = (f'"{change["field"]}": {change[which]}' for which in ("from", "to"))
    if turn == 0:
        name, given = "view", {"path": "config/fetch.json"}
    elif turn == 1 and old not in said["content"]:
        name, given = "give_up", {"reason": "does_not_fit"}
    elif turn == 1:
        name, given = "replace", {"path": "config/fetch.json", "old": old, "new": new}
    else:
        name, given = "done", {"summary": "all is well"}
    return messages.blocks({"type": "tool_use", "id": f"t{turn}", "name": name, "input": given}, stop="tool_use")


@contextmanager
def builtin_agent() -> Iterator[TreeAgent]:
    with MessagesStub(coder) as stub:
        yield BuiltinAgent(Profile(base_url=stub.url, api_key=SecretStr("key"), model="claude-sonnet-5-5"))


@contextmanager
def scripted_agent() -> Iterator[TreeAgent]:
    yield ScriptedAgent(small_agent())


@contextmanager
def codemod() -> Iterator[TreeAgent]:
    yield RecipeCodemod()


@pytest.fixture(params=[codemod, scripted_agent, builtin_agent])
def agent(request: pytest.FixtureRequest) -> Iterator[TreeAgent]:
    with request.param() as made:
        yield made


def test_an_agent_says_who_it_is_and_whether_it_can_be_used(agent: TreeAgent) -> None:
    assert agent.name and isinstance(agent.by_model, bool) and agent.trouble() is None


def job(hint: Hint) -> TreeJob:
    return TreeJob(job_id="j", hint=hint, manifest=read_manifest(MANIFEST))


def test_an_agent_makes_the_change_and_touches_nothing_else(agent: TreeAgent, tmp_path: Path) -> None:
    tree = tree_of(FILES, tmp_path / "tree")
    run = agent.run(job(weight_hint(small_brief())), tree)
    assert run.status == "done" and plan_of(tree, "email postcode")["fetch"][0]["record_id"] == "rec_a"
    assert {path for path, content in FILES.items() if (tree / path).read_bytes() != content} == {"config/fetch.json"}
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()) == sorted(FILES)


def test_an_agent_gives_up_on_what_does_not_fit_with_a_reason_and_no_traces(agent: TreeAgent, tmp_path: Path) -> None:
    tree = tree_of({**FILES, "config/fetch.json": b'{"weights": {"email": 3, "postcode": 4}}\n'}, tmp_path / "tree")
    run = agent.run(job(weight_hint(small_brief())), tree)
    assert run.status == "gave_up" and run.reason
    assert (tree / "config/fetch.json").read_bytes() == b'{"weights": {"email": 3, "postcode": 4}}\n'
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()) == sorted(FILES)


def test_an_agent_counts_what_it_used_and_only_a_model_costs(agent: TreeAgent, tmp_path: Path) -> None:
    run = agent.run(job(weight_hint(small_brief())), tree_of(FILES, tmp_path / "tree"))
    assert agent.by_model == (run.turns > 0) == (run.tokens > 0) == bool(run.usd) == bool(run.transcript) and len(run.transcript) <= TRANSCRIPT_CAP


def test_the_same_job_gives_the_same_tree(agent: TreeAgent, tmp_path: Path) -> None:
    trees = [tree_of(FILES, tmp_path / name) for name in ("one", "two")]
    assert len({agent.run(job(weight_hint(small_brief())), tree) for tree in trees}) == 1
    assert len({(tree / "config/fetch.json").read_bytes() for tree in trees}) == 1


def test_a_scripted_agent_cannot_leave_its_tree(tmp_path: Path) -> None:
    tree = tree_of(FILES, tmp_path / "tree")
    (tree / "link").symlink_to(tmp_path)
    for path in ("../out", "/etc/x", "link/out"):
        assert ScriptedAgent(lambda job, tree, path=path: {path: b"x"}).run(job(weight_hint(small_brief())), tree).status == "refused"  # type: ignore[misc]
    assert not (tmp_path / "out").exists()


# ---- critics


def precedent() -> CriticModel:
    return PrecedentCritic(load())


def scripted_critic() -> CriticModel:
    return ScriptedCritic({"t-1": Drafted(hints=[weight_hint(small_brief())])})


@pytest.fixture(params=[precedent, scripted_critic])
def critic(request: pytest.FixtureRequest) -> CriticModel:
    return request.param()  # type: ignore[no-any-return]


def test_a_critic_has_a_versioned_name_and_one_answer_for_one_brief(critic: CriticModel) -> None:
    assert critic.name.rpartition("-")[2].isdigit()
    first, again = critic.draft(small_brief()), critic.draft(small_brief())
    assert first == again and isinstance(first, Drafted | Abstained)
    if isinstance(first, Drafted):
        assert first.hints and all(hint.cure_case == "c1" for hint in first.hints)


def test_a_critic_abstains_with_an_outcome_of_the_rubric_and_a_sentence(critic: CriticModel) -> None:
    said = small_brief()
    vague = said.case.model_copy(update={"external_id": "t-9", "rejection": said.case.rejection.model_copy(update={"comment": "??"})})  # type: ignore[union-attr]
    answer = critic.draft(said.model_copy(update={"case": vague}))
    assert isinstance(answer, Abstained) and answer.outcome in Outcome and answer.reason


def test_a_critic_writes_nothing_into_its_brief(critic: CriticModel) -> None:
    given = small_brief()
    before = given.model_dump_json()
    critic.draft(given)
    assert given.model_dump_json() == before

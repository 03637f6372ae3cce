"""The builtin agent is played against a Messages server that says the worst: each way of answering ends as declared, and the tree stays whole."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.builtin_agent import NUDGES, RETRIES, BuiltinAgent
from connectors.builtin_tools import EXAM_CAP, TROUBLES, VIEW_CAP, specs
from connectors.claude_profile import Profile
from connectors.ports import Budget, PortError, TreeJob, TreeRun
from connectors.tree_files import FILE_CAP, NEW_FILES, NotAllowed, TreeFiles
from rubric.manifest import read_manifest
from rubric.schema import Step
from tests.samples import messages
from tests.samples.messages import HTML, RESET, SILENT, MessagesStub, Play, Script
from tests.samples.repos import tree_of
from tests.samples.small import FILES, MANIFEST, small_brief, weight_hint

KEY = "key-that-nobody-may-see-0123456789"
CANARY = "Ottilie Canary, account 4711"
CONFIG = "config/fetch.json"
WIDE = MANIFEST.replace(
    '["config/fetch.json", "evals/fetch/cases.jsonl"]', '["config/**", "evals/**", "**/*.py", "triage.yaml", "ui/.git/**", "link/**"]'
)
EDIT = ("replace", {"path": CONFIG, "old": '"postcode": 5', "new": '"postcode": 1'})
DONE = ("done", {"summary": "all tests pass"})


def calls(*uses: tuple[Any, Any], thought: bool = False, **more: Any) -> Play:
    """A message that calls tools."""
    blocks = [{"type": "tool_use", "id": f"t{number}", "name": name, "input": given} for number, (name, given) in enumerate(uses)]
    head = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "x"}] if thought else []
    return messages.blocks(*head, *blocks, stop="tool_use", **more)


def job_of(budget: Budget = Budget(), manifest: str = MANIFEST, **more: Any) -> TreeJob:
    return TreeJob("j", weight_hint(small_brief()), read_manifest(manifest), budget=budget, **more)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        **FILES,
        "evals/grade.py": b"# judges\n",
        "src/a.py": b"x = 1\n",
        "binary": b"\xff\x00",
        "big.txt": b"x" * (FILE_CAP + 1),
        "ui/.git/config": b"[core]\n",
    }
    return tree_of(files, tmp_path / "tree")


@contextmanager
def played(script: Script, tree: Path, job: TreeJob | None = None, **profile: Any) -> Iterator[tuple[TreeRun, MessagesStub, list[float]]]:
    """How a run ended, the server that was asked, and the pauses that were made."""
    waits: list[float] = []
    with MessagesStub(script) as stub:
        settings = {"base_url": stub.url, "api_key": SecretStr(KEY), "model": "claude-sonnet-5-5", "wall_seconds": 20.0, **profile}
        run = BuiltinAgent(Profile(**settings), pause=waits.append).run(job or job_of(), tree)
        assert KEY not in run.transcript and KEY not in run.reason and CANARY not in run.reason
        yield run, stub, waits


def answers(stub: MessagesStub, call: int = -1) -> list[tuple[bool, str]]:
    """What the tools answered before a call: whether it was an error, and the words."""
    blocks = stub.requests[call].body["messages"][-1]["content"]
    return [(block.get("is_error", False), block["content"]) for block in blocks if block["type"] == "tool_result"]


def untouched(tree: Path) -> bool:
    return all((tree / path).read_bytes() == content for path, content in FILES.items())


# ---- a job well done


def test_a_change_is_looked_at_made_examined_and_ended(tree: Path) -> None:
    exams: list[Step] = []

    def examine(step: Step) -> str:
        exams.append(step)
        return "fetch-golden: 2 of 2 rows pass"

    script = [
        calls(("view", {"path": "."}), ("view", {"path": CONFIG}), thought=True),
        calls(EDIT),
        calls(("run_eval", {"step": "fetch"})),
        calls(DONE),
    ]
    with played(script, tree, job_of(examine=examine)) as (run, stub, _):
        assert (run.status, run.reason, run.turns, exams) == ("done", f"edited {CONFIG}", 4, [Step.fetch])
        assert json.loads((tree / CONFIG).read_text()) == {"weights": {"email": 3, "postcode": 1}}
        looked = answers(stub, 1)
        assert looked[0] == (False, "big.txt\nbinary\nconfig/\nevals/\nsrc/\ntriage.yaml\nui/") and looked[1][1].startswith('1\t{"weights"')
        assert answers(stub, 3) == [(False, "fetch-golden: 2 of 2 rows pass\n[2 runs left]")]
        assert stub.requests[1].body["messages"][1]["content"] == stub.requests[3].body["messages"][1]["content"]  # thoughts go back as they came
        assert [block["type"] for block in stub.requests[1].body["messages"][1]["content"]] == [
            "thinking",
            "redacted_thinking",
            "tool_use",
            "tool_use",
        ]
        assert run.tokens == sum(stub.spent.values()) and run.usd and run.usd > 0
        assert "run_eval" in run.transcript and "fetch-golden" in run.transcript


def test_what_is_sent_is_the_job_and_nothing_of_the_ticket(tree: Path) -> None:
    hint = weight_hint(small_brief()).model_copy(update={"summary": CANARY, "risk_reason": CANARY, "cure_case": CANARY, "rules_invented": [CANARY]})
    with played([calls(EDIT), calls(DONE)], tree, replace(job_of(), hint=hint, feedback=("f1 fails",), attempt=2)) as (_, stub, _waits):
        body = stub.requests[0].body
        told = json.loads(body["messages"][0]["content"][0]["text"])
        assert told["change"] == {"recipe": "adjust_fetch_weight", "field": "postcode", "from": 5, "to": 1} and told["feedback"] == ["f1 fails"]
        assert not {"temperature", "top_p", "tool_choice", "stream"} & body.keys() and body["output_config"] == {"effort": "medium"}
        assert [tool["name"] for tool in body["tools"]] == ["view", "replace", "create", "run_eval", "done", "give_up"]
        assert all(CANARY not in seen.whole and "wrong person" not in seen.whole for seen in stub.requests)
        marked = [block for message in stub.requests[1].body["messages"] for block in message["content"] if "cache_control" in block]
        assert len(marked) == 1  # a server keeps few marks
    assert json.dumps(specs()) == json.dumps(specs())


def test_done_without_a_change_is_no_end(tree: Path) -> None:
    undone = ("replace", {"path": CONFIG, "old": '"postcode": 1', "new": '"postcode": 5'})
    with played([calls(DONE), calls(EDIT, undone), calls(DONE), calls(("give_up", {"reason": "already_so"}))], tree) as (run, stub, _):
        assert answers(stub, 1)[0][1].startswith("nothing_changed") and answers(stub, 3)[0][1].startswith("nothing_changed")
        assert (run.status, run.reason) == ("gave_up", "already_so: the files say already what the change asks for") and untouched(tree)


def test_what_was_written_is_taken_back_unless_it_is_done(tree: Path) -> None:
    made = ("create", {"path": "config/new/deep/x.json", "text": "{}"})
    with played([calls(EDIT, made), calls(("give_up", {"reason": "unclear"}), DONE)], tree, job_of(manifest=WIDE)) as (run, _, _waits):
        assert run.status == "gave_up" and untouched(tree) and not (tree / "config/new").exists()


# ---- each way of answering

GARBAGE = messages.bytes_of(b'{"content": [{"type": "tool_use", "id": 7}]}')
ENDS: dict[str, tuple[Script, str, str, int]] = {
    "a refusal": (messages.refuses("I would rather not"), "refused", "refusal", 1),
    "a refusal with a call": (replace(calls(EDIT, DONE), stop="refusal"), "refused", "refusal", 1),
    "two calls at once": (calls(EDIT, DONE), "done", "edited", 1),
    "cut for ever": (messages.cut(), "crashed", "truncated", 1 + RETRIES),
    "too long": (messages.too_long(), "crashed", "context_window", 1),
    "talk": (messages.words("All done!"), "gave_up", "no_ending", 1 + NUDGES),
    "nothing": (messages.blocks(), "gave_up", "no_ending", 1 + NUDGES),
    "429": (messages.fails(429), "crashed", "rate_limited", 1 + RETRIES),
    "529": (messages.fails(529), "crashed", "overloaded", 1 + RETRIES),
    "500": (messages.fails(500), "crashed", "server_error", 1 + RETRIES),
    "429 for an hour": (messages.fails(429, retry_after="3600"), "crashed", "rate_limited", 1),
    "400": (messages.fails(400, message=CANARY), "crashed", "bad_request", 1),
    "401": (messages.fails(401), "crashed", "unauthorised", 1),
    "HTML": (HTML, "crashed", "garbage", 1),
    "a list": (messages.bytes_of(b"[]"), "crashed", "garbage", 1),
    "no content": (messages.bytes_of(b'{"content": "x"}'), "crashed", "garbage", 1),
    "blocks that are none": (messages.bytes_of(b'{"content": [7]}'), "crashed", "garbage", 1),
    "a call without a name": (GARBAGE, "crashed", "garbage", 1),
    "9 MB": (messages.words("x" * 9_000_000), "crashed", "too_long", 1),
    "a reset": (RESET, "crashed", "unreachable", 1 + RETRIES),
    "half": (messages.half(calls(EDIT)), "crashed", "unreachable", 1 + RETRIES),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_way_of_answering_ends_as_declared(name: str, tree: Path) -> None:
    script, status, code, asked = ENDS[name]
    with played(script, tree) as (run, stub, waits):
        assert (run.status, run.reason.split(":")[0].split()[0], stub.calls) == (status, code, asked), run
        assert status == "done" or untouched(tree)
        assert len(waits) <= RETRIES and all(wait <= 30 for wait in waits)


def test_trouble_that_passes_costs_a_pause(tree: Path) -> None:
    script = [messages.fails(429, retry_after="7"), messages.fails(529), calls(EDIT), messages.cut(), calls(DONE)]
    with played(script, tree) as (run, stub, waits):
        assert (run.status, run.turns, stub.calls) == ("done", 3, 5) and waits == [7.0, 4.0]
        assert [seen.body["max_tokens"] for seen in stub.requests] == [8000] * 4 + [16_000]


@pytest.mark.parametrize("script", [SILENT, messages.trickles(calls(EDIT))])
def test_a_server_that_hangs_is_left_in_time(script: Script, tree: Path) -> None:
    start = time.monotonic()
    with played(script, tree, job_of(Budget(seconds=1.2)), wall_seconds=0.5) as (run, _, _waits):
        assert run.status in ("budget", "crashed") and time.monotonic() - start < 4 and run.tokens > 8000 and untouched(tree)


@pytest.mark.parametrize(("budget", "code"), [(Budget(turns=3), "turns"), (Budget(tokens=24_000), "tokens"), (Budget(usd=0.12), "usd")])
def test_a_budget_ends_it_before_it_is_overdrawn(budget: Budget, code: str, tree: Path) -> None:
    with played(calls(EDIT, usage={"input_tokens": 4000, "output_tokens": 2000}), tree, job_of(budget)) as (run, stub, _):
        assert (run.status, run.reason.split(":")[0]) == ("budget", code) and untouched(tree)
        assert run.turns == stub.calls and 1 < stub.calls <= 5
        assert run.tokens <= budget.tokens and run.usd is not None and run.usd <= budget.usd


def test_an_answer_that_the_budget_cut_is_the_budget(tree: Path) -> None:
    with played(messages.cut(), tree, job_of(Budget(tokens=8000))) as (run, stub, _):
        assert (run.status, run.reason.split(":")[0], stub.calls) == ("budget", "tokens", 1) and stub.requests[0].body["max_tokens"] < 8000


def test_an_agent_that_never_ends_meets_its_turns(tree: Path) -> None:
    with played(calls(("view", {"path": "."})), tree, job_of(Budget(turns=6))) as (run, stub, _):
        assert run.status == "budget" and stub.calls == 6


# ---- tools: what is asked wrongly is answered, and nothing leaves the tree


def told(uses: list[tuple[Any, Any]], tree: Path, job: TreeJob | None = None) -> list[tuple[bool, str]]:
    """What some calls of tools are answered, in one message each."""
    with played([*(calls(use) for use in uses), calls(("give_up", {"reason": "unclear"}))], tree, job or job_of(manifest=WIDE)) as (run, stub, _):
        assert run.status == "gave_up"
        return [answers(stub, number + 1)[0] for number in range(len(uses))]


@pytest.mark.parametrize(
    "given", [None, 7, "x", [], {}, {"path": 7}, {"path": None}, {"path": CONFIG, "old": "x"}, {"path": CONFIG, "old": "", "new": "x"},
              {"path": CONFIG, "old": "x", "new": "y", "mode": 1}, {"path": "x" * 301, "old": "x", "new": "y"}, {"path": CONFIG, "old": ["x"], "new": "y"}],
)  # fmt: skip
def test_input_that_does_not_fit_is_answered(given: Any, tree: Path) -> None:
    wrong, said = told([("replace", given)], tree)[0]
    assert wrong and said.startswith("the input does not fit") and untouched(tree)


@pytest.mark.parametrize(
    "use", [("bash", {"command": "id"}), ("", {}), (None, {}), (["view"], {}), ("run_eval", {"step": "all"}), ("give_up", {"reason": CANARY})]
)
def test_no_other_tool_and_no_other_word_is_known(use: tuple[Any, Any], tree: Path) -> None:
    assert told([use], tree)[0][0]


UNSAFE = (
    "../out",
    "config/../../out",
    "/etc/passwd",
    "config//fetch.json",
    "./config/fetch.json",
    "config/.",
    "..",
    "a\\b",
    "a\nb",
    "a\x00b",
    "",
    "config/",
)
GIT = (".git/config", "ui/.git/config", "ui/.GIT/config", "ui/.git /config", "ui/.git./config")


@pytest.mark.parametrize("path", [*UNSAFE, *GIT, "x/" * 20 + "y", "é" * 150])
def test_no_path_leads_out(path: str, tree: Path) -> None:
    found = told([("replace", {"path": path, "old": "a", "new": "b"}), ("create", {"path": path, "text": "x"}), ("view", {"path": path})], tree)
    assert [said.split(":")[0] for _, said in found[:2]] == ["path_unsafe"] * 2 and (found[2][0] or path in ("", "config/"))
    assert untouched(tree) and not (tree.parent / "out").exists() and (tree / "ui/.git/config").read_bytes() == b"[core]\n"


def test_no_symlink_is_followed(tree: Path) -> None:
    secret = tree.parent / "secret"
    secret.mkdir()
    (secret / "x.py").write_text("key = 1")
    (tree / "link").symlink_to(secret)
    (tree / "config/away.py").symlink_to(secret / "x.py")
    (tree / "config/dangling.py").symlink_to(secret / "new.py")
    for path in ("link/x.py", "config/away.py", "config/dangling.py", "link", "link/"):
        uses = [("view", {"path": path}), ("replace", {"path": path, "old": "key", "new": "KEY"}), ("create", {"path": path, "text": "x"})]
        found = told(uses, tree)
        assert all(wrong for wrong, _ in found) and "key = 1" not in str(found), path
    assert told([("create", {"path": "link/new.py", "text": "x"})], tree)[0][0]
    assert {path.name: path.read_text() for path in secret.iterdir()} == {"x.py": "key = 1"}
    assert "link" not in told([("view", {"path": "."})], tree)[0][1]


@pytest.mark.parametrize("path", ["triage.yaml", "evals/grade.py", "evals/new.py", "evals/fetch/cases.jsonl", "README.md"])
@pytest.mark.parametrize("manifest", [MANIFEST, WIDE])
def test_only_allowed_files_are_written(path: str, manifest: str, tree: Path) -> None:
    found = told([("replace", {"path": path, "old": "e", "new": "E"}), ("create", {"path": path, "text": "x"})], tree, job_of(manifest=manifest))
    assert (
        {said.split(":")[0] for _, said in found} == {"path_not_allowed"}
        and untouched(tree)
        and (tree / "evals/grade.py").read_bytes() == b"# judges\n"
    )


@pytest.mark.parametrize("path", ["evals/fetch/cases.jsonl", "evals/intent/cases.jsonl"])
def test_rows_that_changes_are_judged_by_are_not_shown(path: str, tree: Path) -> None:
    wrong, said = told([("view", {"path": path})], tree, job_of())[0]
    assert wrong and said.startswith("exam:") and "rec_a" not in said


def test_what_is_no_text_or_too_large_is_not_shown(tree: Path) -> None:
    found = told([("view", {"path": path}) for path in ("binary", "big.txt", "config", "nowhere", "src/a.py/x")], tree)
    assert [said.split(":")[0] for _, said in found] == ["not_text", "too_large", "fetch.json\nintents.json", "missing", "not_a_file"]


def test_a_pipe_does_not_hold_it_up(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "src/pipe.py")
    assert told([("view", {"path": "src/pipe.py"}), ("replace", {"path": "src/pipe.py", "old": "a", "new": "b"})], tree)[0][1].startswith(
        "not_a_file"
    )


def test_a_text_has_to_stand_in_one_place(tree: Path) -> None:
    (tree / "src/a.py").write_text("aaa\nb\r\n")
    tries = [("replace", {"path": "src/a.py", "old": old, "new": "x"}) for old in ("zz", "a", "aa", "b\r")]
    found = told(tries, tree)
    assert [wrong for wrong, _ in found] == [True, True, True, False]


def test_a_file_keeps_its_mode_and_no_other_is_left_beside_it(tree: Path) -> None:
    (tree / CONFIG).chmod(0o755)
    with played([calls(EDIT), calls(DONE)], tree) as (run, _, _waits):
        assert run.status == "done" and (tree / CONFIG).stat().st_mode & 0o777 == 0o755
        assert sorted(path.name for path in (tree / "config").iterdir()) == ["fetch.json", "intents.json"]


def test_writing_is_bounded(tree: Path) -> None:
    many = [calls(*(("create", {"path": f"config/n{part}_{number}.json", "text": "{}"}) for number in range(15))) for part in range(2)]
    with played([*many, calls(("create", {"path": CONFIG, "text": "x"})), calls(DONE)], tree, job_of(manifest=WIDE)) as (run, stub, _):
        assert run.status == "done" and len(list((tree / "config").iterdir())) == 2 + NEW_FILES
        assert [said.split(":")[0] for wrong, said in answers(stub, 2) if wrong] == ["too_many_files"] * (30 - NEW_FILES)


@pytest.mark.parametrize(("text", "code"), [("x" * (FILE_CAP + 1), "too_large"), ("a\x00b", "not_text"), ("\ud800", "not_text")])
def test_what_is_no_text_is_not_written(text: str, code: str, tree: Path) -> None:
    files = TreeFiles(tree, read_manifest(WIDE), "adjust_fetch_weight")
    for write in (lambda: files.create("config/x.json", text), lambda: files.replace(CONFIG, "5", text)):
        with pytest.raises(NotAllowed) as caught:
            write()
        assert caught.value.code == code
    files.create("config/y.json", "{}")
    with pytest.raises(NotAllowed) as caught:
        files.create(CONFIG, "{}")
    assert caught.value.code == "exists" and files.changed() == ["config/y.json"] and untouched(tree)
    files.restore()
    assert not (tree / "config/y.json").exists()


def test_only_so_many_calls_of_one_message_are_carried_out(tree: Path) -> None:
    with played([calls(*[("view", {"path": "."})] * 30), calls(("give_up", {"reason": "unclear"}))], tree) as (_, stub, _waits):
        assert [wrong for wrong, _ in answers(stub)] == [False] * 20 + [True] * 10


def test_a_look_is_bounded(tree: Path) -> None:
    (tree / "src/a.py").write_text("\n".join(["y" * 5000, *(f"line {number}" for number in range(2, 2000))]))
    uses = [
        ("view", {"path": "src/a.py", **lines}) for lines in ({}, {"first": 1990}, {"first": 3, "last": 4}, {"first": 5, "last": 4}, {"first": 5000})
    ]
    found = told(uses, tree)
    assert all(len(said) <= VIEW_CAP + 100 for _, said in found) and "[…]" in found[0][1] and found[0][1].endswith("[lines 1 to 400 of 1999]")
    assert found[1][1].endswith("[lines 1990 to 1999 of 1999]") and found[2][1] == "3\tline 3\n4\tline 4\n[lines 3 to 4 of 1999]"
    assert [wrong for wrong, _ in found] == [False, False, False, True, True]


def test_exams_are_counted_and_their_trouble_is_not_the_agents(tree: Path) -> None:
    seen: list[Step] = []

    def examine(step: Step) -> str:
        seen.append(step)
        if step is Step.plan:
            raise PortError("no_box", CANARY)
        return "x" * 10_000

    exam, broken = ("run_eval", {"step": "fetch"}), ("run_eval", {"step": "plan"})
    found = told([exam] * 4, tree, job_of(Budget(exams=2), examine=examine))
    assert [wrong for wrong, _ in found] == [False, False, True, True] and len(seen) == 2 and len(found[0][1]) < EXAM_CAP + 50
    seen.clear()
    assert [said.split(":")[0] for _, said in told([broken] * 5, tree, job_of(examine=examine))] == ["no_box"] * TROUBLES + ["exams_used_up"] * 2
    assert len(seen) == TROUBLES and told([exam], tree)[0][1].startswith("no_evals")


def test_a_profile_without_a_price_makes_no_agent() -> None:
    with pytest.raises(PortError, match="no price"):
        BuiltinAgent(Profile(base_url="http://x", api_key=SecretStr(KEY), model="my-own"))

"""A command as an agent: each way of ending is read as declared, whatever it says, and what it does outside of its tree comes to nothing."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.agent_box import AgentBox
from connectors.command_agent import CommandAgent
from connectors.ports import TRANSCRIPT_CAP, Budget, PortError, TreeJob, TreeRun
from connectors.sandbox import Bubblewrap, Caps
from rubric.manifest import read_manifest
from tests.samples import messages
from tests.samples.boxes import KEY, MODEL, Bench, bench, needs_box
from tests.samples.small import FILES, MANIFEST, small_brief, weight_hint

pytestmark = needs_box
CANARY = "Ottilie Canary, account 4711"
CAPS = Caps(processes=40, memory_mb=300, disk_mb=24, files=300)


def job_of(budget: Budget = Budget(seconds=20)) -> TreeJob:
    said = {"summary": CANARY, "risk_reason": CANARY, "cure_case": CANARY, "rules_invented": [CANARY]}
    hint = weight_hint(small_brief()).model_copy(update=said)
    return TreeJob("job-7", hint, read_manifest(MANIFEST), attempt=2, feedback=("f1 fails",), budget=budget)


@pytest.fixture
def around() -> Iterator[Bench]:
    with bench(caps=CAPS) as made:
        yield made


def runs(bench: Bench, *argv: str, budget: Budget = Budget(seconds=20), model: bool = True, **environment: str) -> TreeRun:
    run = CommandAgent(bench.runner(model=model), argv, environment).run(job_of(budget), bench.tree)
    assert KEY not in run.transcript and KEY not in run.reason and len(run.transcript) <= TRANSCRIPT_CAP
    assert list((bench.place / "w").iterdir()) == []
    return run


def shell(bench: Bench, script: str, budget: Budget = Budget(seconds=20), model: bool = True, **environment: str) -> TreeRun:
    return runs(bench, "/bin/sh", "-c", script, "sh", "{job}", "{tree}", budget=budget, model=model, **environment)


def python(bench: Bench, code: str, budget: Budget = Budget(seconds=20)) -> TreeRun:
    return runs(bench, sys.executable, "-c", code, "{job}", "{tree}", budget=budget)


# ---- how it ends

ENDS = {
    "exit 0": ("done", "the command ended with status 0"),
    "exit 10": ("gave_up", "gave_up: "),
    "exit 20": ("refused", "refusal: "),
    "exit 1": ("crashed", "exit: it ended with status 1"),
    "exit 2": ("crashed", "exit: it ended with status 2"),
    "exit 11": ("crashed", "exit: it ended with status 11"),
    "exit 125": ("crashed", "no_box: "),
    "exit 126": ("crashed", "cannot_start: "),
    "exit 127": ("crashed", "cannot_start: "),
    "exit 255": ("crashed", "exit: signal 127 ended it"),
    "kill -9 $$": ("crashed", "exit: signal 9 ended it"),
    "kill -15 $$": ("crashed", "exit: signal 15 ended it"),
    "kill -9 -1": ("crashed", "exit: "),
    "/no/such/program": ("crashed", "cannot_start: "),
}


@pytest.mark.parametrize("model", [True, False])
@pytest.mark.parametrize("script", ENDS)
def test_the_status_says_how_it_ended(around: Bench, script: str, model: bool) -> None:
    status, reason = ENDS[script]
    run = shell(around, f"echo 'status: done {CANARY}' >&2; {script}", model=model)
    assert run.status == status and run.reason.startswith(reason), run
    assert CANARY not in run.reason and CANARY in run.transcript
    assert (run.turns, run.tokens, run.usd) == (0, 0, 0.0 if model else None)


def test_it_works_in_the_tree_and_what_it_left_there_stays(around: Bench) -> None:
    run = shell(around, 'pwd > where; echo "$2" >> where; mkdir .git && echo x > .git/config; exit 10')
    assert run.status == "gave_up" and (around.tree / "where").read_text() == f"{around.tree}\n" * 2
    assert (around.tree / ".git/config").exists()  # hiding it from the judge of trees would be no help


def test_env_starts_it_elsewhere_and_sets_what_it_needs(around: Bench) -> None:
    words = ["/usr/bin/env", "-C", "/tmp", "MODE=plain", "OPENAI_API_KEY={key}", "/bin/sh", "-c"]
    run = runs(around, *words, 'echo "$MODE $(pwd) $(ls -a)" > "$1/told"; [ "$OPENAI_API_KEY" = "$ANTHROPIC_API_KEY" ]', "sh", "{tree}")
    assert run.status == "done" and (around.tree / "told").read_text().split()[:4] == ["plain", "/tmp", ".", ".."]


def test_who_hangs_is_the_budget(around: Bench) -> None:
    start = time.monotonic()
    run = shell(around, "trap '' TERM INT HUP; while :; do sleep 1; done", Budget(seconds=1.5))
    assert (run.status, run.reason.split(":")[0]) == ("budget", "seconds") and time.monotonic() - start < 8


def test_the_end_of_the_service_is_its_end(around: Bench) -> None:
    runner = around.runner()
    threading.Timer(0.5, runner.stop).start()
    agent = CommandAgent(runner, ["/bin/sleep", "30"])
    assert agent.run(job_of(), around.tree).reason.startswith("stopped: ")
    assert agent.run(job_of(), around.tree).reason.startswith("stopped: ")


GREED = {  # where the kernel caps them, processes are refused and the bomb burns down until its time is over
    "processes": ("while :; do sleep 30 & done", {"too_many_processes", "exit", "seconds"}),
    "a fork bomb": ("f() { f | f & }; f; sleep 30", {"too_many_processes", "exit", "seconds"}),
    "the disk": ("yes > full; sleep 30", {"disk_full", "exit"}),
    "files": ("i=0; while :; do : > f$i; i=$((i+1)); done", {"too_many_files"}),
}


@pytest.mark.parametrize("greed", GREED)
def test_who_takes_too_much_is_ended(around: Bench, greed: str) -> None:
    script, codes = GREED[greed]
    run = shell(around, script, Budget(seconds=6))
    assert run.status in ("crashed", "budget") and run.reason.split(":")[0] in codes, run


def test_who_takes_too_much_memory_is_ended(around: Bench) -> None:
    run = python(around, "import time\nkept = bytearray(900 << 20)\nfor n in range(0, len(kept), 4096): kept[n] = 1\ntime.sleep(30)")
    assert run.status == "crashed" and run.reason.split(":")[0] in ("too_much_memory", "exit"), run


DAEMON = """
import os, sys, time
if os.fork():
    time.sleep(0.3)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for fd in range(3):
    os.close(fd)
while True:
    with open("log", "a") as file:
        file.write("x")
    time.sleep(0.01)
"""


def test_nothing_goes_on_writing_afterwards(around: Bench) -> None:
    assert python(around, DAEMON).status == "done"
    size = (around.tree / "log").stat().st_size
    assert size > 0
    time.sleep(0.4)
    assert (around.tree / "log").stat().st_size == size


# ---- what it sees


def test_of_the_hint_it_is_told_the_change_and_nothing_else(around: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_CLAUDE_KEY", KEY)
    dump = 'cat "$1" > told.json; env > env.txt; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" "\\n" > all.txt; ls -a "${1%/*}" > ls.txt'
    assert shell(around, dump, MODE="plain").status == "done"
    told = json.loads((around.tree / "told.json").read_text())
    assert told == {
        "step": "fetch", "recipe": "adjust_fetch_weight", "target": "fetch:postcode",
        "change": {"recipe": "adjust_fetch_weight", "field": "postcode", "from": 5, "to": 1},
        "may_change": ["config/fetch.json", "evals/fetch/cases.jsonl"], "protected": ["evals/**", "triage.yaml"],
        "attempt": 2, "feedback": ["f1 fails"], "budget": {"seconds": 20, "turns": 40, "tokens": 2_000_000, "usd": 1.0, "exams": 0},
    }  # fmt: skip
    seen = "".join((around.tree / name).read_text(errors="replace") for name in ("told.json", "env.txt", "all.txt"))
    assert CANARY not in seen and "wrong person" not in seen and KEY not in seen and "TRIAGE" not in seen
    environment = dict(line.split("=", 1) for line in (around.tree / "env.txt").read_text().splitlines())
    assert environment["ANTHROPIC_API_KEY"].startswith("dummy-") and environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8377"
    assert environment.keys() - {"_", "OLDPWD", "SHLVL"} == {
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "HOME",
        "LANG",
        "MODE",
        "PATH",
        "PWD",
        "TMPDIR",
    }
    assert (around.tree / "ls.txt").read_text().split() == [".", "..", "home", "job.json", "model.sock", "relay.py"]


def test_without_a_gateway_there_is_no_model(around: Bench) -> None:
    assert shell(around, "env > env.txt; echo {url} {key} > words", model=False).status == "done"
    assert "ANTHROPIC" not in (around.tree / "env.txt").read_text() and (around.tree / "words").read_text() == "{url} {key}\n"


def test_words_are_words_and_no_shell_reads_them(around: Bench) -> None:
    odd = ["$HOME", "`id`", "a b", "{", "{jobs}", '{"a": {}}', "*", "", "{tree}/{tree}", "-n"]
    run = runs(around, sys.executable, "-c", "import sys, json; json.dump(sys.argv[1:], open('words', 'w'))", *odd, MODEL_KEY="{key}", AT="{url}/v1")
    assert run.status == "done"
    assert json.loads((around.tree / "words").read_text()) == [*odd[:8], f"{around.tree}/{around.tree}", "-n"]


OUTSIDE = """
import json, os, sys
job, tree = sys.argv[1:]
wrote = []
for path in (job, os.path.dirname(job) + "/x", os.path.dirname(tree) + "/x", "/usr/x", "/etc/x", "/x", "/root/x", sys.prefix + "/x", "OUT/x"):
    try:
        open(path, "a").write("x")
        wrote.append(path)
    except OSError:
        pass
json.dump(wrote, open("wrote", "w"))
"""


def test_it_writes_nowhere_else(around: Bench) -> None:
    (around.place / "out").mkdir(mode=0o777)
    assert python(around, OUTSIDE.replace("OUT", str(around.place / "out"))).status == "done"
    wrote = json.loads((around.tree / "wrote").read_text())
    assert [path for path in wrote if path != f"{around.place}/x"] == []  # that one is memory of the box, if it can be written at all
    assert sorted(path.name for path in around.place.iterdir()) == ["out", "tree", "w"] and list((around.place / "out").iterdir()) == []


def test_what_it_prints_is_kept_harmless_and_short(around: Bench) -> None:
    run = python(around, "print('\\x1b[31mred\\x00 \\u202e ' + 's' + 'k-ant-0123456789abcdef'); print('y' * 3_000_000); print('the end')")
    assert run.status == "done" and "the end" in run.transcript and "\x1b" not in run.transcript and len(run.transcript) < 20_000
    shown = python(around, "print('\\x1b[31mred \\u202e ' + 's' + 'k-ant-0123456789abcdef')").transcript
    assert "\\x1b[31mred \\u202e [key]" in shown and "\u202e" not in shown


# ---- the model

ASKS = f"""
import json, os, sys, urllib.request, urllib.error
def ask(model={MODEL!r}):
    body = json.dumps({{"model": model, "max_tokens": 100, "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
    headers = {{"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"]}}
    try:
        url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
        return urllib.request.urlopen(urllib.request.Request(url, body, headers)).status
    except urllib.error.HTTPError as error:
        return error.code
"""


def test_it_has_a_model_by_the_gateway_and_that_counts(around: Bench) -> None:
    run = python(around, f"{ASKS}\nassert ask() == ask() == 200")
    assert (run.status, run.turns, run.tokens) == ("done", 2, sum(around.stub.spent.values())) and run.usd and '"content": "hi"' in run.transcript
    for seen in around.stub.requests:
        assert seen.headers["x-api-key"] == KEY and seen.headers["authorization"] == f"Bearer {KEY}" and "dummy-" not in seen.whole


@pytest.mark.parametrize("status", [0, 10, 3])
def test_who_used_up_the_budget_ends_by_it(around: Bench, status: int) -> None:
    run = python(around, f"{ASKS}\nwhile ask() == 200: pass\nsys.exit({status})", Budget(seconds=20, turns=3))
    assert (run.status, run.reason.split(":")[0], run.turns) == ("budget", "turns", 3)


def test_what_the_gateway_refused_is_named_when_it_ends_badly(around: Bench) -> None:
    assert python(around, f"{ASKS}\nsys.exit(ask('claude-opus-9') == 200)").status == "done"
    run = python(around, f"{ASKS}\nsys.exit(5 if ask('claude-opus-9') == 403 else 0)")
    assert run.reason == "model_not_allowed: the gateway refused what it asked, and it ended with status 5"


def test_a_server_that_fails_for_ever_is_no_budget() -> None:
    with bench(messages.fails(500)) as around:
        run = python(around, f"{ASKS}\nfor n in range(40): ask()")
        assert (run.status, run.reason.split(":")[0]) == ("crashed", "upstream") and around.stub.calls < 40


# ---- what is wrong before it starts


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["a\0b"],
        ["agent", "--api-key", "sk-ant-api03-0123456789abcdefghijklmnop"],
        ["env", "DB_PASSWORD=x", "agent"],
        ["env", "HOME=x", "agent"],
    ],
)
def test_a_command_that_cannot_be_one_is_refused(around: Bench, argv: list[str]) -> None:
    with pytest.raises(PortError) as refused:
        CommandAgent(around.runner(), argv)
    assert refused.value.code in ("bad_command", "bad_environment")


BAD = {
    "TRIAGE_MODE": "x", "triage_x": "{key}", "OPENAI_API_KEY": "abc", "GITHUB_TOKEN": "x", "DB_PASSWORD": "x", "ANTHROPIC_AUTH_TOKEN": "x",
    "ANTHROPIC_API_KEY": "{key}", "ANTHROPIC_BASE_URL": "{url}", "HOME": "/x", "A=B": "x", "": "x", "MODE": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "DATABASE_URL": "x", "X": "a\0b",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_no_secret_goes_into_the_environment(around: Bench, name: str) -> None:
    with pytest.raises(PortError) as refused:
        CommandAgent(around.runner(), ["agent"], {name: BAD[name]})
    assert refused.value.code in ("bad_environment", "bad_command") and "ghp_" not in str(refused.value)
    CommandAgent(around.runner(), ["agent"], {"OPENAI_API_KEY": "{key}", "MODE": "x"})


def test_trouble_says_what_to_do(around: Bench) -> None:
    def trouble(program: str = "/bin/sh", runner: AgentBox | None = None) -> str:
        return CommandAgent(runner or around.runner(), [program]).trouble() or ""

    (around.place / "agent").write_text("#!/bin/sh\n")
    (around.place / "agent").chmod(0o755)
    assert trouble() == trouble("sh") == ""
    assert "is missing" in trouble("/no/such/agent") and "is missing" in trouble("no-such-agent")
    assert "in the tree" in trouble("./agent") and "in the tree" in trouble("bin/agent")
    assert "share its folder" in trouble(str(around.place / "agent"))
    assert "shorter" in trouble(runner=AgentBox(around.box, around.place / ("x" * 80), python=sys.executable))
    assert "share its folder" in trouble(
        runner=AgentBox(replace(around.box, shares=()), around.place, python=str(around.place / "agent"), gateway=around.gateway)
    )
    assert "there is none: bubblewrap is not installed" in trouble(
        runner=AgentBox(Bubblewrap(program="no-bwrap"), around.place, python=sys.executable)
    )


def test_without_a_box_nothing_runs(around: Bench) -> None:
    runner = AgentBox(replace(around.box, program="no-bwrap"), around.place / "w", python=sys.executable, gateway=around.gateway)
    run = CommandAgent(runner, ["/bin/sh", "-c", "echo ran > ran"]).run(job_of(), around.tree)
    assert run.status == "crashed" and not (around.tree / "ran").exists()
    assert all((around.tree / path).read_bytes() == content for path, content in FILES.items())


def test_what_stands_in_the_way_of_a_box_is_the_reason(around: Bench) -> None:
    scratch = around.place / ("x" * 80)
    run = CommandAgent(AgentBox(around.box, Path(scratch), python=sys.executable, gateway=around.gateway), ["/bin/true"]).run(job_of(), around.tree)
    assert (run.status, run.reason.split(":")[0]) == ("crashed", "bad_socket")

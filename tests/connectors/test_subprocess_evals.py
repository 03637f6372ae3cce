"""Real processes that behave, misbehave and attack: a run always ends, says why, and leaves nothing behind."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from connectors.processes import Enclosed, ProcessLimits
from connectors.subprocess_evals import SubprocessEvals
from rubric.manifest import Replay, Suite

GOOD = """echo '{"row": "r1", "pass": true}' > "$1/rows.jsonl"; """


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a tree").mkdir()
    (tmp_path / "a tree" / "replay.py").write_text(REPLAY)
    return tmp_path / "a tree"


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "a scratch"


@pytest.fixture
def runner(scratch):
    return SubprocessEvals(scratch, python=sys.executable)


def suite(*argv, path="{out}/rows.jsonl", timeout_s=20, min_rows=1):
    results = {"format": "rows-jsonl", "path": path}
    return Suite.model_validate({"id": "s", "argv": argv, "results": results, "timeout_s": timeout_s, "min_rows": min_rows})


def sh(script, **changes):
    return suite("sh", "-c", script, "sh", "{out}", **changes)


def python(code):
    return suite("python", "-S", "-E", "-c", code, "{out}")


def gone(pid):
    """Dead, at most waiting for init to reap it; the kill itself takes the kernel a moment."""
    for _ in range(2000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.001)
    return False


def test_a_suite_gives_rows(runner, tree, scratch, tmp_path):
    rows = tmp_path / "cases.jsonl"
    rows.write_text("given\n")
    code = """
import json, os, sys
given, out = sys.argv[1:]
assert open(given).read() == "given\\n" and given.endswith("/cases.jsonl") and given != sys.argv[0]
open(given, "w").write("spoilt")
env = dict(os.environ)
env.pop("LC_CTYPE", None)
rows = [{"row": "r1", "pass": True, "score": 1, "output": {"env": sorted(env)}}, {"row": "r2", "pass": False, "error": os.getcwd()}]
open(out + "/rows.jsonl", "w").write("\\n".join(map(json.dumps, rows)))
print(sys.stdin.read())
names = ["HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PWD", "TMPDIR"]
sys.exit(1 if set(env) <= {*names, "OLDPWD", "SHLVL", "_"} else 9)
"""
    (tree / "suite.py").write_text(code)
    run = runner.run_suite(suite("python", "-S", "suite.py", "{in}", "{out}"), tree, rows)
    assert (run.failure, run.detail, run.suite) == (None, "", "s")
    assert [(row.row, row.passed, row.score) for row in run.rows] == [("r1", True, 1.0), ("r2", False, None)]
    assert run.rows[1].error == str(tree) and run.seconds > 0
    assert rows.read_text() == "given\n", "the suite works on a copy"
    assert list(scratch.iterdir()) == [], "nothing is left"


@pytest.mark.parametrize(
    ("script", "failure", "words"),
    [
        ("exit 0", "no_rows_file", "was not written"),
        (GOOD + "exit 3", "exit_code", "3"),
        (GOOD + "echo boom >&2; exit 2", "exit_code", "boom"),
        (GOOD + "kill -9 $$", "killed", "SIGKILL"),
        (GOOD + "kill -SEGV $$", "crashed", "SIGSEGV"),
        (GOOD + "sh -c 'kill -9 $$'; exit $?", "killed", "137"),
        (': > "$1/rows.jsonl"', "no_rows", "0 rows"),
        ("echo nonsense > $1/rows.jsonl".replace("$1", '"$1"'), "bad_rows", "line 1"),
        (GOOD + 'echo \'{"row": "r1", "pass": true}\' >> "$1/rows.jsonl"', "duplicate_row", "r1"),
        ('echo \'{"row": "r1", "pass": true, "score": NaN}\' > "$1/rows.jsonl"', "bad_rows", "NaN"),
        ('ln -s /etc/passwd "$1/rows.jsonl"', "bad_rows", "link"),
        ('echo \'{"row": "r1", "pass": true}\' > good; ln -s "$PWD/good" "$1/rows.jsonl"', "bad_rows", "link"),
        ('echo \'{"row": "r1", "pass": true}\' > good; ln good "$1/rows.jsonl"', "bad_rows", "link"),
        ('rmdir "$1"; mkdir other; ln -s "$PWD/other" "$1"; ' + GOOD, "bad_rows", "link"),
        ('mkfifo "$1/rows.jsonl"', "bad_rows", "regular"),
        ('mkdir "$1/rows.jsonl"', "bad_rows", "regular"),
        ('rmdir "$1"; : > "$1"', "no_rows_file", "was not written"),
        ('head -c 20000001 /dev/zero > "$1/rows.jsonl"', "too_large", "20 MB"),
    ],
)
def test_what_gives_no_result_is_named(runner, tree, scratch, script, failure, words):
    run = runner.run_suite(sh(script), tree, None)
    assert (run.failure, run.rows) == (failure, ())
    assert words in run.detail
    assert list(scratch.iterdir()) == []


ONCE = 'test -e once || { : > once; echo "{}" > "$1/rows.jsonl"; kill -9 $$; }; '
"""dies the first time, and leaves rubbish behind"""


def test_a_suite_that_somebody_kills_is_run_once_more_and_its_leavings_count_for_nothing(runner, tree, scratch):
    run = runner.run_suite(sh(ONCE + 'test -e "$1/rows.jsonl" && exit 7; ' + GOOD), tree, None)
    assert (run.failure, [row.row for row in run.rows]) == (None, ["r1"])
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("end", "runs"), [("kill -9 $$", 2), ("kill -TERM $$", 2), ("kill -ABRT $$", 1), ("exit 3", 1)])
def test_only_what_was_killed_from_outside_is_run_again_and_only_once(runner, tree, end, runs):
    assert runner.run_suite(sh("echo x >> count; " + end), tree, None).failure in ("killed", "crashed", "exit_code")
    assert (tree / "count").read_text().count("x") == runs


def test_too_few_rows_keep_their_rows(runner, tree):
    run = runner.run_suite(sh(GOOD, min_rows=2), tree, None)
    assert run.failure == "too_few_rows" and len(run.rows) == 1 and "at least 2" in run.detail


@pytest.mark.parametrize("path", ["rows.jsonl", "/etc/passwd", "{out}/../rows.jsonl", "{out}x/rows.jsonl", "{out}/", "{in}"])
def test_results_are_read_below_out_only(runner, tree, path):
    assert runner.run_suite(sh(GOOD, path=path), tree, None).failure == "bad_results_path"


@pytest.mark.parametrize("word", ["no-such-program-here", "./run.sh", "/no/such/program", "a dir"])
def test_a_missing_command_is_named(runner, tree, word):
    (tree / "run.sh").write_text("#!/bin/sh\n")  # there, but no program
    (tree / "a dir").mkdir()
    run = runner.run_suite(suite(word), tree, None)
    assert run.failure == "command_missing" and word in run.detail


def test_a_program_of_the_tree_with_spaces_in_its_name(runner, tree):
    program = tree / "bin dir" / "my suite"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + GOOD)
    program.chmod(0o755)
    assert runner.run_suite(suite("bin dir/my suite", "{out}"), tree, None).failure is None


def test_a_shell_line_is_not_a_shell_line(runner, tree):
    word = "; touch pwned $(touch pwned)"
    run = runner.run_suite(suite("sh", "-c", GOOD + f"test \"$2\" = '{word}'", "sh", "{out}", word), tree, None)
    assert run.failure is None and not (tree / "pwned").exists()


def test_in_without_rows_is_refused(runner, tree, tmp_path):
    assert runner.run_suite(suite("sh", "-c", "exit 0", "--in={in}"), tree, None).failure == "no_rows_path"
    assert runner.run_suite(suite("sh", "-c", "exit 0", "--in={in}"), tree, tmp_path / "none").failure == "no_rows_path"


def test_the_wall_clock_ends_grandchildren_too(runner, tree):
    script = 'sh -c "echo \\$\\$ > child.pid; sleep 600; true" & echo $$ > own.pid; wait'
    run = runner.run_suite(sh(script, timeout_s=1), tree, None)
    assert run.failure == "timeout" and "within 1 s" in run.detail and run.seconds < 3
    assert all(gone(int((tree / name).read_text())) for name in ("child.pid", "own.pid"))


def test_a_suite_that_leaves_a_child_behind_is_not_waited_for(runner, tree):
    run = runner.run_suite(sh(GOOD + "sleep 600 & echo $! > child.pid"), tree, None)
    assert run.failure is None and run.seconds < 5
    assert gone(int((tree / "child.pid").read_text()))


def test_one_that_left_the_group_and_holds_the_pipes_holds_nothing_up(runner, tree):
    run = runner.run_suite(sh(GOOD + "setsid sleep 600 & echo $! > child.pid", timeout_s=5), tree, None)
    pid = int((tree / "child.pid").read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
    assert run.failure is None and run.seconds < 3


def test_a_hundred_megabytes_of_output_pass_by(runner, tree):
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    run = runner.run_suite(sh("head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2; echo the end >&2; exit 7"), tree, None)
    after = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    assert run.failure == "exit_code" and run.detail.endswith("the end") and len(run.detail) < 2200
    assert after - before < 20_000_000


def test_what_a_suite_prints_cannot_reach_a_terminal(runner, tree):
    run = runner.run_suite(sh(r"printf '\033[2Jhello\nverdict: pass\r' >&2; exit 7"), tree, None)
    assert "\\x1b[2Jhello\\nverdict: pass" in run.detail and run.detail.isprintable()


def test_a_closed_stdout_is_no_end(runner, tree):
    assert runner.run_suite(sh("exec >&- 2>&-; " + GOOD), tree, None).failure is None


def test_limits_hold(scratch, tree):
    small = SubprocessEvals(scratch, python=sys.executable, limits=ProcessLimits(memory_mb=200, file_mb=1, cpu_per_second=1))
    assert "MemoryError" in small.run_suite(python("x = bytearray(300_000_000)"), tree, None).detail
    assert small.run_suite(sh('head -c 2000000 /dev/zero > "$1/x"; ' + GOOD + "exit 0"), tree, None).failure is None
    assert "File too large" in small.run_suite(python("import sys; open(sys.argv[1] + '/x', 'wb').write(bytes(2_000_000))"), tree, None).detail
    assert small.run_suite(sh(GOOD + 'test "$(ulimit -c)" = 0 && test "$(ulimit -t)" = 20'), tree, None).failure is None
    busy = small.run_suite(sh("ulimit -S -t 1; while :; do :; done"), tree, None)
    assert (busy.failure, busy.detail) == ("over_limit", "used up its processor time")


def test_folders_are_destroyed_however_they_were_left(runner, tree, scratch):
    hide = 'cd "$1"; mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 0 a/b a; chmod 0 "$1/../in"; '
    deep = "import os, sys; os.chdir(sys.argv[1])\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    assert runner.run_suite(sh(GOOD + hide), tree, None).failure is None
    assert runner.run_suite(python(deep), tree, None).failure == "no_rows_file"
    assert list(scratch.iterdir()) == []


def test_a_locked_folder_is_destroyed_by_a_plain_user_too():
    """As root nothing is locked, so a child gives root up first."""
    code = """
import os, sys
from pathlib import Path
from connectors.processes import destroy
if os.getuid() == 0:
    os.setuid(65534)
inner = Path(sys.argv[1], "box", "a", "b")
inner.mkdir(parents=True)
(inner / "c").touch()
for path in (inner, inner.parent, inner.parent.parent):
    path.chmod(0)
destroy(inner.parent.parent)
sys.exit(os.path.lexists(inner.parent.parent))
"""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run([sys.executable, "-c", code, folder], cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_stop_ends_what_runs_and_starts_nothing_more(runner, tree):
    os.mkfifo(tree / "started")
    runs = []
    thread = threading.Thread(target=lambda: runs.append(runner.run_suite(sh("echo x > started; sleep 600; true", timeout_s=60), tree, None)))
    thread.start()
    (tree / "started").read_text()
    runner.stop()
    thread.join(10)
    assert [run.failure for run in runs] == ["stopped"]
    assert runner.run_suite(sh(GOOD), tree, None).failure == "stopped"


class Wrapper:
    """A box of paper: it can be seen, and holds nothing in."""

    def __init__(self, says=""):
        self.seen, self.says = [], says

    @contextmanager
    def around(self, argv, environment, *, tree, folder):
        self.seen.append((tree, folder, environment["HOME"]))
        yield Enclosed(["env", "BOXED=1", *argv], lambda process: self.says)


def test_a_box_goes_around_the_command(scratch, tree):
    box = Wrapper()
    boxed = SubprocessEvals(scratch, python=sys.executable, box=box)
    assert boxed.run_suite(sh(GOOD + 'test "$BOXED" = 1'), tree, None).failure is None
    ((where, folder, home),) = box.seen
    assert where == tree and folder.parent == scratch and home == f"{folder}/home"


def test_what_the_guard_of_a_box_objects_to_ends(scratch, tree):
    run = SubprocessEvals(scratch, python=sys.executable, box=Wrapper("disk_full")).run_suite(sh("sleep 600; true", timeout_s=60), tree, None)
    assert (run.failure, list(scratch.iterdir())) == ("disk_full", [])


# Replays


PLAN = {"intent_path": ["hr", "payslip"], "reply": "Hello"}
REPLAY = """
import json, sys
given, out = sys.argv[1:]
plans = []
for line in open(given):
    case = json.loads(line)
    text, plan = case["ticket"], {"intent_path": ["hr", "payslip"], "reply": case["ticket"]}
    if text == "exit": sys.exit(3)
    if text == "print": print("Jane Doe", file=sys.stderr); sys.exit(4)
    if text == "die": import os; os.kill(os.getpid(), 9)
    if text == "hang": import time; time.sleep(600)
    if text == "other": case["external_id"] = "c999"
    if text == "misfit": plan = {"intent_path": 7, "reply": "Jane Doe"}
    if text == "silent": continue
    plans.append("garbage" if text == "garbage" else json.dumps({"external_id": case["external_id"], "plan": plan}))
    if text == "large": plans[-1] += " " * 20_000_000
open(out, "w").write("\\n".join(plans))
open("starts", "a").write("x")
"""


ASKED = "import json, os, sys\nids = [json.loads(line)['external_id'] for line in open(sys.argv[1])]\n"


def replay(**changes):
    return Replay.model_validate({"argv": ["python", "-S", "-E", "replay.py", "{in}", "{out}"], "timeout_s": 1, **changes})


def cases(*tickets):
    return {f"c{number}": {"external_id": "theirs", "ticket": ticket} for number, ticket in enumerate(tickets)}


def test_plans_come_in_the_order_asked_from_one_process(runner, tree, scratch):
    asked = dict(reversed(cases("a", "b", "c").items()))
    answers = runner.replay(replay(), tree, asked)
    assert [(a.case_id, a.failure, a.plan and a.plan["reply"]) for a in answers] == [("c2", None, "c"), ("c1", None, "b"), ("c0", None, "a")]
    assert answers[0].plan["extraction"] == {}, "a whole plan as the schema has it"
    assert (tree / "starts").read_text() == "x" and list(scratch.iterdir()) == []
    assert asked["c0"]["external_id"] == "theirs"


def test_a_lone_replay_that_somebody_kills_is_run_once_more(runner, tree):
    code = f"{ASKED}if not os.path.exists('once'): open('once', 'w'); os.kill(os.getpid(), 9)\njson.dump({{'external_id': ids[0], 'plan': {PLAN}}}, open(sys.argv[2], 'w'))"
    (answer,) = runner.replay(replay(argv=["python", "-S", "-E", "-c", code, "{in}", "{out}"]), tree, cases("a"))
    assert (answer.failure, answer.plan and answer.plan["reply"]) == (None, "Hello")


def test_no_cases_no_process(runner, tree):
    assert runner.replay(replay(argv=["no-such-program"]), tree, {}) == []


@pytest.mark.parametrize(
    ("ticket", "failure"),
    [
        ("exit", "replay_exit"),
        ("print", "replay_exit"),
        ("die", "replay_exit"),
        ("garbage", "replay_garbage"),
        ("misfit", "replay_garbage"),
        ("silent", "replay_missing"),
        ("other", "replay_other_case"),
        ("hang", "timeout"),
        ("large", "too_large"),
    ],
)
def test_one_bad_case_sinks_only_itself(runner, tree, scratch, ticket, failure):
    answers = runner.replay(replay(), tree, cases("a", ticket, "c"))
    assert [answer.failure for answer in answers] == [None, failure, None]
    assert [answer.plan and answer.plan["reply"] for answer in answers] == ["a", None, "c"]
    assert "Jane" not in answers[1].detail and answers[1].detail
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("end", "failure"), [("", None), ("sys.exit(3)", "replay_exit")])
def test_a_replay_that_prints_a_hundred_megabytes_is_judged_by_its_answer(runner, tree, scratch, end, failure):
    loud = f"{ASKED}for _ in range(50):\n for pipe in (sys.stdout, sys.stderr): pipe.write('Jane Doe ' * 111_112)\n"
    loud += f"json.dump({{'external_id': ids[0], 'plan': {PLAN}}}, open(sys.argv[2], 'w'))\n{end}"
    (answer,) = runner.replay(replay(argv=["python", "-S", "-E", "-c", loud, "{in}", "{out}"], timeout_s=20), tree, cases("a"))
    assert (answer.failure, answer.plan and answer.plan["reply"]) == (failure, None if failure else "Hello")
    assert "Jane" not in answer.detail and list(scratch.iterdir()) == []


def test_a_case_cannot_answer_for_another_that_was_asked(runner, tree):
    swap = ASKED + "known = open('known').read() if os.path.exists('known') else ids[0]\nopen('known', 'w').write(known)\n"
    swap += "open(sys.argv[2], 'w').write(json.dumps({'external_id': known, 'plan': {'intent_path': ['x']}}))"
    answers = runner.replay(replay(argv=["python", "-S", "-E", "-c", swap, "{in}", "{out}"]), tree, cases("a", "b"))
    assert sorted([answer.failure for answer in answers], key=str) == [None, "replay_other_case"]


def test_neither_the_name_of_a_case_nor_its_place_says_which_one_it_is(scratch, tree):
    """An agent is told which case its change is to cure; a pipeline that treats this one alone would look like a cure."""
    tell = ASKED + "plan = {'intent_path': ['x'], 'reply': ' '.join(ids)}\n"
    tell += "open(sys.argv[2], 'w').write('\\n'.join(json.dumps({'external_id': one, 'plan': plan}) for one in ids))"
    rule, asked = replay(argv=["python", "-S", "-E", "-c", tell, "{in}", "{out}"]), cases(*"abcdefgh")
    runners = [SubprocessEvals(scratch, python=sys.executable) for _ in range(2)]
    seen = [runner.replay(rule, tree, some)[0].plan["reply"] for runner in runners for some in (asked, dict(reversed(asked.items())))]
    assert seen[0] == seen[1] and seen[2] == seen[3] != seen[0], "the same on both sides of a gate, and else another"
    assert not set(asked) & set(seen[0].split()) and sorted(seen[0].split()) == seen[0].split()


def test_hanging_cases_share_a_budget(scratch, tree):
    start = time.monotonic()
    answers = SubprocessEvals(scratch, python=sys.executable, limits=ProcessLimits(replay_budget=1)).replay(replay(), tree, cases(*["hang"] * 20))
    assert {answer.failure for answer in answers} == {"timeout"} and time.monotonic() - start < 4


def test_a_missing_command_is_not_tried_again_for_each_case(runner, tree):
    answers = runner.replay(replay(argv=["no-such-program"]), tree, cases("a", "b"))
    assert [(answer.case_id, answer.failure) for answer in answers] == [("c0", "command_missing"), ("c1", "command_missing")]


def test_a_link_is_no_answer(runner, tree):
    (tree / "plans").write_text(json.dumps({"external_id": "c0", "plan": PLAN}))
    argv = ["sh", "-c", 'ln -s "$PWD/plans" "$1"', "sh", "{out}"]
    assert runner.replay(replay(argv=argv), tree, cases("a"))[0].failure == "replay_garbage"

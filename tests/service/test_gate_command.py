"""`triage gate run` on real repositories: honest changes, cheating heads, hostile repositories, wrong words."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.subprocess_evals import SubprocessEvals
from rubric.manifest import read_manifest
from rubric.schema import Step
from service.commands.gate import main
from service.gating import GateRefused, overlay, run_gate

ROOT = Path(__file__).parents[2]
MANIFEST = """
version: 1
steps:
  fetch:
    watches: ["fetch/**"]
    suites:
      - {id: fetch-golden, argv: [python, -S, -E, evals/run.py, fetch, "{in}", "{out}"],
         results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 20, min_rows: 2}
  plan:
    watches: ["plan/**"]
    suites:
      - {id: plan-golden, argv: [python, -S, -E, evals/run.py, plan, "{in}", "{out}"],
         results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 20, min_rows: 2}
allow: {adjust_fetch_weight: ["fetch/*", "evals/fetch/cases.jsonl"], alter_plan_branch: ["evals/plan/cases.jsonl"]}
protected: ["evals/**", "triage.yaml"]
"""
SUITE = """
import json, pathlib, sys
step, given, out = sys.argv[1:]
config = json.loads(pathlib.Path(step, "config.json").read_text())
exec(config.pop("do", ""))
rows = [json.loads(line) for line in open(given)]
done = [{"row": row["id"], "pass": config.get(row["key"]) == row["expected"]} for row in rows if row["id"] not in config.get("skip", [])]
pathlib.Path(out, "rows.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in done))
"""
ROWS = "".join(json.dumps({"id": f"r{key}", "key": key, "expected": 1}) + "\n" for key in "abc")
CONFIG = {"a": 1, "b": 1, "c": 0}
GREEN = {"fetch/config.json": json.dumps({**CONFIG, "c": 1})}
FILES = {
    "triage.yaml": MANIFEST,
    "evals/run.py": SUITE,
    "evals/fetch/cases.jsonl": ROWS,
    "evals/plan/cases.jsonl": ROWS,
    "fetch/config.json": json.dumps(CONFIG),
    "plan/config.json": json.dumps(CONFIG),
    "readme.md": "hello",
}


class Repo:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit(FILES)
        self.git("branch", "base")

    def git(self, *words, **env):
        plain = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **env}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *who, *words], cwd=self.path, env=plain, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, files):
        for name, text in files.items():
            target = self.path / name
            if text is None:
                shutil.rmtree(target) if target.is_dir() else target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def commit(self, files):
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path / "a repo")


@pytest.fixture
def gate(repo, capfd):
    def run(*words, base="base", head="main", path=None):
        code = main(["run", "--repo", str(path or repo.path), "--base", base, "--head", head, *words])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def report(gate):
    def run(*words, **where):
        code, out, _ = gate("--json", *words, **where)
        return code, json.loads(out)

    return run


def fetch(**config):
    return {"fetch/config.json": json.dumps({**CONFIG, **config})}


def only(found):
    (suite,) = found["suites"]
    return suite


def test_a_green_change(repo, gate):
    base, head = repo.git("rev-parse", "base"), repo.commit(GREEN)
    code, out, err = gate()
    assert (code, err) == (0, "")
    assert base[:10] in out and head[:10] in out and "affected steps  fetch\n" in out
    assert out.splitlines()[-1].startswith("verdict: pass in ")
    line = next(line for line in out.splitlines() if line.startswith("fetch-golden"))
    assert line.split()[1:7] == ["pass", "3", "3", "2", "1", "0"] and line.endswith("  self-graded") and "plan-golden" not in out


def test_a_suite_that_is_graded_outside_is_not_called_self_graded(repo, gate, report):
    fields = 'format: outputs-jsonl, path: "{out}/outputs.jsonl"}, rows: {path: evals/fetch/cases.jsonl}, grade: {}, timeout_s'
    manifest = MANIFEST.replace('format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s', fields, 1)
    answers = SUITE.replace('"pass": config.get(row["key"]) == row["expected"]', '"output": config.get(row["key"])').replace(
        "rows.jsonl", "outputs.jsonl"
    )
    repo.commit({"triage.yaml": manifest, "evals/run.py": answers})
    repo.git("branch", "-f", "base")
    repo.commit(fetch(a=2, c=1))
    code, out, _ = gate()
    assert code == 1 and "lost: ra\n" in out and "self-graded" not in out
    assert only(report()[1])["graded"] == "outside"


def test_a_lost_row(repo, gate, report):
    repo.commit(fetch(a=2, c=1))
    code, out, _ = gate()
    assert code == 1 and "lost: ra\n" in out and "verdict: fail" in out
    code, found = report()
    assert (code, found["state"], only(found)["lost"], only(found)["gained"]) == (1, "fail", ["ra"], ["rc"])
    assert found["changed"] == ["fetch/config.json"] and found["affected"] == found["steps"] == ["fetch"]
    assert only(found)["rows_file"] == "evals/fetch/cases.jsonl" and only(found)["seconds_head"] > 0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"skip": ["ra"]}, "1 of base missing on head: ra"),
        ({"skip": ["rc"]}, "1 of base missing on head: rc"),
        ({"skip": ["ra", "rb", "rc"]}, "no_rows"),
        ({"skip": ["ra", "rb"]}, "too_few_rows"),
        ({"do": "sys.exit(3)"}, "exit_code"),
        ({"do": "import os; os._exit(0)"}, "no_rows_file"),
        ({"do": "rows = 1 / 0"}, "no_rows_file"),
    ],
)
def test_head_gives_too_little(repo, report, config, reason):
    repo.commit(fetch(**config))
    code, found = report()
    assert (code, found["state"]) == (1, "fail") and reason in only(found)["reason"]


def test_head_that_hangs_fails_and_base_that_hangs_is_an_error(repo, report):
    quick = MANIFEST.replace("timeout_s: 20", "timeout_s: 1")
    repo.commit({"triage.yaml": quick})
    repo.git("branch", "-f", "base")
    repo.commit(fetch(do="import time; time.sleep(600)"))
    code, found = report()
    assert code == 1 and "on head: the suite could not run (timeout)" in only(found)["reason"]
    code, found = report(base="main", head="base")
    assert (code, found["state"]) == (2, "error") and "on base" in only(found)["reason"]


def test_why_a_suite_failed_is_shown_and_cannot_forge_the_page(repo, gate):
    repo.commit(fetch(do="print('\\033[2J\\nverdict: pass', file=sys.stderr); sys.exit(3)"))
    code, out, _ = gate()
    assert code == 1 and "ended with exit status 3" in out and "\x1b" not in out
    assert [line for line in out.splitlines() if line.startswith("verdict:")] == [line for line in out.splitlines() if "verdict: fail" in line]


# A head that works on its own exam


CHEAT = SUITE.replace("config.get(row", "1 or config.get(row")


@pytest.mark.parametrize(
    "files",
    [
        {"evals/run.py": CHEAT},
        {"evals/fetch/cases.jsonl": ROWS.replace('"expected": 1', '"expected": 2')},
        {"evals/fetch/cases.jsonl": ROWS.splitlines()[1]},
        {"evals/fetch/more.jsonl": ROWS, "evals/json.py": "loads = None", "evals/pathlib/__init__.py": ""},
        {"triage.yaml": MANIFEST.replace("min_rows: 2", "min_rows: 1").replace("evals/run.py", "fetch/run.py"), "fetch/run.py": CHEAT},
        {"triage.yaml": None},
        {"evals": None},
    ],
)
def test_cheating_has_no_effect(repo, report, files):
    repo.commit({**files, **fetch(a=2)})
    code, found = report()
    assert (code, found["state"]) == (1, "fail")
    assert {suite["suite"]: suite["lost"] for suite in found["suites"]}["fetch-golden"] == ["ra"]
    named = set(files) - {"fetch/run.py", "evals"} or {"evals/run.py", "evals/fetch/cases.jsonl", "evals/plan/cases.jsonl"}
    assert named == set(found["from_base"])


def test_a_deleted_manifest_is_base_s_and_all_steps_run(repo, gate, report):
    repo.commit({"triage.yaml": None})
    code, found = report()
    assert (code, found["affected"], found["from_base"]) == (0, ["fetch", "plan"], ["triage.yaml"])
    assert "triage.yaml  (head's own version was not used)" in gate()[1]


def test_a_folder_where_base_has_a_file(tmp_path):
    base, head = tmp_path / "base", tmp_path / "head"
    for path in (base / "evals", head / "triage.yaml"):
        path.mkdir(parents=True)
    (base / "triage.yaml").write_text(MANIFEST)
    (base / "evals" / "run.py").write_text("x")
    (head / "triage.yaml" / "x").write_text("y")
    (head / "evals").write_text("z")
    assert overlay(base, head, read_manifest(MANIFEST)) == ["evals/run.py", "triage.yaml"]
    assert (head / "triage.yaml").read_text() == MANIFEST and (head / "evals" / "run.py").read_text() == "x"


def test_an_executable_bit_is_base_s_too(tmp_path):
    for name in ("base", "head"):
        (tmp_path / name / "evals").mkdir(parents=True)
        (tmp_path / name / "evals" / "run.sh").write_text("x")
    (tmp_path / "base" / "evals" / "run.sh").chmod(0o755)
    overlay(tmp_path / "base", tmp_path / "head", read_manifest(MANIFEST))
    assert os.access(tmp_path / "head" / "evals" / "run.sh", os.X_OK)


def test_links_in_a_tree_are_refused_before_anything_is_written(tmp_path):
    for name in ("base/evals", "head", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base" / "evals" / "run.py").write_text("x")
    (tmp_path / "head" / "evals").symlink_to(tmp_path / "outside")
    with pytest.raises(GateRefused, match="evals is a link"):
        overlay(tmp_path / "base", tmp_path / "head", read_manifest(MANIFEST))
    assert list((tmp_path / "outside").iterdir()) == []


# Which steps run


def test_a_path_nobody_watches_runs_everything(repo, report):
    repo.commit({"readme.md": "bye"})
    code, found = report()
    assert (code, found["affected"]) == (0, ["fetch", "plan"])


def test_named_steps_only(repo, report):
    repo.commit(GREEN)
    code, found = report("--step", "plan", "--step", "fetch")
    assert (code, found["affected"], found["steps"]) == (0, ["fetch"], ["fetch", "plan"])
    code, found = report("--step", "plan")
    assert (code, found["state"]) == (2, "inconclusive") and "left out: fetch" in found["reasons"][0]
    code, found = report("--step", "reply")
    assert (code, found["state"], found["suites"]) == (2, "inconclusive", [])


# Suites whose rows vary


@pytest.fixture
def sampled(repo, tmp_path):
    """Commits a fetch step whose row a passes as told, run by run, and which no other row hangs on."""

    def commit(told, name):
        log = tmp_path / name
        # Where an append ends is this run's number, though two may run at once.
        code = f"import os; f = os.open({str(log)!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY); os.write(f, b'x'); n = os.lseek(f, 0, 1) - 1; config['a'] = int({told!r}[n])"
        repo.commit({"triage.yaml": MANIFEST.replace("min_rows: 2}", "min_rows: 2, kind: sampled}"), **fetch(do=code)})
        return lambda: log.stat().st_size

    def both(base, head):
        runs_base = commit(base, "base.log")
        repo.git("branch", "-f", "base")
        return runs_base, commit(head, "head.log")

    return both


def test_a_sampled_suite_is_run_three_times(report, sampled):
    runs = sampled("1" * 9, "1" * 9)
    code, found = report()
    assert (code, found["state"], only(found)["runs"], *(run() for run in runs)) == (0, "pass", [3, 3], 3, 3)


def test_a_suspect_of_a_sampled_suite_is_shown_with_its_counts(gate, sampled):
    runs = sampled("1" * 9, "110111110")
    code, out, _ = gate()
    assert code == 0 and "runs: 8 on base, 8 on head; 1 under suspicion after the first 3\n      8/8 -> 7/8     ra\n" in out
    assert [run() for run in runs] == [8, 8]


@pytest.mark.parametrize(
    ("head", "status", "word"), [("0" * 9, 1, "    lost: ra\n"), ("000011110", 2, "    may be lost, a person has to look: ra\n")]
)
def test_a_row_that_falls_in_a_sampled_suite_does_not_pass(gate, sampled, head, status, word):
    sampled("1" * 9, head)
    code, out, _ = gate()
    assert code == status and word in out and f"-> {head[:8].count('1')}/8" in out


def test_a_sampled_suite_that_cannot_run_is_run_once(report, repo, sampled):
    runs, _ = sampled("1" * 9, "1" * 9)
    repo.commit(fetch(do="sys.exit(3)"))
    code, found = report()
    assert (code, found["state"], only(found)["runs"], runs()) == (1, "fail", [3, 1], 3) and "exit_code" in only(found)["reason"]


@pytest.fixture
def noise(repo, capfd):
    def run(*words):
        code = main(["noise", "--repo", str(repo.path), "--base", "base", *words])
        return code, *capfd.readouterr()

    return run


def test_noise_shows_the_rows_that_vary_by_themselves(noise, sampled, repo):
    runs, _ = sampled("01" * 6, "")
    code, out, err = noise("--runs", "6")
    assert (code, err, runs()) == (0, "", 6) and repo.git("rev-parse", "base")[:10] in out
    assert "fetch-golden             3 rows, 1 noisy, 0 for quarantine" in out and "3/6   19% to  81%  judged      ra" in out
    assert "plan-golden              3 rows, 0 noisy" in out
    code, out, _ = noise("--runs", "2", "--json")
    found = json.loads(out)
    assert found["runs"] == 2 and found["suites"][0]["noisy"] == [{"row": "ra", "passes": 1, "runs": 2, "quarantined": False}]


def test_noise_says_which_rows_quarantine_would_take(noise, sampled, repo):
    rows = "".join(json.dumps({"id": f"r{key}", "key": key, "expected": 1}) + "\n" for key in "abdef")
    repo.commit({"evals/fetch/cases.jsonl": rows})
    sampled("01" * 6, "")
    code, out, _ = noise()
    assert code == 0 and "5 rows, 1 noisy, 1 for quarantine" in out and "quarantine  ra" in out


def test_noise_of_a_suite_that_cannot_run(noise, repo, sampled):
    sampled("1" * 9, "1" * 9)
    repo.commit(fetch(do="sys.exit(3)"))
    repo.git("branch", "-f", "base")
    code, out, _ = noise()
    assert code == 2 and "fetch-golden             not measured\n    exit_code: ended with exit status 3" in out
    code, out, _ = noise("--json")
    assert code == 2 and [suite["failure"] is None for suite in json.loads(out)["suites"]] == [False, True]


def test_noise_of_a_repository_without_sampled_suites(noise):
    code, out, _ = noise()
    assert code == 0 and "nothing to measure" in out


@pytest.mark.parametrize("runs", ["1", "0", "-3", "1001", "x", "9" * 5000, "٣"])
def test_noise_with_an_odd_number_of_runs_is_a_wrong_line(noise, runs):
    code, out, err = noise("--runs", runs)
    assert (code, out) == (64, "") and "no number from 2 to 1000" in err


def test_no_certain_rows_file(repo, report):
    repo.commit({"triage.yaml": MANIFEST.replace('"evals/fetch/cases.jsonl"', '"evals/fetch/*"'), "evals/fetch/b.jsonl": ROWS})
    repo.git("branch", "-f", "base")
    repo.commit(GREEN)
    code, found = report()
    assert (code, found["state"]) == (2, "error") and "no_rows_path" in only(found)["reason"]


@pytest.fixture
def trees(tmp_path):
    for name in ("base", "head"):
        for path, text in FILES.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    return tmp_path / "base", tmp_path / "head"


@pytest.fixture
def runner(tmp_path):
    return SubprocessEvals(tmp_path / "scratch", python=sys.executable)


def test_new_rows_run_on_both_sides_and_only_there(trees, runner):
    base, head = trees
    (base / "evals/fetch/cases.jsonl").write_text(ROWS.rstrip("\n"))  # no newline at the end must not glue two rows
    (head / "fetch/config.json").write_text(json.dumps({**CONFIG, "d": 1}))
    new = json.dumps({"id": "rd", "key": "d", "expected": 1}) + "\n"
    found = run_gate(base, head, ["evals/fetch/cases.jsonl"], read_manifest(MANIFEST), runner, {"fetch-golden": new}, steps=[Step.fetch])
    (suite,) = found.suites
    assert (suite.gained, suite.rows_base, suite.state) == (["rd"], 4, "pass")
    assert (base / "evals/fetch/cases.jsonl").read_text() == ROWS.rstrip("\n")


@pytest.mark.parametrize("suite", ["nobody", "plan-golden"])
def test_new_rows_that_no_run_suite_takes_are_refused(trees, runner, suite):
    with pytest.raises(GateRefused) as error:
        run_gate(*trees, ["fetch/config.json"], read_manifest(MANIFEST), runner, {suite: "{}"}, steps=[Step.fetch])
    assert error.value.code == "rows_not_taken"


def test_new_rows_make_their_step_affected(trees, runner):
    new = json.dumps({"id": "rd", "key": "a", "expected": 1})
    found = run_gate(*trees, ["fetch/config.json"], read_manifest(MANIFEST), runner, {"plan-golden": new})
    assert found.affected == (Step.fetch, Step.plan) and found.state == "pass"


def test_a_suite_that_spoils_the_tree_spoils_no_rows(trees, runner):
    base, head = trees
    spoil = {
        **CONFIG,
        "do": "pathlib.Path('evals/plan/cases.jsonl').write_text('[]'); pathlib.Path('../base/evals/plan/cases.jsonl').write_text('[]')",
    }
    (head / "fetch/config.json").write_text(json.dumps(spoil))
    found = run_gate(base, head, ["readme.md"], read_manifest(MANIFEST), runner)
    assert [suite.state for suite in found.suites] == ["pass", "pass"]


# Repositories that are hostile, odd or not there


def test_nothing_the_repository_configures_is_run(repo, gate, tmp_path):
    repo.commit({**GREEN, ".gitattributes": "* filter=evil diff=evil\n"})
    marker = tmp_path / "executed"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\necho $0 >> '{marker}'\n")
    evil.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "diff.evil.textconv", "diff.evil.command"):
        repo.git("config", key, str(evil))
    for key in ("diff.external", "core.pager", "core.sshCommand", "core.alternateRefsCommand", "core.askPass", "uploadpack.packObjectsHook"):
        repo.git("config", key, str(evil))
    repo.git("config", "alias.ls-tree", f"!{evil}")
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (repo.path / ".git" / "hooks" / hook).symlink_to(evil)
    assert gate()[0] == 0
    assert not marker.exists()


def test_a_missing_object_is_not_fetched(repo, gate, tmp_path):
    head = repo.commit(GREEN)
    marker = tmp_path / "executed"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    evil.chmod(0o755)
    for key, value in {
        "extensions.partialClone": "evil",
        "core.repositoryFormatVersion": "1",
        "remote.evil.url": f"ext::{evil}",
        "remote.evil.promisor": "true",
        "remote.evil.uploadpack": str(evil),
        "protocol.ext.allow": "always",
        "protocol.allow": "always",
    }.items():
        repo.git("config", key, value)
    blob = repo.git("rev-parse", f"{head}:fetch/config.json")
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    code, _, err = gate()
    assert code == 2 and "object_missing" in err and not marker.exists()


def test_replaced_objects_are_not_judged(repo, gate):
    repo.commit(fetch(a=2))
    bad, good = repo.git("rev-parse", "main:fetch/config.json"), repo.git("rev-parse", "base:fetch/config.json")
    repo.git("replace", bad, good)
    assert gate()[0] == 1


def test_filters_and_line_ends_do_not_change_what_is_run(repo, gate):
    repo.commit({**GREEN, ".gitattributes": "*.json text eol=crlf ident\n", "fetch/id": "$Id$\n"})
    repo.git("config", "core.autocrlf", "true")
    check = "assert pathlib.Path('fetch/id').read_bytes() == b'$Id$\\n'"
    repo.commit({"fetch/config.json": json.dumps({**CONFIG, "do": check})})
    assert gate()[0] == 0


def link(repo):
    (repo.path / "evals" / "link").symlink_to("/etc/passwd")


def submodule(repo):
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.git('rev-parse', 'HEAD')},sub")


@pytest.mark.parametrize(("change", "word"), [(link, "symbolic link"), (submodule, "submodule")])
def test_links_and_submodules_are_refused(repo, gate, change, word):
    change(repo)
    if change is link:
        repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "x")
    code, out, err = gate()
    assert (code, out) == (2, "") and "odd_file" in err and word in err


@pytest.mark.parametrize("name", [".GIT/config", "a\x1bb", "a\nb"])
def test_odd_paths_are_refused(repo, gate, name):
    blob = repo.git("rev-parse", "HEAD:readme.md")
    index = str(repo.path / "odd-index")
    repo.git("read-tree", "HEAD", GIT_INDEX_FILE=index)
    listed = subprocess.run(["git", "ls-tree", "-z", "HEAD"], cwd=repo.path, capture_output=True, check=True).stdout
    tree = listed
    if "/" in name:
        inner = subprocess.run(
            ["git", "mktree", "-z"], cwd=repo.path, input=f"100644 blob {blob}\tconfig\0".encode(), capture_output=True, check=True
        )
        tree += f"040000 tree {inner.stdout.decode().strip()}\t.GIT\0".encode()
    else:
        tree += f"100644 blob {blob}\t{name}\0".encode()
    top = subprocess.run(["git", "mktree", "-z"], cwd=repo.path, input=tree, capture_output=True, check=True).stdout.decode().strip()
    head = repo.git("commit-tree", top, "-p", "HEAD", "-m", "x")
    code, _, err = gate(head=head)
    assert code == 2 and "odd_path" in err and "\x1b" not in err and err.count("\n") == 1


@pytest.mark.parametrize("ref", ["nothing", "--help", "-x", "--output=pwned", "main..base", "main:readme.md", "", "a\x00b", "\x1b[2J"])
def test_odd_refs_name_nothing(repo, gate, ref):
    repo.commit(GREEN)
    code = main(["run", "--repo", str(repo.path), f"--base={ref}", "--head=main"])
    assert code == 2
    assert not (repo.path / "pwned").exists()


def test_named_errors(repo, gate, report, tmp_path):
    assert "no_changes" in gate()[2]
    code, _, err = gate(head="nothing")
    assert code == 2 and "unknown_ref: 'nothing'" in err
    assert report(head="nothing")[1]["error"]["code"] == "unknown_ref"
    for path in (tmp_path, tmp_path / "none", repo.path / "readme.md"):
        code, _, err = gate(path=path)
        assert code == 2 and "not_a_repository" in err
    repo.commit({"triage.yaml": "version: 2\n"})
    code, _, err = gate(base="main", head="base")
    assert code == 2 and "manifest_invalid: triage.yaml" in err
    without = repo.commit({"triage.yaml": None})
    code, _, err = gate(base="main", head="base")
    assert code == 2 and f"no_manifest: triage.yaml is not in BASE: main ({without[:10]})" in err and "Add one there first" in err


@pytest.mark.parametrize("words", [[], ["run"], ["run", "--base"], ["run", "--base", "a", "--head", "b", "--step", "sleep"], ["walk"]])
def test_a_wrong_command_line_is_64(words, capsys):
    assert main(words) == 64
    assert "usage: triage gate" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and "exit status:" in text and "inconclusive" in text


def test_a_bare_repository_and_a_subfolder(repo, gate, tmp_path):
    repo.commit(GREEN)
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    assert gate(path=tmp_path / "bare")[0] == 0
    assert gate(path=repo.path / "fetch")[0] == 0


def test_a_head_beside_base_is_said(repo, gate):
    repo.commit({"readme.md": "new"})
    repo.git("checkout", "-q", "-b", "side", "base")
    repo.commit(GREEN)
    assert "not an ancestor" in gate(base="main", head="side")[1]
    assert "not an ancestor" not in gate(base="base", head="side")[1]


def test_the_repository_is_not_written_to(repo, gate):
    repo.commit(GREEN)
    before = sorted((path, path.stat().st_mtime_ns) for path in repo.path.rglob("*"))
    assert gate()[0] == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in repo.path.rglob("*")) == before


# The command as a process


def command(repo, tmp_path, **more):
    words = [sys.executable, "-m", "service.commands.gate", "run", "--repo", repo.path, "--base", "base", "--head", "main"]
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), **more}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_suites_and_leaves_nothing(repo, tmp_path, number):
    os.mkfifo(tmp_path / "started")
    repo.commit(fetch(do=f"import os, time; open({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid())); time.sleep(600)"))
    with command(repo, tmp_path) as process:
        pid = int((tmp_path / "started").read_text())
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"") and b"stopped" in err and b"Traceback" not in err
    for _ in range(2000):
        if not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.001)
    else:
        pytest.fail("the suite lives on")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_narrow_terminal_encoding_is_no_crash(repo, tmp_path):
    repo.commit({**GREEN, "fetch/grün.txt": "x"})
    with command(repo, tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"") and b"fetch/gr\\xfcn.txt" in out
    assert list((tmp_path / "tmp").iterdir()) == []


def test_neither_web_stack_nor_database_is_loaded():
    code = "import sys, service.commands.gate; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    banned = {"sqlmodel", "sqlalchemy", "fastapi", "starlette", "uvicorn", "dbos", "typer", "rich", "httpx2", "jinja2", "asyncio", "anthropic"}
    assert not banned & set(done.stdout.split())

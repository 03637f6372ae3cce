"""The gate on suites that are graded outside: a head that looks for the answers finds none, and no row gets lost between the sides."""

import json
import sys

import pytest

from connectors.subprocess_evals import SubprocessEvals
from rubric.manifest import read_manifest
from rubric.schema import Step
from service.exams import hide
from service.gating import run_gate

MANIFEST = """
version: 1
steps:
  fetch:
    watches: ["pipeline.py"]
    suites:
      - {id: fetch-golden, argv: [python, -S, -E, pipeline.py, "{in}", "{out}"], results: {format: outputs-jsonl, path: "{out}/outputs.jsonl"},
         timeout_s: 20, min_rows: 1, rows: {path: evals/fetch/cases.jsonl}, grade: {}}
  plan:
    watches: ["plan/**"]
    suites:
      - {id: plan-golden, argv: [python, -S, -E, evals/own.py, "{in}", "{out}"], results: {format: rows-jsonl, path: "{out}/rows.jsonl"},
         timeout_s: 20, min_rows: 1, rows: {path: evals/plan/cases.jsonl}}
allow: {adjust_fetch_weight: ["evals/more/*.jsonl"]}
protected: ["evals/**", "triage.yaml"]
"""
GRADED = MANIFEST.replace("grade: {}", 'grade: {argv: [python, -S, -E, evals/grade.py, "{in}", "{outputs}", "{out}"]}')
PIPELINE = """
import json, pathlib, sys
given, out = sys.argv[1:3]
rows = [json.loads(line) for line in open(given)]
def answer(row): return row["ask"] * 2
SKIP = []
"""
WRITES = """
done = [{"row": row["id"], "output": answer(row)} for row in rows if row["id"] not in SKIP]
pathlib.Path(out, "outputs.jsonl").write_text("".join(json.dumps(one) + "\\n" for one in done))
"""
OWN = """
import json, pathlib, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
pathlib.Path(sys.argv[2], "rows.jsonl").write_text("".join(json.dumps({"row": row["id"], "pass": True}) + "\\n" for row in rows))
"""
GRADE = """
import json, pathlib, sys
said = {one["row"]: one["output"] for one in map(json.loads, open(sys.argv[2]))}
assert pathlib.Path("evals/fetch/cases.jsonl").exists(), "a grader has all of base"
done = [{"row": row["id"], "pass": said.get(row["id"]) == row["expected"]} for row in map(json.loads, open(sys.argv[1])) if row["id"] in said]
pathlib.Path(sys.argv[3], "rows.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in done))
"""
ROWS = "".join(json.dumps({"id": name, "ask": ask, "expected": right}) + "\n" for name, ask, right in (("a", 1, 2), ("b", 2, 4), ("c", 3, 33)))
FILES = {
    "triage.yaml": MANIFEST,
    "evals/own.py": OWN,
    "evals/grade.py": GRADE,
    "evals/fetch/cases.jsonl": ROWS,
    "evals/plan/cases.jsonl": ROWS,
    "evals/more/held.jsonl": ROWS,
    "pipeline.py": PIPELINE + WRITES,
}
LOOKS = """
found = {}
for path in pathlib.Path(".").rglob("*"):
    if path.is_file() and path.suffix == ".jsonl":
        found |= {row["id"]: row["expected"] for row in map(json.loads, open(path)) if "expected" in row}
def answer(row): return found.get(row["id"], row.get("expected"))
"""


@pytest.fixture
def gate(tmp_path):
    def run(head, manifest=MANIFEST, more=None, **changes):
        for name, files in (("base", {**FILES, **changes}), ("head", {**FILES, **changes, **(more or {}), "pipeline.py": PIPELINE + head + WRITES})):
            for path, text in files.items():
                target = tmp_path / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        runner = SubprocessEvals(tmp_path / "scratch", python=sys.executable)
        changed = ["pipeline.py", "plan/x"]
        report = run_gate(tmp_path / "base", tmp_path / "head", changed, read_manifest(manifest), runner, scratch=tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "head", "scratch"], "nothing is left"
        return report, {suite.suite: suite for suite in report.suites}

    return run


@pytest.mark.parametrize("manifest", [MANIFEST, GRADED])
def test_an_honest_change_is_judged(gate, manifest):
    report, suites = gate("def answer(row): return {1: 2, 2: 5, 3: 33.0}[row['ask']]", manifest)
    fetch = suites["fetch-golden"]
    assert (fetch.state, fetch.kept, fetch.lost, fetch.gained, fetch.graded) == ("fail", 1, ["b"], ["c"], "outside")
    assert (suites["plan-golden"].state, suites["plan-golden"].kept, suites["plan-golden"].graded) == ("pass", 3, "self"), report
    assert [suite["graded"] for suite in report.to_json()["suites"]] == ["outside", "self"]


@pytest.mark.parametrize("manifest", [MANIFEST, GRADED])
def test_a_pipeline_that_reads_the_evals_for_the_answers_finds_none(gate, manifest):
    _, suites = gate(LOOKS, manifest)
    assert (suites["fetch-golden"].state, suites["fetch-golden"].lost, suites["fetch-golden"].gained) == ("fail", ["a", "b"], [])


def test_the_same_pipeline_finds_them_where_nothing_hides_them(gate):
    """Or the test before would show nothing."""
    own = MANIFEST.replace("outputs-jsonl", "rows-jsonl").replace("outputs.jsonl", "rows.jsonl").replace(", grade: {}", "")
    ran = 'assert found["c"] == 33\nopen(out + "/rows.jsonl", "w").write(\'{"row": "a", "pass": true}\')'
    assert gate(LOOKS + ran, own)[1]["fetch-golden"].rows_head == 1


def test_a_row_that_neither_side_answers_is_seen(gate):
    quiet = {"pipeline.py": FILES["pipeline.py"].replace("SKIP = []", 'SKIP = ["b"]')}
    _, suites = gate('SKIP = ["b"]', **quiet)
    assert (suites["fetch-golden"].state, suites["fetch-golden"].failing, suites["fetch-golden"].rows_head) == ("pass", ["b", "c"], 3)


@pytest.mark.parametrize(("head", "lost"), [('SKIP = ["b"]', ["b"]), ('SKIP = ["a", "b"]', ["a", "b"])])
def test_a_row_that_head_no_longer_answers_is_lost(gate, head, lost):
    _, suites = gate(head)
    assert (suites["fetch-golden"].state, suites["fetch-golden"].lost) == ("fail", lost)


def test_a_pipeline_that_answers_nothing_on_both_sides_is_no_pass(gate):
    quiet = {"pipeline.py": FILES["pipeline.py"].replace("SKIP = []", 'SKIP = ["a", "b", "c"]')}
    report, suites = gate('SKIP = ["a", "b", "c"]', **quiet)
    assert report.state != "pass" and "no_rows" in suites["fetch-golden"].reason


def test_head_s_grader_and_head_s_rows_are_base_s(gate):
    forged = {"evals/grade.py": GRADE.replace('said.get(row["id"]) == row["expected"]', "True"), "evals/fetch/cases.jsonl": ROWS.replace("33", "7")}
    report, suites = gate("def answer(row): return 7", GRADED, forged)
    assert suites["fetch-golden"].lost == ["a", "b"] and set(report.from_base) == set(forged)


def test_a_grader_that_nobody_protected_is_base_s_too(gate):
    rules = GRADED.replace("evals/grade.py", "grade.py")
    forged = GRADE.replace('said.get(row["id"]) == row["expected"]', "True")
    assert gate("def answer(row): return 7", rules, {"grade.py": forged}, **{"grade.py": GRADE})[1]["fetch-golden"].lost == ["a", "b"]


def test_rows_are_taken_from_both_trees_and_nothing_else(tmp_path):
    for name in ("base", "head"):
        for path, text in {**FILES, "evals/fetch/notes.md": "x", "data/cases.jsonl": "{}"}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
    trees = tmp_path / "base", tmp_path / "head"
    plain = read_manifest(MANIFEST.replace("outputs-jsonl", "rows-jsonl").replace(", grade: {}", ""))
    hide(plain, *trees)
    assert all((tree / "evals/fetch/cases.jsonl").exists() for tree in trees), "nothing is graded outside, nothing is hidden"
    hide(read_manifest(MANIFEST), *trees)
    for tree in trees:
        left = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
        assert left == {"triage.yaml", "evals/own.py", "evals/grade.py", "evals/fetch/notes.md", "data/cases.jsonl", "pipeline.py"}


def test_rows_are_hidden_when_the_suite_that_is_graded_outside_is_not_run(gate, tmp_path):
    for path, text in FILES.items():
        for name in ("base", "head"):
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
    runner = SubprocessEvals(tmp_path / "scratch", python=sys.executable)
    run_gate(tmp_path / "base", tmp_path / "head", ["plan/x"], read_manifest(MANIFEST), runner, steps=[Step.plan])
    assert not list(tmp_path.rglob("*.jsonl"))

"""Pipelines that want to pass without being right: what is expected is nowhere near them, and what they say of themselves is not read."""

import json
import sys

import pytest

from connectors.subprocess_evals import SubprocessEvals
from rubric.manifest import Suite

ROWS = [
    {"id": "a", "ask": 1, "expected": "sesame-1"},
    {"id": "b", "ask": 2, "expected": {"n": 1, "ok": True}},
    {"id": "c", "ask": 3, "expected": None},
]
HONEST = """
import json, os, pathlib, sys
given, out = sys.argv[1:3]
rows = [json.loads(line) for line in open(given)]
def write(outputs):
    pathlib.Path(out, "outputs.jsonl").write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\\n" for one in outputs))
answers = {1: "sesame-1", 2: {"ok": True, "n": 1.0}, 3: None}
outputs = [{"row": row["id"], "output": answers[row["ask"]]} for row in rows]
"""
LOOKS = """
def found():
    here = [pathlib.Path(place) for place in (".", given + "/../..", out)]
    texts = [path.read_text() for place in here for path in place.rglob("*") if path.is_file() and path.name != "pipeline.py"]
    return [text for text in [*texts, *sys.argv, *os.environ.values()] if "sesame" in text or '"expected"' in text]
"""
GRADER = """
import json, pathlib, sys
given, outputs, out = sys.argv[1:4]
said = {one["row"]: one["output"] for one in map(json.loads, open(outputs))}
rows = [json.loads(line) for line in open(given)]
done = [{"row": row["id"], "pass": str(said.get(row["id"])).lower() == str(row["expected"]).lower(), "score": 0.5} for row in rows]
"""
WRITES = 'pathlib.Path(out, "rows.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in done))\n'


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a tree").mkdir()
    return tmp_path / "a tree"


@pytest.fixture
def exam(tmp_path):
    (tmp_path / "an exam").mkdir()
    (tmp_path / "an exam" / "grader.py").write_text(GRADER + WRITES)
    return tmp_path / "an exam"


@pytest.fixture
def rows_file(tmp_path):
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path / "cases.jsonl"


@pytest.fixture
def runs(tmp_path, tree, rows_file):
    """Runs a pipeline of some code; nothing is ever left behind."""

    def run(code, exam=None, grade=None, min_rows=1, results="outputs.jsonl"):
        (tree / "pipeline.py").write_text(code)
        suite = {
            "id": "s", "argv": ["python", "-S", "-E", "pipeline.py", "{in}", "{out}"], "results": {"format": "outputs-jsonl", "path": f"{{out}}/{results}"},
            "timeout_s": 20, "min_rows": min_rows, "rows": {"path": "evals/cases.jsonl"}, "grade": grade or {},
        }  # fmt: skip
        scratch = tmp_path / "a scratch"
        found = SubprocessEvals(scratch, python=sys.executable).run_suite(Suite.model_validate(suite), tree, rows_file, exam)
        assert list(scratch.iterdir()) == [] if scratch.exists() else True
        return found

    return run


BY_GRADER = {"argv": ["python", "-S", "-E", "grader.py", "{in}", "{outputs}", "{out}"]}


def told(run):
    return {row.row: row.passed for row in run.rows}


def test_what_is_right_passes(runs):
    run = runs(HONEST + "write(outputs)", min_rows=3)
    assert (run.failure, run.detail, told(run)) == (None, "", {"a": True, "b": True, "c": True})


@pytest.mark.parametrize("grade", [None, BY_GRADER])
def test_what_is_expected_is_nowhere_near_the_pipeline(runs, exam, grade):
    look = HONEST + LOOKS + "assert not found(), 'it saw what is expected'\nwrite(outputs)"
    assert runs(look, exam, grade).detail == ""
    assert "expected" not in str(runs(HONEST + "write([{'row': 'a', 'output': 1, 'error': str(sorted(rows[0]))}])").rows[0].error)


def test_rows_that_it_grades_itself_are_not_read(runs):
    forged = 'pathlib.Path(out, "rows.jsonl").write_text("".join(json.dumps({"row": row["id"], "pass": True}) + "\\n" for row in rows))\n'
    run = runs(HONEST + forged + "write([{'row': one['row'], 'output': 'wrong'} for one in outputs])")
    assert run.failure is None and not any(told(run).values())
    assert runs(HONEST + forged).failure == "no_rows_file"
    assert runs(HONEST + forged, results="rows.jsonl").failure == "bad_rows", "a verdict is no output"


def test_a_hook_at_the_end_of_the_process_forges_nothing(runs):
    hook = """
import atexit
def forge():
    for name in ("outputs.jsonl", "rows.jsonl", "results.xml"):
        pathlib.Path(out, name).write_text("".join(json.dumps({"row": row["id"], "pass": True, "output": row.get("expected", True)}) + "\\n" for row in rows))
atexit.register(forge)
write(outputs)
"""
    assert runs(HONEST + hook).failure == "bad_rows"
    run = runs(HONEST + hook.replace('"pass": True, ', ""))
    assert run.failure is None and not any(told(run).values())


def test_an_object_that_equals_everything_does_not_cross(runs):
    equal = """
class Equal(dict):
    def __eq__(self, other): return True
    __hash__ = None
class Word(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
write([{"row": "a", "output": Equal()}, {"row": "b", "output": Word("x")}, {"row": "c", "output": Equal()}])
"""
    run = runs(HONEST + equal)
    assert run.failure is None and not any(told(run).values())


def test_true_is_not_1(runs):
    run = runs(HONEST + "write([{'row': 'b', 'output': {'n': True, 'ok': 1}}, {'row': 'c', 'output': False}])")
    assert (run.failure, told(run)) == (None, {"a": False, "b": False, "c": False})


@pytest.mark.parametrize(
    ("last", "failure", "words"),
    [
        ("write([*outputs, {'row': 'z', 'output': 1}])", "unknown_row", "line 4: the row z was not asked"),
        ("write([*outputs, outputs[0]])", "duplicate_row", "the row a stands twice"),
        ("write([{'row': 'a', 'output': float('nan')}])", "bad_rows", "NaN"),
        ('write([\'{"row": "a", "output": 1, "output": "sesame-1"}\'])', "bad_rows", "stands twice"),
        ('write([\'{"row": "a"}\'])', "bad_rows", "output"),
        ("write(['x' * 20_000_001])", "too_large", "20 MB"),
        ("os.symlink('/etc/passwd', out + '/outputs.jsonl')", "bad_rows", "link"),
        ("write(outputs); sys.exit(1)", "exit_code", "status 1, not 0"),
        ("write([])", "no_rows", "0 rows"),
        ("write(outputs[:1])", "too_few_rows", "1 rows, at least 2"),
    ],
)
def test_outputs_that_are_none_are_no_result(runs, last, failure, words):
    run = runs(HONEST + last, min_rows=2)
    assert run.failure == failure and words in run.detail


def test_a_row_without_an_answer_fails_and_is_there(runs):
    run = runs(HONEST + "write([outputs[0], {'row': 'b', 'output': None, 'error': 'no record'}])")
    assert [(row.row, row.passed, row.error) for row in run.rows] == [("a", True, None), ("b", False, "no record"), ("c", False, "no output")]


def test_a_rows_file_that_is_no_exam_starts_nothing(runs, rows_file, tree):
    for text in ("[1]", '{"id": "a"}', '{"id": 1, "expected": 2}', '{"id": "a", "expected": 1}\n{"id": "a", "expected": 1}'):
        rows_file.write_text(text)
        assert runs("open('ran', 'w')").failure == "bad_exam"
    rows_file.unlink()
    assert runs("open('ran', 'w')").failure == "no_rows_path"
    assert not (tree / "ran").exists()


# Graders


def test_a_grader_judges(runs, exam):
    run = runs(HONEST + "write([{'row': 'a', 'output': 'SESAME-1'}, {'row': 'b', 'output': 'wrong'}])", exam, BY_GRADER)
    assert [(row.row, row.passed, row.score) for row in run.rows] == [("a", True, 0.5), ("b", False, 0.5), ("c", False, None)]
    assert run.rows[2].error == "no output", "the grader takes no answer for None, and has no say in it"


def test_the_grader_of_the_tree_under_test_is_never_run(runs, exam, tree):
    (tree / "grader.py").write_text("open('ran', 'w')\n" + GRADER + "done = [{**row, 'pass': True} for row in done]\n" + WRITES)
    run = runs(HONEST + "write([{'row': 'a', 'output': 'wrong'}])", exam, BY_GRADER)
    assert (run.failure, told(run)) == (None, {"a": False, "b": False, "c": False}) and not (tree / "ran").exists()
    assert runs("open('ran', 'w')", None, BY_GRADER).failure == "no_grader"
    assert not (tree / "ran").exists()


@pytest.mark.parametrize(
    ("code", "failure", "words"),
    [
        ("sys.exit(3)", "exit_code", "the grader: ended with exit status 3"),
        ("pass", "no_rows_file", "the grader: rows.jsonl was not written"),
        ("done = [{'row': 'a', 'pass': 1}]\n" + WRITES, "bad_rows", "the grader: line 1, pass"),
        ("done.pop(0)\n" + WRITES, "bad_grades", "nothing is said of the row a"),
        ("done.append({'row': 'z', 'pass': True})\n" + WRITES, "bad_grades", "the row z is none of the exam"),
        ("done.append(done[0])\n" + WRITES, "duplicate_row", "the grader: line 4"),
    ],
)
def test_a_grader_that_goes_wrong_is_no_verdict(runs, exam, code, failure, words):
    (exam / "grader.py").write_text(GRADER + code)
    planted = 'for place in (out, os.environ["HOME"]): pathlib.Path(place, "rows.jsonl").write_text(\'{"row": "a", "pass": true}\\n\')\n'
    run = runs(HONEST + planted + "write(outputs)", exam, BY_GRADER)
    assert run.failure == failure and words in run.detail

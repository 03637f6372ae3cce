"""Kept results hold here: found again for the same content and for nothing else, and never one that failed, is torn, or was chosen by a tree."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import Row, SuiteRun
from rubric.manifest import Suite
from service.caching import CachedEvals, Digests, KeptRun, environment_of

PLAIN: dict[str, Any] = {
    "id": "s",
    "argv": ["x", "{in}"],
    "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"},
    "timeout_s": 9,
    "min_rows": 1,
}
GRADED = {**PLAIN, "results": {"format": "outputs-jsonl", "path": "{out}/o.jsonl"}, "rows": {"path": "rows.jsonl"}, "grade": {"argv": ["grade"]}}


class Counting:
    """A runner that counts, and says in how many runs of it a row passed."""

    name = "counting"

    def __init__(self, failure: str | None = None, spoils: bool = False):
        self.runs, self.failure, self.spoils = 0, failure, spoils

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        self.runs += 1
        if self.spoils:
            (tree / "config").write_text(f"spoilt {self.runs}")
        if self.failure:
            return SuiteRun(suite.id, (Row("r", True),), self.failure, "why")
        return SuiteRun(suite.id, (Row("r", self.runs % 2 == 1, 0.5, "what Ada wrote"), Row("t", True)), seconds=2.0)

    def replay(self, *_: Any) -> list[Any]:
        self.runs += 1
        return []


class Kept(dict[str, Any]):
    """Results in memory."""

    holds: list[timedelta | None]

    def __init__(self) -> None:
        super().__init__()
        self.holds = []

    def keep(self, key: str, result: dict[str, Any], holds: timedelta | None) -> None:
        self[key] = result
        self.holds.append(holds)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    found = tmp_path / "tree"
    (found / "sub" / "empty").mkdir(parents=True)
    (found / "config").write_text("a")
    (found / "sub" / "code.py").write_text("b")
    (tmp_path / "rows.jsonl").write_text('{"id": "r"}\n')
    return found


def evals(kept: Kept, inner: Counting | None = None, environment: str = "e") -> tuple[CachedEvals, Counting]:
    runner = inner or Counting()
    return CachedEvals(runner, kept.get, kept.keep, environment=environment), runner


def run(cached: CachedEvals, tree: Path, suite: dict[str, Any] = PLAIN, exam: Path | None = None) -> SuiteRun:
    return cached.run_suite(Suite.model_validate(suite), tree, tree.parent / "rows.jsonl", exam)


def test_the_same_content_is_run_once_for_all_gates(tree: Path, tmp_path: Path) -> None:
    kept = Kept()
    first = run(evals(kept)[0], tree)
    os.rename(tree, tmp_path / "elsewhere")
    cached, runner = evals(kept)
    again = run(cached, tmp_path / "elsewhere")
    assert runner.runs == 0 and isinstance(again, KeptRun) and not isinstance(first, KeptRun)
    assert [(row.row, row.passed, row.score) for row in again.rows] == [(row.row, row.passed, row.score) for row in first.rows]
    assert kept.holds == [timedelta(days=90)] and again.seconds == 0


def test_what_a_row_says_in_words_is_not_kept(tree: Path) -> None:
    kept = Kept()
    run(evals(kept)[0], tree)
    assert "Ada" not in str(kept)


def _touch(tree: Path) -> None:
    (tree / "config").write_text("b")


def _rename(tree: Path) -> None:
    (tree / "config").rename(tree / "config2")


def _move_bytes(tree: Path) -> None:
    (tree / "config").write_text("")
    (tree / "sub" / "code.py").write_text("ab")


CHANGES: dict[str, Callable[[Path], object]] = {
    "byte": _touch,
    "name": _rename,
    "bytes move": _move_bytes,
    "mode": lambda tree: (tree / "sub" / "code.py").chmod(0o755),
    "new file": lambda tree: (tree / "sub" / "new").write_text(""),
    "file gone": lambda tree: (tree / "config").unlink(),
    "folder gone": lambda tree: (tree / "sub" / "empty").rmdir(),
    "link": lambda tree: (tree / "link").symlink_to("config"),
    "row": lambda tree: (tree.parent / "rows.jsonl").write_text('{"id": "t"}\n'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_content_is_run(tree: Path, change: str) -> None:
    kept = Kept()
    cached, runner = evals(kept)
    run(cached, tree)
    CHANGES[change](tree)
    assert not isinstance(run(cached, tree), KeptRun) and runner.runs == 2 and len(kept) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"argv": ["x", "{in}", "-v"]},
        {"timeout_s": 8},
        {"min_rows": 2},
        {"id": "t"},
        {"kind": "sampled"},
        {"results": {"format": "junit-xml", "path": "{out}/r"}},
    ],
)
def test_another_definition_is_run(tree: Path, change: dict[str, Any]) -> None:
    kept = Kept()
    cached, runner = evals(kept)
    run(cached, tree)
    run(cached, tree, {**PLAIN, **change})
    assert runner.runs == 2


def test_another_runner_or_environment_is_run(tree: Path) -> None:
    kept, other = Kept(), Counting()
    run(evals(kept)[0], tree)
    other.name = "boxed"
    run(evals(kept, other)[0], tree)
    run(evals(kept, environment="e2")[0], tree)
    assert len(kept) == 3


def test_a_grader_counts_where_one_grades(tree: Path, tmp_path: Path) -> None:
    kept, exam = Kept(), tmp_path / "exam"
    exam.mkdir()
    (exam / "grader.py").write_text("1")
    cached, runner = evals(kept)
    for suite in (PLAIN, GRADED):
        run(cached, tree, suite, exam)
    (exam / "grader.py").write_text("2")
    assert isinstance(run(cached, tree, PLAIN, exam), KeptRun) and not isinstance(run(cached, tree, GRADED, exam), KeptRun)
    assert runner.runs == 3


def test_each_run_of_a_sampled_suite_is_one_of_its_own_and_holds_a_week(tree: Path) -> None:
    kept, suite = Kept(), {**PLAIN, "kind": "sampled"}
    first, runner = evals(kept)
    made = [run(first, tree, suite).rows[0].passed for _ in range(3)]
    assert made == [True, False, True] and runner.runs == 3 and kept.holds == [timedelta(days=7)] * 3
    second, later = evals(kept)
    assert [run(second, tree, suite).rows[0].passed for _ in range(3)] == made and later.runs == 0
    assert not isinstance(run(second, tree, suite), KeptRun) and later.runs == 1


@pytest.mark.parametrize("failure", ["timeout", "killed", "too_few_rows", "exit_code"])
def test_a_run_without_result_is_never_kept(tree: Path, failure: str) -> None:
    kept = Kept()
    cached, runner = evals(kept, Counting(failure))
    for _ in range(2):
        assert run(cached, tree).failure == failure
    assert kept == {} and runner.runs == 2


def test_a_replay_is_always_made(tree: Path) -> None:
    kept = Kept()
    cached, runner = evals(kept)
    for _ in range(2):
        cached.replay(None, tree, {})  # type: ignore[arg-type]
    assert runner.runs == 2 and kept == {}


TORN: list[Any] = [
    None, 7, "x", [], {}, {"rows": None}, {"rows": "r"}, {"rows": [None]}, {"rows": []}, {"rows": [{}]}, {"rows": [{"row": "r"}]}, {"rows": [{"row": "", "passed": True}]},
    {"rows": [{"row": 7, "passed": True}]}, {"rows": [{"row": "r", "passed": 1}]}, {"rows": [{"row": "r", "passed": True, "score": "high"}]},
    {"rows": [{"row": "r", "passed": True}, {"row": "r", "passed": False}]},
]  # fmt: skip


@pytest.mark.parametrize("torn", TORN, ids=str)
def test_what_is_torn_counts_as_not_kept_and_is_made_good(tree: Path, torn: Any) -> None:
    kept = Kept()
    run(evals(kept)[0], tree)
    (key,) = kept
    kept[key] = torn
    cached, runner = evals(kept)
    assert not isinstance(run(cached, tree), KeptRun) and runner.runs == 1
    assert isinstance(run(cached, tree), KeptRun)


def test_a_suite_cannot_choose_the_key_that_its_result_is_kept_under(tree: Path) -> None:
    """It writes into its tree: its result belongs to the tree that it was given, and the next suite there to what it found."""
    kept, spoiling = Kept(), Counting(spoils=True)
    cached, _ = evals(kept, spoiling)
    run(cached, tree)
    before = set(kept)
    assert not isinstance(run(cached, tree), KeptRun), "the tree is another one now, and what runs in it proves nothing of the first"
    assert set(kept) == before == set(), "neither under the tree it found, nor under one of its choice"
    (tree / "config").write_text("a")
    assert not isinstance(run(cached, tree), KeptRun)


def test_contents_are_read_once_and_again_when_they_change(tree: Path) -> None:
    digests = Digests()
    assert digests.of_tree(tree) and not digests.seen, "too new to tell a change by its time"
    for path in tree.rglob("*"):
        if path.is_file():
            while time.time_ns() - path.stat().st_ctime_ns < 1_100_000_000:
                time.sleep(0.1)
    first = digests.of_tree(tree)
    assert len(digests.seen) == 2
    about = (tree / "config").stat()
    (tree / "config").write_text("z")
    os.utime(tree / "config", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (tree / "config").stat().st_mtime_ns == about.st_mtime_ns
    assert digests.of_tree(tree) != first == Digests().of_tree(_with(tree, "a"))


def _with(tree: Path, text: str) -> Path:
    (tree / "config").write_text(text)
    return tree


def test_what_cannot_be_read_is_run(tree: Path) -> None:
    kept = Kept()
    cached, runner = evals(kept)
    for _ in range(2):
        run(cached, tree, GRADED, tree / "no exam")
        run(cached, tree / "no tree", GRADED)
    assert runner.runs == 4 and kept == {} and Digests().of_tree(tree / "no tree") is None


def test_odd_files_stop_nothing(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "loop").symlink_to(".")
    (tree / os.fsdecode(b"n\xff\n")).write_text("x")
    kept = Kept()
    assert isinstance([run(evals(kept)[0], tree) for _ in range(2)][1], KeptRun)
    (tree.parent / "rows.jsonl").unlink()
    cached, runner = evals(kept)
    for _ in range(2):
        run(cached, tree)
    assert runner.runs == 2


def test_two_threads_may_share_one(tree: Path) -> None:
    kept, suite = Kept(), {**PLAIN, "kind": "sampled"}
    cached, runner = evals(kept)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: run(cached, tree, suite), range(32)))
    assert len(kept) == runner.runs == 32


def test_an_environment_is_its_python_and_its_packages(tmp_path: Path) -> None:
    first = environment_of("3.11", [str(tmp_path), "", "nowhere"])
    assert first == environment_of("3.11", [str(tmp_path)]) != environment_of("3.12", [str(tmp_path)])
    (tmp_path / "flask-3.dist-info").mkdir()
    assert environment_of("3.11", [str(tmp_path)]) != first


def test_a_suite_that_changes_its_tree_is_run_each_time(tree: Path) -> None:
    """What it leaves there may be what the next suite stands on: known and not run, it would change the verdict on that one."""
    kept = Kept()
    for _ in range(2):
        (tree / "config").write_text("a")
        cached, runner = evals(kept, Counting(spoils=True))
        run(cached, tree)
        assert runner.runs == 1 and (tree / "config").read_text() == "spoilt 1"
    assert not kept

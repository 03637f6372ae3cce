"""Runs a target's evals and replays as child processes: own session, limits, a private folder, nothing of ours inside.

Alone this is no box: the processes run as our user, with network. What code of a model needs stands around it (`box`).
"""

import hmac
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from connectors.eval_port import ReplayAnswer, Row, SuiteRun
from connectors.processes import TAIL, Box, Enclosed, ProcessLimits, destroy, run
from rubric.endings import AS_REPLAY, failure_of
from rubric.gating import escaped
from rubric.grading import Exam, answers, as_lines, compared, graded, questions, read_exam
from rubric.manifest import Grade, Replay, Suite
from rubric.plans import Plan
from rubric.results import OutputLine, RowLine, broken_rule, read_outputs, read_plans, read_rows
from rubric.self_graded import FINE, READERS
from rubric.strict import Unreadable

RESULT_BYTES = 20 * 1000 * 1000
NOT_STARTED = ("command_missing", "cannot_start", "no_rows_path", "stopped")
"""Failures that a second try would only repeat."""
EARLY = {
    "timeout": "did not end within {:g} s",
    "stopped": "the runner is shutting down",
    "too_many_processes": "ran more processes at once than its box may",
    "too_much_memory": "took more memory than its box may",
    "disk_full": "wrote more than its box may",
    "too_many_files": "made more files than its box may",
}
"""what ends a program early, in words"""
T = TypeVar("T")


class _Failed(Exception):
    """Why a run gives no result, with the end of what it printed; never leaves this file."""

    def __init__(self, code: str, detail: str, tail: str = ""):
        super().__init__(detail)
        self.code, self.tail = code, tail


class SubprocessEvals:
    """An `EvalRunner` whose suites and replays are child processes of ours."""

    name = "subprocess"

    def __init__(
        self,
        scratch: Path,
        *,
        python: str,
        path: str = "/usr/local/bin:/usr/bin:/bin",
        limits: ProcessLimits | None = None,
        box: Box | None = None,
    ):
        """`scratch`: where private folders are made. `python`: what a first word `python` in a manifest means. `path`: PATH inside."""
        self._scratch, self._python, self._path = scratch, python, path
        self._limits, self._box = limits or ProcessLimits(), box
        self.name = "boxed" if box else "subprocess"  # what one gave is not taken for what the other would give
        self._stopping, self._secret = threading.Event(), secrets.token_bytes(16)

    def stop(self) -> None:
        """End what runs now, from any thread, and start nothing more: those runs fail with `stopped`."""
        self._stopping.set()

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        """Run one suite. Raises `PortError` only if its private folder cannot be made or removed."""
        start = time.monotonic()
        rows, failure, detail = tuple[Row, ...](), None, ""
        try:
            lines, answered = _once_more(lambda: self._judged(suite, tree, rows_file, exam))
            rows = tuple(Row(line.row, line.passed, line.score, escaped(line.error)[:TAIL] if line.error else None) for line in lines)
            if answered < suite.min_rows:
                failure, detail = ("too_few_rows" if answered else "no_rows"), f"{answered} rows, at least {suite.min_rows} are needed"
        except (_Failed, Unreadable) as failed:
            failure, detail = failed.code, ": ".join(filter(None, (str(failed), getattr(failed, "tail", ""))))
        return SuiteRun(suite.id, rows, failure, detail, round(time.monotonic() - start, 3))

    def _judged(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None) -> tuple[list[RowLine], int]:
        """The rows, and how many of them the suite answered."""
        data = _bytes_of(rows_file) if rows_file else None
        if data is None and (suite.grade or any("{in}" in word for word in suite.argv)):
            raise _Failed("no_rows_path", 'argv says "{in}", and no rows file is known; name it in rows.path of the suite')
        name = rows_file.name if rows_file else "none"
        if suite.grade:
            return self._from_outside(suite, suite.grade, tree, (name, data or b""), exam)
        lines = READERS[suite.results.format](self._results(suite, tree, (name, data)))
        return lines, len(lines)

    def _from_outside(self, suite: Suite, grade: Grade, tree: Path, given: tuple[str, bytes], exam: Path | None) -> tuple[list[RowLine], int]:
        """Every row of the exam, and how many were answered. While the pipeline runs, what is expected is in memory of ours only."""
        if grade.argv and exam is None:
            raise _Failed("no_grader", "the outputs need a grader, and the tree that it has to come from is not here")
        asked = read_exam(given[1], grade)
        outputs = read_outputs(self._results(suite, tree, (given[0], questions(asked, grade))), asked)
        if not grade.argv or exam is None:
            return compared(asked, grade, outputs), len(outputs)
        return graded(asked, outputs, self._verdicts(grade.argv, asked, outputs, exam, suite.timeout_s)), len(outputs)

    def _results(self, suite: Suite, tree: Path, given: tuple[str, bytes | None]) -> bytes:
        """Run the suite on a file of some name and content, in a folder of its own; the bytes of its results."""
        with self._folder() as folder:
            path, out, results = folder / "in" / given[0], folder / "out", _results_path(suite.results.path, folder / "out")
            if given[1] is not None:
                path.write_bytes(given[1])
            fine = FINE.get(suite.results.format, (0, 1))
            tail = self._run(suite.argv, {"in": path, "out": out}, tree, folder, suite.timeout_s, fine)
            return _contents(results, out, tail)

    def _verdicts(self, argv: list[str], asked: Exam, outputs: Mapping[str, OutputLine], exam: Path, timeout_s: float) -> list[RowLine]:
        """What base's grader says, in a folder that the pipeline never had."""
        try:
            with self._folder() as folder:
                places = {"in": folder / "in" / "rows.jsonl", "outputs": folder / "in" / "outputs.jsonl", "out": folder / "out"}
                places["in"].write_bytes(as_lines(asked.values()))
                places["outputs"].write_bytes(answers(outputs))
                tail = self._run(argv, places, exam, folder, timeout_s, (0, 1))
                return read_rows(_contents(folder / "out" / "rows.jsonl", folder / "out", tail))
        except (_Failed, Unreadable) as failed:
            raise _Failed(failed.code, f"the grader: {failed}", getattr(failed, "tail", "")) from None

    def replay(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        """Plans of all cases in one process; if that goes wrong one process a case, so that a bad case sinks only itself.

        Details never quote what the pipeline printed: it may hold the words of a customer.
        """
        if not cases:
            return []
        deadline = time.monotonic() + replay.timeout_s * (1 + self._limits.replay_budget)
        try:
            return self._answers(replay, tree, cases, replay.timeout_s)
        except _Failed as failed:
            if len(cases) == 1 or failed.code in NOT_STARTED:
                return [ReplayAnswer(case_id, failure=failed.code, detail=str(failed)) for case_id in cases]
        return [self._alone(replay, tree, case_id, case, deadline) for case_id, case in cases.items()]

    def _alone(self, replay: Replay, tree: Path, case_id: str, case: dict[str, Any], deadline: float) -> ReplayAnswer:
        left = deadline - time.monotonic()
        if left <= 0:
            return ReplayAnswer(case_id, failure="timeout", detail="other cases used up the time for replays")
        try:
            return self._answers(replay, tree, {case_id: case}, min(left, replay.timeout_s))[0]
        except _Failed as failed:
            return ReplayAnswer(case_id, failure=failed.code, detail=str(failed))

    def _answers(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]], timeout_s: float) -> list[ReplayAnswer]:
        try:
            plans = _once_more(lambda: self._plans(replay, tree, cases, timeout_s))
        except (_Failed, Unreadable) as failed:
            raise _Failed(AS_REPLAY.get(failed.code, failed.code), str(failed)) from None
        return [_checked_plan(case_id, plans[case_id]) for case_id in cases]

    def _plans(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        named = {self._veiled(case_id): case_id for case_id in cases}
        with self._folder() as folder:
            given, out = folder / "in" / "cases.jsonl", folder / "out" / "plans.jsonl"
            lines = (dumps({**cases[named[name]], "external_id": name}) + "\n" for name in sorted(named))
            given.write_text("".join(lines), encoding="utf-8")
            self._run(replay.argv, {"in": given, "out": out}, tree, folder, timeout_s, (0,))
            return {named[name]: plan for name, plan in read_plans(_contents(out, folder / "out", ""), set(named)).items()}

    def _veiled(self, case_id: str) -> str:
        """A name that says nothing of the case, nor does its place among others: an agent is told which case its change is to cure, and could have
        the pipeline treat that one alone. The same for both sides of a gate."""
        return hmac.new(self._secret, case_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:24]

    def _run(self, argv: list[str], places: Mapping[str, Path], tree: Path, folder: Path, timeout_s: float, fine: tuple[int, ...]) -> str:
        """Run to the end in time; the end of what it printed. Raises `_Failed` for any exit status but the `fine` ones."""
        words = self._command([_filled(word, places) for word in argv], tree)
        home = str(folder / "home")
        inside = {"PATH": self._path, "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        try:
            with self._around(words, inside, tree, folder) as enclosed:
                ended = run(enclosed.argv, tree, inside, timeout_s, self._limits, self._stopping, enclosed.guard)
                early = ended.early or enclosed.after()
        except (OSError, ValueError) as error:
            raise _Failed("cannot_start", f"cannot be started ({escaped(str(error))[:500]})") from None
        if early:
            raise _Failed(early, EARLY[early].format(timeout_s), ended.tail)
        if failure := failure_of(ended.status, fine):
            raise _Failed(*failure, ended.tail)
        return ended.tail

    def _around(self, words: list[str], inside: dict[str, str], tree: Path, folder: Path) -> AbstractContextManager[Enclosed]:
        if self._box is None:
            return nullcontext(Enclosed(words, lambda process: ""))
        return self._box.around(words, inside, tree=tree, folder=folder)

    def _command(self, argv: list[str], tree: Path) -> list[str]:
        first = self._python if argv[0] == "python" else argv[0]
        found = shutil.which(os.path.abspath(tree / first) if "/" in first else first, path=self._path)
        if found is None:
            raise _Failed("command_missing", f"the command {escaped(first)[:200]} does not exist or is no program")
        return [found, *argv[1:]]

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A private folder with `in`, `out` and `home`, gone afterwards whatever happened inside."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="evals-", dir=self._scratch)).resolve()
        try:
            for name in ("in", "out", "home"):
                (folder / name).mkdir(mode=0o700)
            yield folder
        finally:
            destroy(folder)


def _once_more(run: Callable[[], T]) -> T:
    """What was killed from outside is run a second time, in a new folder: one `kill -9` says nothing of a tree. Who dies again has its failure."""
    try:
        return run()
    except _Failed as failed:
        if failed.code != "killed":
            raise
    return run()


def _bytes_of(rows_file: Path) -> bytes:
    try:
        return rows_file.read_bytes()
    except OSError as error:
        raise _Failed("no_rows_path", f"the rows file cannot be read ({error.strerror})") from None


def _filled(word: str, places: Mapping[str, Path]) -> str:
    for name, place in places.items():
        word = word.replace(f"{{{name}}}", str(place))
    return word


def _results_path(path: str, out: Path) -> Path:
    inside = path.removeprefix("{out}/")
    if inside == path or not inside or ".." in inside.split("/") or inside.startswith("/"):
        raise _Failed("bad_results_path", "results.path must be a file below {out}")
    return out / inside


def _contents(path: Path, out: Path, tail: str) -> bytes:
    """The bytes of a regular file below `out`, reached without any link: nothing else was written by this run for sure."""
    try:
        if Path(os.path.realpath(path.parent)) != path.parent or not stat.S_ISREG(os.lstat(path).st_mode):
            raise _Failed("bad_rows", f"{path.name} is a link or no regular file")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if os.fstat(file.fileno()).st_nlink != 1:
                raise _Failed("bad_rows", f"{path.name} is a link")
            data = file.read(RESULT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise _Failed("no_rows_file", f"{path.name} was not written", tail) from None
    except OSError as error:
        raise _Failed("bad_rows", f"{path.name} cannot be read ({error.strerror})") from None
    if len(data) > RESULT_BYTES:
        raise _Failed("too_large", f"{path.name} is larger than {RESULT_BYTES // 1_000_000} MB")
    return data


def _checked_plan(case_id: str, plan: Any) -> ReplayAnswer:
    try:
        return ReplayAnswer(case_id, plan=Plan.model_validate(plan).model_dump(mode="json"))
    except ValidationError as error:
        return ReplayAnswer(case_id, failure="replay_garbage", detail=f"the plan, {broken_rule(error)}")

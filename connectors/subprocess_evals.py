"""Runs a target's evals and replays as plain child processes: own session, limits, a private folder, nothing of ours inside.

This is no box: the processes run as our user, with network. What model-written code needs stands around it (`enclose`).
"""

import math
import os
import selectors
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from connectors.ports import PortError, ReplayAnswer, Row, SuiteRun
from rubric.endings import AS_REPLAY, failure_of
from rubric.gating import broken_rule, escaped, read_plans, read_rows
from rubric.manifest import Replay, Suite
from rubric.schema import Plan
from rubric.strict import Unreadable

OUTPUT_CAP = 64 * 1024
"""Bytes kept of stdout and of stderr: the last ones."""
TAIL = 2000
"""Characters of stderr that a detail quotes."""
RESULT_BYTES = 20 * 1000 * 1000
NOT_STARTED = ("command_missing", "cannot_start", "no_rows_path", "stopped")
"""Failures that a second try would only repeat."""
T = TypeVar("T")
Enclose = Callable[[Sequence[str], Path, Path], Sequence[str]]
"""(argv, tree, private folder) → the argv that runs it in a box."""


@dataclass(frozen=True)
class ProcessLimits:
    """What one process may take. The wall clock comes from the manifest."""

    memory_mb: int = 4096
    """address space; interpreters reserve far more than they use"""
    file_mb: int = 256
    processes: int = 4096
    """of our user altogether, as the kernel counts them: stops a fork bomb, not a busy machine"""
    cpu_per_second: int = 4
    """seconds of processor time a process may use per second of its timeout; ends what escaped the kill"""
    replay_budget: int = 4
    """replaying cases one by one may take this many times the manifest's timeout in all"""

    def shell(self, timeout_s: float) -> str:
        """Commands of sh that set the limits and become the program.

        Not `preexec_fn`: that is unsafe in a service with threads. A limit that is stricter already stays as it is.
        """
        cpu = math.ceil(timeout_s) * self.cpu_per_second
        settings = ["-c 0", f"-v {self.memory_mb * 1024}", f"-f {self.file_mb * 2048}", f"-S -t {cpu}", f"-H -t {cpu + 5}"]
        many = f"ulimit -u {self.processes} 2>/dev/null || ulimit -p {self.processes} 2>/dev/null"  # bash || dash
        return "; ".join([*(f"ulimit {setting} 2>/dev/null" for setting in settings), many, 'exec "$@"'])


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
        enclose: Enclose = lambda argv, tree, folder: argv,
    ):
        """`scratch`: where private folders are made. `python`: what a first word `python` in a manifest means. `path`: PATH inside."""
        self._scratch, self._python, self._path = scratch, python, path
        self._limits, self._enclose = limits or ProcessLimits(), enclose
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End what runs now, from any thread, and start nothing more: those runs fail with `stopped`."""
        self._stopping.set()

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None) -> SuiteRun:
        """Run one suite. Raises `PortError` only if its private folder cannot be made or removed."""
        start = time.monotonic()
        rows, failure, detail = tuple[Row, ...](), None, ""
        try:
            rows = _once_more(lambda: self._rows(suite, tree, rows_file))
            if len(rows) < suite.min_rows:
                failure, detail = ("too_few_rows" if rows else "no_rows"), f"{len(rows)} rows, at least {suite.min_rows} are needed"
        except (_Failed, Unreadable) as failed:
            failure, detail = failed.code, ": ".join(filter(None, (str(failed), getattr(failed, "tail", ""))))
        return SuiteRun(suite.id, rows, failure, detail, round(time.monotonic() - start, 3))

    def _rows(self, suite: Suite, tree: Path, rows_file: Path | None) -> tuple[Row, ...]:
        with self._folder() as folder:
            given = folder / "in" / (rows_file.name if rows_file else "none")
            if rows_file is not None:
                try:
                    shutil.copyfile(rows_file, given)
                except OSError as error:
                    raise _Failed("no_rows_path", f"the rows file cannot be read ({error.strerror})") from None
            elif any("{in}" in word for word in suite.argv):
                raise _Failed("no_rows_path", 'argv says "{in}", and no rows file is known; name it in rows.path of the suite')
            results = _results_path(suite.results.path, folder / "out")
            tail = self._run(suite.argv, {"in": given, "out": folder / "out"}, tree, folder, suite.timeout_s, (0, 1))
            lines = read_rows(_contents(results, folder / "out", tail))
        return tuple(Row(line.row, line.passed, line.score, escaped(line.error)[:TAIL] if line.error else None) for line in lines)

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
        with self._folder() as folder:
            given, out = folder / "in" / "cases.jsonl", folder / "out" / "plans.jsonl"
            given.write_text("".join(dumps({**case, "external_id": case_id}) + "\n" for case_id, case in cases.items()), encoding="utf-8")
            self._run(replay.argv, {"in": given, "out": out}, tree, folder, timeout_s, (0,))
            return read_plans(_contents(out, folder / "out", ""), set(cases))

    def _run(self, argv: list[str], places: Mapping[str, Path], tree: Path, folder: Path, timeout_s: float, fine: tuple[int, ...]) -> str:
        """Run to the end in time; the end of what it printed. Raises `_Failed` for any exit status but the `fine` ones."""
        words = self._command([_filled(word, places) for word in argv], tree)
        command = ["/bin/sh", "-c", self._limits.shell(timeout_s), "sh", *self._enclose(words, tree, folder)]
        home = str(folder / "home")
        inside = {"PATH": self._path, "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        if self._stopping.is_set():
            raise _Failed("stopped", "the runner is shutting down")
        try:
            process = Popen(command, cwd=tree, env=inside, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True)
        except (OSError, ValueError) as error:
            raise _Failed("cannot_start", f"cannot be started ({escaped(str(error))[:500]})") from None
        with process:
            early, tail = _watch(process, time.monotonic() + timeout_s, self._stopping)
        if early == "timeout":
            raise _Failed("timeout", f"did not end within {timeout_s:g} s", tail)
        if early:
            raise _Failed(early, "the runner is shutting down")
        if failure := failure_of(process.returncode, fine):
            raise _Failed(*failure, tail)
        return tail

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


def _watch(process: "Popen[bytes]", deadline: float, stopping: threading.Event) -> tuple[str, str]:
    """Read until the program ends, the time is up or we are told to stop, then kill all of its group.

    Returns (timeout, stopped or nothing, the end of what it printed). A pipe that some grandchild holds open ends nothing and holds nothing up.
    """
    tails: dict[IO[bytes], bytearray] = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe}
    early = ""
    with selectors.DefaultSelector() as selector:
        for pipe in tails:
            selector.register(pipe, selectors.EVENT_READ)
        try:
            # WNOWAIT leaves the zombie: its id, and with it the group's, cannot go to someone else before the kill.
            while not early and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                left = deadline - time.monotonic()
                early = "stopped" if stopping.is_set() else "timeout" if left <= 0 else ""
                _drain(selector, tails, min(max(left, 0), 0.05 if selector.get_map() else 0.002))
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for _ in range(32):  # bounded: what left the group may print for ever
            if not _drain(selector, tails, 0):
                break
    texts = [bytes(tail).decode("utf-8", "replace").strip() for tail in tails.values()]
    return early, escaped((texts[1] or texts[0])[-TAIL:])[-TAIL:]


def _drain(selector: selectors.BaseSelector, tails: dict[IO[bytes], bytearray], wait: float) -> bool:
    events = selector.select(wait)
    for key, _ in events:
        pipe: Any = key.fileobj
        data = os.read(pipe.fileno(), OUTPUT_CAP)
        tails[pipe] += data
        del tails[pipe][:-OUTPUT_CAP]
        if not data:
            selector.unregister(pipe)
    return bool(events)


def _once_more(run: Callable[[], T]) -> T:
    """What was killed from outside is run a second time, in a new folder: one `kill -9` says nothing of a tree. Who dies again has its failure."""
    try:
        return run()
    except _Failed as failed:
        if failed.code != "killed":
            raise
    return run()


def _filled(word: str, places: Mapping[str, Path]) -> str:
    return word.replace("{in}", str(places["in"])).replace("{out}", str(places["out"]))


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


def destroy(folder: Path) -> None:
    """Remove a folder that foreign code wrote into: unreadable folders, any depth. Raises `PortError` if some of it is left."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]) * 3:
        if os.path.lexists(folder):
            run([*command, "--", folder], capture_output=True, check=False)
    if os.path.lexists(folder):
        raise PortError("folder_left", "a private folder with inputs could not be removed", retryable=True)

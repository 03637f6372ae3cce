"""Results of suites, kept under the content of all that they are made from: what base showed in one gate need not be run for the next.

The key is made before the suite runs, from the tree as it is then, so that nothing which the suite does can choose it. It holds tree, suite,
rows, grader, runner and environment; what else a suite takes from its machine or a network is not seen, and one that does so is better called
`sampled`.
"""

import hashlib
import json
import os
import platform
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from connectors.eval_port import EvalRunner, ReplayAnswer, Row, SuiteRun
from rubric.manifest import Replay, Suite

FORM = "suite-result-1"
"""Changes when what a result means does: older ones are not found any more."""
HOLDS, SAMPLED_HOLDS = timedelta(days=90), timedelta(days=7)
"""A sampled suite varies, and what it varies with drifts. Heads of long ago are asked for by nobody."""
RACY = 1_000_000_000
"""nanoseconds: a file that changed so lately can change again without its times telling"""
LookUp = Callable[[str], Any]
"""key → what was kept under it, or None"""
Keep = Callable[[str, dict[str, Any], timedelta | None], None]
"""key, result, how long it holds; None: for good"""


@dataclass(frozen=True)
class KeptRun(SuiteRun):
    """A result that was made before; took no time now."""


@dataclass
class Digests:
    """Hashes of trees. Remembers those of files by all that the system says of them, the time of change included, which a program cannot set."""

    seen: dict[tuple[int, ...], str] = field(default_factory=dict)

    def of_tree(self, tree: Path) -> str | None:
        """Of all names, modes and contents below a folder; None when something in it cannot be read or changes meanwhile."""
        found = hashlib.sha256()
        try:
            for folder, folders, files in os.walk(tree, onerror=_give_up):
                folders.sort()
                for name in sorted([*folders, *files]):
                    path = Path(folder, name)
                    about = [path.relative_to(tree).as_posix(), *self._entry(path)]
                    found.update(json.dumps(about).encode() + b"\n")  # escaped: no name can look like the next entry
        except OSError:
            return None
        return found.hexdigest()

    def of_file(self, path: Path) -> str:
        """Raises `OSError`, also for a file that changes while it is read."""
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            before = _identity(os.fstat(file.fileno()))
            if before in self.seen:
                return self.seen[before]
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if _identity(os.fstat(file.fileno())) != before:
                raise OSError("changed while it was read")
        if time.time_ns() - before[-1] > RACY:
            self.seen[before] = digest
        return digest

    def _entry(self, path: Path) -> tuple[str, int, str]:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            return "file", stat.S_IMODE(mode), self.of_file(path)
        return ("link", 0, os.readlink(path)) if stat.S_ISLNK(mode) else ("other", mode, "")


class CachedEvals:
    """An `EvalRunner` that first looks whether it knows. Runs without result are never kept, and replays are always made."""

    def __init__(self, inner: EvalRunner, look_up: LookUp, keep: Keep, *, environment: str, digests: Digests | None = None):
        """`environment`: names everything else that a suite's result may depend on. For one gate: it counts the runs of sampled suites."""
        self.name = inner.name
        self._inner, self._look_up, self._keep, self._environment = inner, look_up, keep, environment
        self._digests = digests or Digests()
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        seen = self._digests.of_tree(tree)
        key = self._key(suite, seen, rows_file, exam)
        if key is None:
            return self._inner.run_suite(suite, tree, rows_file, exam)
        known = _read(suite, self._look_up(key))
        if known is not None:
            return known
        run = self._inner.run_suite(suite, tree, rows_file, exam)
        # a suite that writes into its tree, or a tree that changed meanwhile: what comes after it would not be the same without it
        if run.failure is None and self._digests.of_tree(tree) == seen:
            # what a row says in words may be a customer's, and nothing is judged by it
            rows = [{"row": row.row, "passed": row.passed, "score": row.score} for row in run.rows]
            self._keep(key, {"rows": rows, "seconds": run.seconds}, SAMPLED_HOLDS if suite.kind == "sampled" else HOLDS)
        return run

    def replay(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        return self._inner.replay(replay, tree, cases)

    def _key(self, suite: Suite, seen: str | None, rows_file: Path | None, exam: Path | None) -> str | None:
        graded = self._digests.of_tree(exam) if exam is not None and suite.grade and suite.grade.argv else ""
        try:
            rows = [rows_file.name, self._digests.of_file(rows_file)] if rows_file is not None else None
        except OSError:
            return None
        if seen is None or graded is None:
            return None
        parts = [FORM, seen, suite.model_dump(mode="json"), rows, graded, self.name, self._environment]
        content = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        if suite.kind != "sampled":
            return content
        with self._lock:
            self._turns[content] += 1
            return hashlib.sha256(f"{content} {self._turns[content]}".encode()).hexdigest()


def environment_of(version: str, path: Iterable[str]) -> str:
    """A name for a Python with its packages on this machine. `version`, `path`: as its `sys` has them."""
    packages = sorted({entry.name for place in path if place and Path(place).is_dir() for entry in Path(place).glob("*.dist-info")})
    return hashlib.sha256(json.dumps([version, platform.platform(), packages]).encode()).hexdigest()


def _read(suite: Suite, kept: Any) -> KeptRun | None:
    """What was kept, if it is a result of this suite in every part; anything else counts as not kept."""
    listed: Any = kept.get("rows") if isinstance(kept, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return None
    rows = tuple(Row(one.get("row", ""), one.get("passed"), one.get("score")) for one in listed)
    fine = all(isinstance(row.row, str) and row.row and isinstance(row.passed, bool) and _is_score(row.score) for row in rows)
    if not fine or len({row.row for row in rows}) != len(rows) or len(rows) < suite.min_rows:
        return None
    return KeptRun(suite.id, rows)


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _identity(about: os.stat_result) -> tuple[int, ...]:
    return about.st_dev, about.st_ino, about.st_size, about.st_mode, about.st_mtime_ns, about.st_ctime_ns


def _give_up(error: OSError) -> None:
    raise error

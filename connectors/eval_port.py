"""The door to a target's own checks, and the error of all doors: apart from the others, so that the gate starts without what it does not need."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rubric.manifest import Replay, Suite


class PortError(Exception):
    """An outside system did not do what was asked; `code` is stable and shown on screens."""

    def __init__(self, code: str, message: str, *, retryable: bool = False, retry_after: float | None = None, lost: bool = False):
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.lost = lost
        """the other side may have done what was asked: only its answer is not here"""
        self.retry_after = retry_after
        """seconds that the other side asks to wait"""


@dataclass(frozen=True)
class Row:
    """One checked row of a suite."""

    row: str
    passed: bool
    score: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class SuiteRun:
    """What one run of one suite gave. `failure` names why there is no result (timeout, no_rows_file, bad_rows …)."""

    suite: str
    rows: tuple[Row, ...] = ()
    failure: str | None = None
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ReplayAnswer:
    """The plan of one case, as JSON of `rubric.schema.Plan`, or why there is none."""

    case_id: str
    plan: dict[str, Any] | None = None
    failure: str | None = None
    detail: str = ""


class EvalRunner(Protocol):
    """Runs a target's own checks in a tree, with limits, and trusts nothing but what it reads itself."""

    name: str

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        """Run one suite in `tree`; `rows_file` becomes `{in}`, without what is expected where outputs are graded outside.

        `exam`: the base tree, whose grader grades; without it `tree`'s own would have to, and outputs that need one are not graded
        (failure `no_grader`). Never raises for what the suite does.
        """
        ...

    def replay(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        """Plans of the cases (our id → case JSON) by the pipeline in `tree`, in the order given."""
        ...

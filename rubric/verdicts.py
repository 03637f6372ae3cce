"""What the gate says: how each suite, the case and the controls fared, and one state of the whole."""

from collections.abc import Sequence
from typing import Literal

from rubric.manifest import Graded
from rubric.plans import Step, Value

State = Literal["pass", "fail", "inconclusive", "error"]
GRAVITY: tuple[State, ...] = ("fail", "error", "inconclusive", "pass")
"""The first of these that occurs is the state of the whole."""
NAMED = 10
"""Rows that a reason names; the lists beside it hold all."""


class SuiteVerdict(Value):
    """How one suite fared. A row stands at most once from `lost` to `waived`; the rest says how it was looked at."""

    suite: str
    step: Step
    state: State
    graded: Graded = "self"
    """outside, or by the process under test"""
    rows_base: int = 0
    rows_head: int = 0
    kept: int = 0
    """rows that passed on base and pass on head; of a sampled suite all that no list below names"""
    lost: list[str] = []
    """passed on base, fail on head"""
    missing: list[str] = []
    """were there on base, are not on head"""
    gained: list[str] = []
    """failed on base, pass on head"""
    failing: list[str] = []
    """fail on both: shown, not blocking"""
    new: list[str] = []
    """only on head, and pass"""
    new_failing: list[str] = []
    """only on head, and fail"""
    undecided: list[str] = []
    """may be lost, and the runs cannot tell: a person looks"""
    waived: dict[str, str] = {}
    """lost or undecided, and a person said that it may be: row → reason"""
    runs: tuple[int, int] = (1, 1)
    """runs on base, on head"""
    suspects: list[str] = []
    """passed less often on head in the first runs of a sampled suite"""
    quarantined: list[str] = []
    """too noisy to judge by: run and shown, not blocking"""
    counts: dict[str, tuple[int, int, int, int]] = {}
    """row whose runs differ → passes and runs on base, passes and runs on head"""
    reason: str = ""
    """on a pass: what was not judged as it was asked for"""


class CureVerdict(Value):
    """Whether the case that a change was made for is cured by it."""

    case_id: str
    state: Literal["cured", "no_effect", "error"]
    reason: str = ""


class ControlVerdict(Value):
    """Whether an accepted case still gets the plan it got."""

    case_id: str
    state: Literal["same", "declared", "changed", "error"]
    """declared: it changed as the hint said it would"""
    reason: str = ""


class GateVerdict(Value):
    state: State
    reasons: list[str] = []


def some(rows: Sequence[str]) -> str:
    """The first rows by name, and how many more there are."""
    return " ".join(rows[:NAMED]) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def in_words(kinds: Sequence[tuple[Sequence[str], str]]) -> str:
    """How many rows of each kind there are, and which; kinds without a row are left out."""
    return "; ".join(f"{len(rows)} {what}: {some(rows)}" for rows, what in kinds if rows)

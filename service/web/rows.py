"""A gate's report as a table of rows: what each was on base and on head, and what that means, the worst first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST = 200
"""rows on a page"""
KINDS: dict[str, tuple[str, str, str, str]] = {
    "lost": ("pass", "fail", "lost", "bad"),
    "missing": ("there", "missing", "missing", "bad"),
    "new_failing": ("none", "fail", "new, failing", "bad"),
    "undecided": ("pass", "varies", "undecided", "note"),
    "waived": ("pass", "fail", "waived", "note"),
    "gained": ("fail", "pass", "gained", "good"),
    "new": ("none", "pass", "new", "good"),
    "quarantined": ("varies", "varies", "quarantined", "note"),
    "failing": ("fail", "fail", "failing on both", "note"),
}
"""list of a suite's verdict → base, head, verdict, mood; in this order"""


class RowLine(NamedTuple):
    suite: str
    self_graded: bool
    row: str
    base: str
    head: str
    verdict: str
    mood: str
    why: str


def lines(report: Mapping[str, Any]) -> list[RowLine]:
    """All rows that a report names; those that pass on both sides it only counts. Reports of before have fewer lists."""
    found = []
    for kind in KINDS:
        for suite in report.get("suites") or []:
            found += [_line(suite, kind, row) for row in suite.get(kind) or []]
    return found


def kept(report: Mapping[str, Any]) -> int:
    """How many rows pass on both sides."""
    return sum(int(suite.get("kept") or 0) for suite in report.get("suites") or [])


def _line(suite: Mapping[str, Any], kind: str, row: str) -> RowLine:
    base, head, verdict, mood = KINDS[kind]
    if counted := (suite.get("counts") or {}).get(row):
        base, head = f"{counted[0]} of {counted[1]}", f"{counted[2]} of {counted[3]}"
    given = suite.get("waived") or {}
    why = given.get(row, "") if kind == "waived" and isinstance(given, dict) else ""
    return RowLine(suite.get("suite", "?"), suite.get("graded") == "self", row, base, head, verdict, mood, why)

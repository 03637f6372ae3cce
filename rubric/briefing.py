"""What a coding agent is told lives here: the approved edit and what may be touched, and nothing that could hold a customer's words."""

from collections.abc import Sequence
from typing import Any, Protocol

from rubric.manifest import Manifest
from rubric.recipes import edit_of
from rubric.schema import Hint

LINES, LINE_CAP = 50, 500
"""of feedback: how many, and characters of each"""
CASES = frozenset({"golden_case"})
"""fields of an edit that name a case: who adds eval rows is the service, and an id tells nothing to anybody who cannot look the case up"""


class Allowance(Protocol):
    """What an attempt may use up; see `connectors.ports.Budget`."""

    @property
    def seconds(self) -> float: ...
    @property
    def turns(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def usd(self) -> float: ...
    @property
    def exams(self) -> int: ...


def briefing(hint: Hint, manifest: Manifest, attempt: int, feedback: Sequence[str], budget: Allowance) -> dict[str, Any]:
    """A job as JSON, built up from what it may hold: a field that a hint gets one day is not in it until somebody puts it here.

    Left out are evidence, summary, worked example, cases, `must`, `must_not` and all that argues for the change. What the change itself would
    write into the target is in it, as a person approved it.
    """
    change = edit_of(hint.change.model_dump(mode="json", by_alias=True))
    return {
        "step": str(hint.step),
        "recipe": hint.recipe,
        "target": hint.target,
        "change": {name: value for name, value in change.items() if name not in CASES},
        "may_change": list(manifest.allow.get(hint.recipe, [])),
        "protected": sorted({*manifest.protected, "triage.yaml"}),
        "attempt": attempt,
        "feedback": [line[:LINE_CAP] for line in feedback[:LINES]],
        "budget": {
            "seconds": budget.seconds, "turns": budget.turns, "tokens": budget.tokens, "usd": budget.usd, "exams": budget.exams,
        },
    }  # fmt: skip

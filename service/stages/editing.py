"""What a hint says may be changed until somebody decides on it; lint looks again, and what was tried before proves nothing of another change."""

from typing import Any

from pydantic import ValidationError

from connectors.ports import Ports
from rubric.catalogue import RECIPES, Catalogue
from rubric.lint import lint
from rubric.schema import Finding, Hint
from service.db import Database
from service.errors import IllegalMove, Unprocessable
from service.lifecycle import ReviewState
from service.store import cases, handoffs, hints, reviews
from service.targets import host_of, look

SEEN = ("worked_example", "changes_controls", "controls_not_tried", "also_moves")
"""what a hint says because its change was tried"""


def edit(db: Database, ports: Ports, catalogue: Catalogue, hint_id: str, *, version: int, by: str, change: dict[str, Any]) -> hints.HintRow:
    """Replace fields of the hint (`target`, `summary`, `change`); lint runs again on the result."""
    with db.read() as session:
        row = hints.needed(session, hint_id)
        hints.fresh(row, version)
        case = cases.get(session, row.case_id)
        twins = [(other.id, other.hint) for other in hints.in_play(session, row.target, 300) if other.id != row.id]
        rules = handoffs.in_force(session, hints.rules(session, row.target, RECIPES))
    unknown = set(change) - {"target", "summary", "change", "risk_reason"}
    if unknown:
        raise Unprocessable(f"cannot edit {', '.join(sorted(unknown))}; target, summary, change and risk_reason can be edited")
    try:
        hint = _proven(row, Hint.model_validate({**row.current, **change, "change": {**row.current["change"], **(change.get("change") or {})}}))
    except ValidationError as error:
        problems = [{"field": ".".join(str(part) for part in one["loc"]), "text": one["msg"]} for one in error.errors(include_url=False)]
        raise Unprocessable(f"{problems[0]['field']}: {problems[0]['text']}", problems=problems) from None
    host = host_of(ports.hosts, row.target)
    target = look(host, host.head())
    findings = lint(hint, case.case, target.inventory, catalogue, twins, rules) if case else []
    return _replace(db, hint_id, version=version, by=by, hint=hint, findings=findings, base_sha=target.sha)


def _proven(row: hints.HintRow, hint: Hint) -> Hint:
    """With what the critic saw when it tried the draft, as long as the change is still the draft's; another one was never tried."""
    draft = Hint.model_validate(row.draft)
    if hints.change_hash(hint.model_dump(mode="json", by_alias=True)) == hints.change_hash(row.draft):
        return hint.model_copy(update={name: getattr(draft, name) for name in (*SEEN, "confidence")})
    untried = draft.confidence.model_copy(update={"replay": "not_tried", "weight": 0.0})
    return hint.model_copy(update={**{name: [] for name in SEEN}, "worked_example": None, "confidence": untried})


def _replace(db: Database, hint_id: str, *, version: int, by: str, hint: Hint, findings: list[Finding], base_sha: str) -> hints.HintRow:
    text = hint.model_dump(mode="json", by_alias=True)
    with db.begin() as session:
        row = hints.needed(session, hint_id, to_decide=True)
        hints.fresh(row, version)
        if row.state is not ReviewState.awaiting:
            raise IllegalMove(f"hint {hint_id} is {row.state}; take the decision back first", state=str(row.state))
        if text != row.current:
            review = reviews.Review(
                hint_id=row.id, verdict="edit", hint_version=row.version, hint_hash=row.content_hash, text=row.current, by=by, at=db.now()
            )  # fmt: skip
            reviews.add(session, review)
            row.current, row.version = text, row.version + 1
            row.content_hash, row.change_hash = hints.content_hash(text), hints.change_hash(text)
            row.recipe, row.target_id, row.step = hint.recipe, hint.target, hint.step
        row.findings, row.base_sha = [finding.model_dump() for finding in findings], base_sha
        return row

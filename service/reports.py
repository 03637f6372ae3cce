"""Reads that join: lists, one item with all that belongs to it, and where a case has got to. Never writes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from rubric import suspicion
from rubric.calibration import Calibration, calibrate
from rubric.findings import named_by
from rubric.schema import Hint, Step
from service.errors import NotFound
from service.lifecycle import OutcomeState
from service.store import attempts, cases, gate_runs, handoffs, hints, history, outcomes, pulls, reviews

PAGE = 50


class HintLine(BaseModel):
    """One row of the queue."""

    id: str
    case_id: str
    case_name: str
    step: str
    recipe: str
    target_id: str
    state: str
    summary: str
    comment: str
    leaf: str
    risk: str
    findings: int
    """blocking ones"""
    duplicate_of: str | None
    created_at: datetime
    target: str
    change_hash: str
    together: int = 1
    """in a list of groups: the rejections that this change cures and that wait with this one, itself included"""


class HintList(BaseModel):
    rows: list[HintLine]
    counts: dict[str, int]
    """hints by state, over all filters"""
    after: str | None
    """pass as `after` to get the next page; None: this is the last"""


class Move(BaseModel):
    thing: str
    state_from: str | None
    state_to: str
    by: str
    why: str
    at: datetime


class Rule(BaseModel):
    """Another hint, as far as it is put beside this one."""

    id: str
    summary: str
    state: str
    """its confirmation may have been taken back since"""
    decided_by: str | None


class HintItem(BaseModel):
    """Everything the item page shows."""

    id: str
    state: str
    version: int
    content_hash: str
    current: dict[str, Any]
    draft: dict[str, Any]
    edited: bool
    findings: list[dict[str, Any]]
    critic: str
    rubric_version: str
    base_sha: str | None
    cost: dict[str, Any]
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    duplicate_of: str | None
    case_id: str
    case_name: str
    case: dict[str, Any]
    masked: int
    hidden: int
    """characters that nobody could see, taken out of the case"""
    side: str
    undo_until: datetime | None
    """end of the undo window of a confirmed hint whose work has not started"""
    handoffs: list[dict[str, Any]]
    pulls: list[dict[str, Any]]
    duplicates: list[str]
    moves: list[Move]
    before: str | None
    next: str | None
    """neighbours among the hints that wait"""
    target: str
    change_hash: str
    together: int
    """hints of the target that wait with this very change, this one included where it waits"""
    calibration: Calibration
    """what past decisions say of its confidence, as of now"""
    conflicts: list[Rule]
    """confirmed hints that lint found to ask for the opposite"""


class PullItem(BaseModel):
    """Everything the pull page shows, but the diff."""

    pull: dict[str, Any]
    hint: dict[str, Any]
    cures: int
    """rejections: that of its hint, and of the duplicates of it by now"""
    duplicates: list[str]
    runs: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    moves: list[Move]


class PullList(BaseModel):
    rows: list[dict[str, Any]]
    counts: dict[str, int]
    after: str | None


def hint_list(session: Session, narrow: hints.Filter, after: str | None = None, limit: int = PAGE, *, together: bool = False) -> HintList:
    """A page of hints, oldest first, from behind the row that `after` names. `together`: one line for all that wait with one change."""
    rows = hints.page(session, narrow, place(after), limit + 1, together=together)
    more = rows[limit - 1] if len(rows) > limit else None
    sizes = hints.group_sizes(session, rows[:limit]) if together else {}
    found = lines(session, rows[:limit], sizes)
    return HintList(rows=found, counts=history.tallies(session, "hints"), after=mark(more.created_at, more.id) if more else None)


def lines(session: Session, rows: Sequence[hints.HintRow], together: Mapping[tuple[str, str], int] | None = None) -> list[HintLine]:
    """Hints as the queue shows them; `together`: (target, change_hash) → how many wait with it."""
    sizes, said = together or {}, cases.words_of(session, {row.case_id for row in rows})
    return [_line(row, *said.get(row.case_id, (row.case_id, "", "")), sizes.get((row.target, row.change_hash), 1)) for row in rows]


def _line(row: hints.HintRow, case_name: str, comment: str, leaf: str, together: int) -> HintLine:
    return HintLine(
        id=row.id, case_id=row.case_id, case_name=case_name, step=row.step, recipe=row.recipe, target_id=row.target_id, state=row.state,
        summary=row.current["summary"], comment=comment[:300], leaf=leaf, risk=row.current["risk"],
        findings=sum(1 for finding in row.findings if finding["blocks"]), duplicate_of=row.duplicate_of, created_at=row.created_at,
        target=row.target, change_hash=row.change_hash, together=together,
    )  # fmt: skip


def mark(at: datetime, thing_id: str) -> str:
    """Names a place in a list, for `place`."""
    return f"{at.isoformat()}~{thing_id}"


def place(after: str | None) -> tuple[datetime, str] | None:
    """Where a page starts; a mark that is none starts at the beginning."""
    at, _, thing_id = (after or "").partition("~")
    with suppress(ValueError):
        found = datetime.fromisoformat(at)
        return (found, thing_id) if thing_id and found.tzinfo else None
    return None


def hint_item(session: Session, hint_id: str) -> HintItem:
    """One hint with its case, decisions, handoffs and pulls. Raises `NotFound`."""
    row = hints.get(session, hint_id)
    case = cases.get(session, row.case_id) if row else None
    if row is None or case is None:
        raise NotFound(f"there is no hint {hint_id!r}")
    work, made, (before, after) = handoffs.of_hint(session, hint_id), pulls.of_hint(session, hint_id), hints.around(session, row)
    waiting = next((one for one in work if one.state == "waiting"), None)
    return HintItem(
        **row.model_dump(exclude={"step", "recipe", "target_id"}), edited=row.current != row.draft, case_name=case.name,
        case=case.work or {}, masked=case.masked, hidden=case.hidden, side=case.side, undo_until=waiting.due_at if waiting else None,
        handoffs=[attempts.beside(session, one.model_dump(mode="json")) for one in work], duplicates=hints.duplicate_ids(session, hint_id),
        pulls=[one.model_dump(mode="json", exclude={"body", "row"}) for one in made],
        together=hints.group_sizes(session, [row]).get((row.target, row.change_hash), 0),
        moves=_with_edits(session, hint_id, _moves(session, ("hints", row.id), *(("pulls", one.id) for one in made))),
        before=before, next=after, conflicts=_conflicts(session, row),
        calibration=calibrate(hints.decided(session, row.target, row.critic), row.weight or 0.0),
    )  # fmt: skip


def _conflicts(session: Session, row: hints.HintRow) -> list[Rule]:
    named = dict.fromkeys(named_by(finding["text"]) for finding in row.findings if finding["code"] == "conflicts_with_rule")
    others = (hints.get(session, name) for name in named)
    return [Rule(id=one.id, summary=one.current["summary"], state=one.state, decided_by=one.decided_by) for one in others if one]


def _with_edits(session: Session, hint_id: str, moves: list[Move]) -> list[Move]:
    """An edit changes no state, but belongs in the story."""
    edits = [
        Move(thing="hints", state_from=None, state_to="edited", by=one.by, why=f"version {one.hint_version} to {one.hint_version + 1}", at=one.at)
        for one in reviews.of_hint(session, hint_id)
        if one.verdict == "edit"
    ]
    return sorted([*moves, *edits], key=lambda move: move.at)


def _moves(session: Session, *things: tuple[str, str]) -> list[Move]:
    found = [move for thing, thing_id in things for move in history.of(session, thing, thing_id)]
    return [Move.model_validate(move.model_dump()) for move in sorted(found, key=lambda move: move.seq or 0)]


def pull_list(session: Session, state: str = "", after: str | None = None, limit: int = PAGE) -> PullList:
    """A page of pulls, newest first."""
    rows = pulls.page(session, state, place(after), limit + 1)
    more = rows[limit - 1] if len(rows) > limit else None
    gates = gate_runs.verdicts(session, [row.id for row in rows[:limit]])
    shown = [{**row.model_dump(mode="json", exclude={"body", "row"}), "gate": gates.get(row.id)} for row in rows[:limit]]
    return PullList(rows=shown, counts=history.tallies(session, "pulls"), after=mark(more.opened_at, more.id) if more else None)


def pull_item(session: Session, pull_id: str) -> PullItem:
    """One pull with its gate runs and outcomes. Raises `NotFound`."""
    pull = pulls.get(session, pull_id)
    hint = hints.get(session, pull.hint_id) if pull else None
    if pull is None or hint is None:
        raise NotFound(f"there is no pull {pull_id!r}")
    runs = gate_runs.of_pull(session, pull_id)
    also = hints.duplicate_ids(session, hint.id)
    return PullItem(
        cures=1 + len(also), duplicates=also,
        pull=pull.model_dump(mode="json"),
        hint=hint.model_dump(mode="json", include={"id", "step", "recipe", "target_id", "current", "case_id", "decided_by", "decided_at"}),
        runs=[run.model_dump(mode="json") for run in reversed(runs)],
        outcomes=[row.model_dump(mode="json") for row in outcomes.of_pull(session, pull_id)],
        moves=_moves(session, ("pulls", pull_id), *(("gate_runs", run.id) for run in runs)),
    )  # fmt: skip


_OF_CASE = {"id", "source", "target", "name", "revision", "verdict", "state", "outcome", "reason", "received_at", "side"}
_OF_HINT = {"id", "state", "step", "recipe", "target_id", "reason", "duplicate_of"}


def case_story(session: Session, case_id: str) -> dict[str, Any]:
    """A case and what became of it, for its sender: state of the draft, its hints, pulls and outcome. Raises `NotFound`."""
    row = cases.newest(session, case_id)
    if row is None:
        raise NotFound(f"there is no case {case_id!r}")
    found = hints.of_case(session, row.id)
    made = [pull for hint in found for pull in pulls.of_hint(session, hints.leading(session, hint))]
    fates = [one.state for one in outcomes.of_case(session, row.id)]
    return {
        **row.model_dump(mode="json", include=_OF_CASE),
        "hints": [hint.model_dump(mode="json", include=_OF_HINT) for hint in found],
        "pulls": [pull.model_dump(mode="json", include={"id", "state", "title", "merged_at", "closed_reason"}) for pull in made],
        "outcome_of_fix": OutcomeState.cured if fates and all(fate is OutcomeState.cured for fate in fates) else fates[-1] if fates else None,
    }


def stations(session: Session) -> dict[str, dict[str, int]]:
    """How many things are in which state, by table."""
    return {thing: history.tallies(session, thing) for thing in ("cases", "hints", "handoffs", "gate_runs", "pulls", "outcomes")}


def narrow(state: str = "", step: str = "", recipe: str = "", case: str = "") -> hints.Filter:
    """What a list is narrowed by."""
    return hints.Filter(state=state, step=step, recipe=recipe, case=case)


STEPS = [step.value for step in Step]
"""for filters"""
_HINT: dict[str, Any] = Hint.model_json_schema()
_CHANGES: dict[str, str] = _HINT["properties"]["change"]["discriminator"]["mapping"]
RECIPES = list(_CHANGES)
"""for filters"""


def change_fields(recipe: str) -> dict[str, dict[str, Any]]:
    """Fields of a recipe's typed change, each with its JSON schema, for a form; empty for an unknown recipe."""
    fields: dict[str, dict[str, Any]] = _HINT["$defs"][_CHANGES[recipe].rpartition("/")[2]]["properties"] if recipe in _CHANGES else {}
    return {name: schema for name, schema in fields.items() if name != "recipe"}


def case_words(session: Session, case_id: str) -> dict[str, Any]:
    """What the page of a case shows beside its story: comment and leaf, redacted, and what was taken out of it. Raises `NotFound`."""
    row = cases.newest(session, case_id)
    if row is None:
        raise NotFound(f"there is no case {case_id!r}")
    locale = ((row.work or {}).get("ticket") or {}).get("locale", "en")
    told = suspicion.told(row.case) if row.work else ""
    return {"comment": row.comment or "", "leaf": row.leaf or "", "locale": locale, "masked": row.masked, "hidden": row.hidden, "suspicious": told}


def decisions(session: Session, hint_id: str) -> list[dict[str, Any]]:
    """What people decided on a hint, oldest first."""
    return [review.model_dump(mode="json", exclude={"text"}) for review in reviews.of_hint(session, hint_id)]

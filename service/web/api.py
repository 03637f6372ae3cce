"""JSON for programs: cases, hints and their decisions, pulls, and whether the process is well."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool

from rubric.dismissals import DISMISSALS
from rubric.schema import storable
from service import grouping, reports
from service.errors import Unprocessable
from service.redaction import texts
from service.stages import critic, editing, gate, handoff, outcome, waiving
from service.web.deps import HouseDep, PersonDep, ReadDep

router = APIRouter()
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "no or wrong token"},
    404: {"description": "there is no such thing"},
    409: {"description": "somebody else was faster, or the state does not allow it"},
    422: {"description": "the request makes no sense; `detail` says why"},
}


class Body(BaseModel):
    """A request body: no unknown fields, no conversions, no text that one of our databases cannot hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="after")
    def _storable(self) -> Self:
        for text in texts(self.model_dump()):
            storable(text)
        return self


class Decision(Body):
    """A verdict on exactly the version that its maker saw."""

    verdict: Literal["confirm", "dismiss", "duplicate"]
    version: int = Field(ge=1, le=1_000_000)
    reason: str | None = Field(default=None, max_length=60)
    """for dismiss: one of the list"""
    note: str | None = Field(default=None, max_length=2000)
    of: str | None = Field(default=None, max_length=64)
    """for duplicate: the hint that says the same"""
    seconds: float | None = Field(default=None, ge=0, le=86_400)


class HintEdit(Body):
    """New values for fields of a hint; what is left out stays."""

    version: int = Field(ge=1, le=1_000_000)
    target: str | None = Field(default=None, max_length=300)
    summary: str | None = Field(default=None, max_length=2000)
    risk_reason: str | None = Field(default=None, max_length=2000)
    change: dict[str, Any] | None = None


class Seen(Body):
    """A hint, and the version of it that was seen."""

    hint: str = Field(min_length=1, max_length=64)
    version: int = Field(ge=1, le=1_000_000)


class Dismissed(Seen):
    """A hint to dismiss."""

    reason: str = Field(max_length=60)
    """one of the list"""


class GroupDecision(Body):
    """Verdicts on hints with one change; what is not named stays as it is."""

    leader: str | None = Field(default=None, max_length=64)
    """the one of `confirm` that is confirmed, the others become its duplicates; or a hint that is confirmed already"""
    confirm: list[Seen] = Field(default=[], max_length=gate.MOST)
    dismiss: list[Dismissed] = Field(default=[], max_length=gate.MOST)
    seconds: float | None = Field(default=None, ge=0, le=86_400)


class Closing(Body):
    """A person's no to a pull."""

    reason: str = Field(min_length=1, max_length=500)


class Waiving(Body):
    """A row that may be lost, and why."""

    suite: str = Field(min_length=1, max_length=64)
    row: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=waiving.LONGEST)


class Accepting(Body):
    """Why a run that could not tell is good enough."""

    reason: str = Field(min_length=1, max_length=waiving.LONGEST)


@router.get("/v1/cases/{case_id}", responses=PROBLEMS, tags=["cases"])
def read_case(case_id: str, session: ReadDep, by: PersonDep) -> dict[str, Any]:
    """A case, and what became of it."""
    return reports.case_story(session, case_id)


@router.get("/v1/hints", responses=PROBLEMS, tags=["hints"])
def list_hints(
    session: ReadDep, by: PersonDep, state: str = "", step: str = "", recipe: str = "", case: str = "", after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = reports.PAGE,
) -> reports.HintList:  # fmt: skip
    """Hints, oldest first; `after` is the mark of the page before."""
    return reports.hint_list(session, reports.narrow(state, step, recipe, case), after, limit)


@router.get("/v1/hints/{hint_id}", responses=PROBLEMS, tags=["hints"])
def read_hint(hint_id: str, session: ReadDep, by: PersonDep) -> reports.HintItem:
    """One hint with its case, decisions, handoffs and pulls."""
    return reports.hint_item(session, hint_id)


@router.put("/v1/hints/{hint_id}", responses=PROBLEMS, tags=["hints"])
def edit_hint(hint_id: str, edit: HintEdit, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Change fields of a waiting hint; lint runs again."""
    change = {key: value for key, value in edit.model_dump(exclude={"version"}).items() if value is not None}
    row = editing.edit(home.db, home.ports, home.catalogue, hint_id, version=edit.version, by=by, change=change)
    return row.model_dump(mode="json", include={"id", "version", "state", "findings", "current"})


@router.post("/v1/hints/{hint_id}/decision", responses=PROBLEMS, tags=["hints"])
def decide(hint_id: str, decision: Decision, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Confirm, dismiss or mark as duplicate. The same decision twice is one decision."""
    if decision.verdict == "confirm":
        row = gate.confirm(home.db, home.ports, hint_id, version=decision.version, by=by, seconds=decision.seconds)
    elif decision.verdict == "dismiss":
        if decision.reason is None:
            raise Unprocessable(f"dismissing needs a reason; use one of: {', '.join(sorted(DISMISSALS))}")
        row = gate.dismiss(home.db, hint_id, version=decision.version, by=by, reason=decision.reason, note=decision.note, seconds=decision.seconds)
    else:
        row = gate.duplicate(home.db, hint_id, version=decision.version, by=by, of=decision.of or "", seconds=decision.seconds)
    return row.model_dump(mode="json", include={"id", "version", "state", "reason", "duplicate_of", "decided_by", "decided_at"})


@router.post("/v1/hints/{hint_id}/undo", responses=PROBLEMS, tags=["hints"])
def undo(hint_id: str, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Take the decision back; a confirmation only while its undo window is open."""
    return gate.undo(home.db, hint_id, by=by).model_dump(mode="json", include={"id", "version", "state"})


@router.get("/v1/groups", responses=PROBLEMS, tags=["groups"])
def list_groups(
    session: ReadDep, by: PersonDep, after: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = reports.PAGE
) -> grouping.GroupList:
    """Changes that two rejections or more wait for, oldest first, with up to 50 of their hints."""
    return grouping.group_list(session, after, limit)


@router.post("/v1/groups/{change_hash}/decision", responses=PROBLEMS, tags=["groups"])
def decide_group(change_hash: str, decision: GroupDecision, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Confirm one hint of a group, mark others as its duplicates, dismiss some: all of it or nothing."""
    choices = [gate.Choice(one.hint, one.version) for one in decision.confirm]
    choices += [gate.Choice(one.hint, one.version, one.reason) for one in decision.dismiss]
    rows = gate.decide_group(home.db, home.ports, change_hash, leader=decision.leader, choices=choices, by=by, seconds=decision.seconds)
    return {"hints": [row.model_dump(mode="json", include={"id", "version", "state", "reason", "duplicate_of"}) for row in rows]}


@router.post("/v1/cases/{case_id}/draft", status_code=202, responses=PROBLEMS, tags=["cases"])
def draft_again(case_id: str, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Ask the critic once more, after it abstained or failed."""
    return critic.draft_again(home.db, case_id, by=by).model_dump(mode="json", include={"id", "state"})


@router.post("/v1/handoffs/{handoff_id}/retry", status_code=202, responses=PROBLEMS, tags=["hints"])
def retry(handoff_id: str, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Try a handoff again that gave up, was refused, is blocked or failed."""
    return handoff.retry(home.db, handoff_id, by=by).model_dump(mode="json", include={"id", "state"})


@router.get("/v1/pulls", responses=PROBLEMS, tags=["pulls"])
def list_pulls(
    session: ReadDep, by: PersonDep, state: str = "", after: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = reports.PAGE
) -> reports.PullList:
    """Pulls, newest first."""
    return reports.pull_list(session, state, after, limit)


@router.get("/v1/pulls/{pull_id}", responses=PROBLEMS, tags=["pulls"])
def read_pull(pull_id: str, session: ReadDep, by: PersonDep) -> reports.PullItem:
    """One pull with its gate runs and outcomes."""
    return reports.pull_item(session, pull_id)


@router.post("/v1/pulls/{pull_id}/merge", status_code=202, responses=PROBLEMS, tags=["pulls"])
def merge(pull_id: str, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Ask to merge: the pull lands when the gate has passed on the newest base."""
    return outcome.ask_to_merge(home.db, pull_id, by=by).model_dump(mode="json", include={"id", "state"})


@router.post("/v1/pulls/{pull_id}/close", responses=PROBLEMS, tags=["pulls"])
def close(pull_id: str, closing: Closing, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Say no to a pull, for good."""
    return outcome.close(home.db, pull_id, by=by, reason=closing.reason).model_dump(mode="json", include={"id", "state", "closed_reason"})


@router.post("/v1/pulls/{pull_id}/waive", status_code=202, responses=PROBLEMS, tags=["pulls"])
def waive(pull_id: str, asked: Waiving, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Let a lost or undecided row be lost on this head; the gate runs again."""
    run = waiving.waive(home.db, pull_id, suite=asked.suite, row=asked.row, reason=asked.reason, by=by)
    return run.model_dump(mode="json", include={"id", "state"})


@router.post("/v1/pulls/{pull_id}/accept", responses=PROBLEMS, tags=["pulls"])
def accept(pull_id: str, asked: Accepting, home: HouseDep, by: PersonDep) -> dict[str, Any]:
    """Take an inconclusive gate upon oneself: the pull is ready on these two commits."""
    return waiving.accept(home.db, pull_id, reason=asked.reason, by=by).model_dump(mode="json", include={"id", "state"})


@router.get("/v1/stations", responses=PROBLEMS, tags=["health"])
def stations(session: ReadDep, by: PersonDep) -> dict[str, dict[str, int]]:
    """How many things are in which state."""
    return reports.stations(session)


@router.get("/livez", tags=["health"])
def livez() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", tags=["health"], responses={503: {"description": "a part is not ready; the body says which"}})
async def readyz(home: HouseDep) -> Response:
    """Database, engine and targets can be used."""
    missing = await run_in_threadpool(home.ready)
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


@router.get("/metrics", tags=["health"])
def metrics(session: ReadDep) -> Response:
    """Things by state, for Prometheus."""
    registry = CollectorRegistry()
    things = Gauge("triage_things", "Things by table and state.", ["thing", "state"], registry=registry)
    for thing, states in sorted(reports.stations(session).items()):
        for state, number in sorted(states.items()):
            things.labels(thing, state).set(number)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
